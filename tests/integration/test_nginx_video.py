"""The nginx configuration that is shipped for the video server, in a real nginx before a real server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.nginx import NGINX, configuration, free_ports, nginx_running
from tests.support.served import NO_TLS, IdlePool, Served, finish_next, serving, settings_in
from upscale_server.service import VideoService

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(NGINX is None, reason="nginx is not installed here: apt-get install nginx-light")


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """Give a server whose workers do nothing."""
    with serving(VideoService(settings_in(tmp_path / "state"), IdlePool())) as found:  # type: ignore[arg-type]
        yield found


@pytest.fixture
def front(tmp_path: Path, served: Served) -> Iterator[httpx.Client]:
    """Give a client of nginx, which stands before the server; only ports are replaced in what is shipped."""
    own = free_ports(1)[0]
    shipped = (ROOT / "deploy" / "nginx" / "video.conf").read_text()
    for text, real in (("server 127.0.0.1:29115;", f"server {served.url.removeprefix('http://')};"),
                       ("listen 127.0.0.1:8081;", f"listen 127.0.0.1:{own};")):  # fmt: skip
        assert 1 == shipped.count(text)
        shipped = shipped.replace(text, real)
    (tmp_path / "nginx").mkdir()
    with (
        nginx_running(configuration(tmp_path / "nginx", shipped), own),
        httpx.Client(base_url=f"http://127.0.0.1:{own}", timeout=60, **NO_TLS) as client,
    ):
        yield client


def test_an_upload_goes_in_and_its_result_comes_out(front: httpx.Client, served: Served, tmp_path: Path) -> None:
    """A job handed in through nginx is the server's, and a range of its result arrives, by a link with nginx's name."""
    job = front.post("/v1/jobs", content=b"a video", headers={"Content-Type": "video/mp4"}).json()
    finish_next(served.service, tmp_path)

    link = front.get(f"/v1/jobs/{job['id']}").json()["result"]["url"]
    part = front.get(f"/v1/jobs/{job['id']}/output", headers={"Range": "bytes=2-4"})

    assert link.startswith(str(front.base_url).rstrip("/"))
    assert (206, b"234") == (part.status_code, part.content)


def test_events_arrive_while_they_happen(front: httpx.Client, served: Served, tmp_path: Path) -> None:
    """The first snapshot is there before the job ends: nginx keeps no events back."""
    job = front.post("/v1/jobs", content=b"a video", headers={"Content-Type": "video/mp4"}).json()

    with front.stream("GET", f"/v1/jobs/{job['id']}/events") as reply:
        lines = reply.iter_lines()
        first = next(line for line in lines if line.startswith("data:"))
        finish_next(served.service, tmp_path)
        last = next(line for line in lines if line.startswith("data:"))

    assert "queued" == json.loads(first.removeprefix("data:"))["state"]
    assert "succeeded" == json.loads(last.removeprefix("data:"))["state"]
