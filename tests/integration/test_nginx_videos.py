"""The nginx configuration that is shipped for several video servers, in a real nginx before two real servers.

The two share nothing here, so that it shows which of them has answered.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.support.deployed import DEPLOY
from tests.support.nginx import NGINX, configuration, free_ports, nginx_running
from tests.support.served import NO_TLS, IdlePool, Served, serving, settings_in
from upscale_server.service import VideoService

ADDRESSES = [f"127.0.1.{number}" for number in range(1, 25)]
"""Callers: all of 127.0.0.0/8 is this machine."""

pytestmark = pytest.mark.skipif(NGINX is None, reason="nginx is not installed here: apt-get install nginx-light")


@dataclass(slots=True)
class Fleet:
    """An nginx, the two servers behind it, and how to end one of them."""

    url: str
    servers: list[Served]
    ends: list[ExitStack]

    def asked_from(self, address: str) -> httpx.Client:
        """Return a client that calls from an address."""
        transport = httpx.HTTPTransport(local_address=address, verify=False)
        return httpx.Client(base_url=self.url, timeout=60, transport=transport, trust_env=NO_TLS["trust_env"])


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """Give two servers behind nginx; only ports are replaced in what is shipped."""
    own = free_ports(1)[0]
    shipped = (DEPLOY / "nginx" / "videos.conf").read_text()
    (tmp_path / "nginx").mkdir()
    with ExitStack() as all_ends:
        ends = [all_ends.enter_context(ExitStack()) for _ in range(2)]
        servers = [
            end.enter_context(serving(VideoService(settings_in(tmp_path / f"state-{number}"), IdlePool())))  # type: ignore[arg-type]
            for number, end in enumerate(ends)
        ]
        for text, real in (
            ("127.0.0.1:29115", servers[0].url.removeprefix("http://")),
            ("127.0.0.1:29116", servers[1].url.removeprefix("http://")),
            ("listen 127.0.0.1:8080;", f"listen 127.0.0.1:{own};"),
        ):
            assert 1 == shipped.count(text)
            shipped = shipped.replace(text, real)
        all_ends.enter_context(nginx_running(configuration(tmp_path / "nginx", shipped), own))
        yield Fleet(f"http://127.0.0.1:{own}", servers, ends)


def visited(fleet: Fleet, address: str) -> int:
    """Return which server got a job that was handed in from an address."""
    before = [jobs_at(server) for server in fleet.servers]
    with fleet.asked_from(address) as client:
        client.post("/v1/jobs", content=b"a video", headers={"Content-Type": "video/mp4"}).raise_for_status()
    return next(n for n, server in enumerate(fleet.servers) if jobs_at(server) > before[n])


def jobs_at(server: Served) -> int:
    """Return how many jobs a server has, asked past nginx."""
    with httpx.Client(base_url=server.url, timeout=60, **NO_TLS) as client:
        return len(client.get("/v1/jobs").json()["jobs"])


def test_a_caller_stays_with_one_server_and_callers_are_spread(fleet: Fleet) -> None:
    """An uploaded source is found again by who uploaded it; of many callers each server has some."""
    first = [visited(fleet, address) for address in ADDRESSES[:8]]
    again = [visited(fleet, address) for address in ADDRESSES[:8]]

    assert first == again
    assert {0, 1} == {*first, *(visited(fleet, address) for address in ADDRESSES[8:])}


def test_a_server_that_is_gone_is_passed_over(fleet: Fleet) -> None:
    """Its callers are answered by the other one, at their first question."""
    address = next(one for one in ADDRESSES if visited(fleet, one) == 1)

    fleet.ends[1].close()

    with fleet.asked_from(address) as client:
        assert 200 == client.get("/livez").status_code
        assert 202 == client.post("/v1/jobs", content=b"a video", headers={"Content-Type": "video/mp4"}).status_code


def test_it_differs_from_the_one_for_a_single_server_only_where_it_must() -> None:
    """Routes with a time of their own have the same in both files."""
    single, several = ((DEPLOY / "nginx" / name).read_text() for name in ("video.conf", "videos.conf"))
    routes = single[single.index("    # Answers that last") :].replace("upscale_video;", "upscale_videos;")

    assert routes == several[several.index("    # Answers that last") :]
