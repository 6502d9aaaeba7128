"""What the client sends, and what it makes of a server that is not there."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from upscale_server.client import Client
from upscale_server.errors import BadRequest, ServerUnreachable, SourceNotFound


def recording(answer: object) -> tuple[Callable[[httpx.Request], httpx.Response], list[httpx.Request]]:
    """Return a server that always answers the same, and the requests that it got."""
    got: list[httpx.Request] = []

    def respond(request: httpx.Request) -> httpx.Response:
        request.read()
        got.append(request)
        return httpx.Response(200, json=answer)

    return respond, got


def test_upscale_video_posts_the_documented_fields_and_the_key() -> None:
    """The body has the three documented names and nothing else."""
    respond, got = recording({"optimized_video_url": "http://x/y"})

    with Client("http://server.test/", "secret", httpx.MockTransport(respond)) as client:
        client.upscale_video("http://x/a.mp4", "HD24K", 100)

    assert ("POST", "http://server.test/upscale-video") == (got[0].method, str(got[0].url))
    assert {
        "payload_url": "http://x/a.mp4",
        "task_type": "HD24K",
        "maximum_optimized_size_mb": 100,
    } == json.loads(got[0].content)
    assert "Bearer secret" == got[0].headers["authorization"]


def test_an_upload_streams_the_file_beside_its_fields(tmp_path: Path) -> None:
    """The body is the file's bytes; what is asked for stands in the query."""
    clip = tmp_path / "holiday.mp4"
    clip.write_bytes(b"moving pictures")
    respond, got = recording({"id": "a1"})

    with Client("http://server.test", transport=httpx.MockTransport(respond)) as client:
        client.upload(clip, {"scale": 2}, idempotency_key="k1")

    assert b"moving pictures" == got[0].content
    assert "2" == got[0].url.params["scale"]
    assert "k1" == got[0].headers["idempotency-key"]


def test_uploading_a_missing_file_names_it(tmp_path: Path) -> None:
    """No request is made for a file that is not there."""
    with Client("http://server.test") as client, pytest.raises(SourceNotFound, match=r"gone\.mp4"):
        client.upload(tmp_path / "gone.mp4", {})


def test_a_server_that_is_not_running_is_one_clear_error() -> None:
    """A refused connection says which address does not answer."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"

        with Client(url) as client, pytest.raises(ServerUnreachable, match=f"{url} does not answer"):
            client.health()


@pytest.mark.parametrize("url", ["localhost:29115", "ftp://x", "http://", "http://[::1"])
def test_an_address_that_is_none_is_refused_before_any_request(url: str) -> None:
    """A forgotten scheme is the commonest mistake and gets an example."""
    with pytest.raises(BadRequest) as caught:
        Client(url)

    assert caught.value.hint


def test_a_proxy_of_the_environment_is_not_asked_for_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy on another machine cannot reach a server that listens on this one's loopback."""
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.test:3128")
    monkeypatch.delenv("NO_PROXY", raising=False)

    with Client("http://127.0.0.1:1") as client, pytest.raises(ServerUnreachable, match="127"):
        client.health()


def test_all_jobs_come_page_by_page() -> None:
    """The cursor of one page leads to the next, until there is none."""
    pages = {None: {"jobs": [{"id": "a"}], "next": "c1"}, "c1": {"jobs": [{"id": "b"}], "next": None}}

    def respond(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=pages[request.url.params.get("after")])

    with Client("http://server.test", transport=httpx.MockTransport(respond)) as client:
        assert ["a", "b"] == [job["id"] for job in client.jobs()]
