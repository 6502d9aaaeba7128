"""The nginx configuration that is shipped for several video servers, in a real nginx before two real servers.

The two share nothing here, so that it shows which of them has answered. A stand-in takes the place of the object store.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
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
class Store:
    """An object store that gives the same for everything, and what it was asked: method, line and Host."""

    port: int
    asked: list[tuple[str, str, str]] = field(default_factory=list)


@contextmanager
def storing() -> Iterator[Store]:
    """Run a store's stand-in."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            store.asked.append((self.command, self.path, self.headers["Host"]))
            self.send_response(200)
            self.send_header("Content-Length", "8")
            self.end_headers()
            self.wfile.write(b"a result")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's own name
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        store = Store(server.server_port)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield store
        finally:
            server.shutdown()
            thread.join()


@dataclass(slots=True)
class Fleet:
    """An nginx, the two servers and the store behind it, and how to end one of the servers."""

    url: str
    servers: list[Served]
    ends: list[ExitStack]
    store: Store
    log: Path

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
        store = all_ends.enter_context(storing())
        links = (DEPLOY / "nginx" / "store.conf").read_text()
        assert 1 == links.count("http://store:3900;")
        (tmp_path / "nginx" / "store.conf").write_text(links.replace("store:3900;", f"127.0.0.1:{store.port};"))
        for text, real in (
            ("127.0.0.1:29115", servers[0].url.removeprefix("http://")),
            ("127.0.0.1:29116", servers[1].url.removeprefix("http://")),
            ("listen 127.0.0.1:8080;", f"listen 127.0.0.1:{own}; include {tmp_path}/nginx/store.conf;"),
        ):
            assert 1 == shipped.count(text)
            shipped = shipped.replace(text, real)
        all_ends.enter_context(nginx_running(configuration(tmp_path / "nginx", shipped), own))
        yield Fleet(f"http://127.0.0.1:{own}", servers, ends, store, tmp_path / "nginx" / "access.log")


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


def test_a_signed_link_reaches_the_store_as_it_was_signed(fleet: Fleet) -> None:
    """Path, query and the name that the caller used are under the signature: none is changed, and none is logged."""
    link = "/upscaled/results/00%2F1.mp4?X-Amz-Credential=GK%2F1%2Fs3&X-Amz-SignedHeaders=host&X-Amz-Signature=a+b"

    with fleet.asked_from("127.0.0.1") as client:
        reply = client.get(link, headers={"Host": "media.example.com:8080"})

    assert (200, b"a result") == (reply.status_code, reply.content)
    assert [("GET", link, "media.example.com:8080")] == fleet.store.asked
    assert "" == fleet.log.read_text()


@pytest.mark.parametrize("method", ["PUT", "DELETE", "POST"])
def test_nothing_is_written_into_the_store_from_outside(fleet: Fleet, method: str) -> None:
    """Whatever is signed; other folders of the bucket, and other buckets, are the servers' and not the store's."""
    with fleet.asked_from("127.0.0.1") as client:
        refused = client.request(method, "/upscaled/results/1.mp4", content=b"x")
        others = [client.get(path).status_code for path in ("/upscaled/", "/upscaled/work/1", "/other/results/1.mp4")]

    assert 403 == refused.status_code
    assert [404, 404, 404] == others
    assert [] == fleet.store.asked


def test_it_differs_from_the_one_for_a_single_server_only_where_it_must() -> None:
    """Routes with a time of their own have the same in both files."""
    single, several = ((DEPLOY / "nginx" / name).read_text() for name in ("video.conf", "videos.conf"))
    routes = single[single.index("    # Answers that last") :].replace("upscale_video;", "upscale_videos;")

    assert routes == several[several.index("    # Answers that last") :]
