"""Those who wait hold only their own places: asking, stopping and probing always get through."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from starlette.types import Message, Scope

from tests.support.killing import wait_until
from tests.support.served import IdlePool, Served, finish_next, serving, settings_in
from upscale_server.errors import RateLimited
from upscale_server.service import VideoService
from upscale_server.web import video_app
from upscale_server.web.events import EventStream
from upscale_server.web.places import Places

URL = "http://127.0.0.1/v.mp4"


@pytest.fixture
def narrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """Give a server on which one caller may wait."""
    monkeypatch.setattr(video_app, "MOST_WAITING", 1)
    with serving(VideoService(settings_in(tmp_path), IdlePool())) as running:
        yield running


def test_one_caller_too_many_is_told_so_and_nobody_else(narrow: Served, tmp_path: Path) -> None:
    """429 for each way to wait and no job of theirs; all short questions are answered; a place comes back."""
    body = {"payload_url": URL, "task_type": "SD2HD"}
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(narrow.client.post, "/upscale-video", json=body)
        wait_until(lambda: narrow.service.counts().queued == 1)
        job = narrow.client.get("/v1/jobs").json()["jobs"][0]["id"]
        refused = [
            narrow.client.post("/upscale-video", json=body),
            narrow.client.post("/upscale", json={"video_paths": [URL], "scale": 2}),
            narrow.client.get(f"/v1/jobs/{job}/events"),
        ]
        short = [narrow.client.get(path).status_code for path in ("/livez", "/readyz", "/health", f"/v1/jobs/{job}")]
        queued = narrow.service.counts().queued
        finish_next(narrow.service, tmp_path)
        done = first.result()

    assert [(429, "rate_limited")] * 3 == [(one.status_code, one.json()["code"]) for one in refused]
    assert all(one.headers["retry-after"].isdigit() for one in refused)
    assert ([200] * 4, 1, 200) == (short, queued, done.status_code)
    assert 200 == narrow.client.get(f"/v1/jobs/{job}/events").status_code


def test_a_stream_of_events_holds_a_place_until_its_end(narrow: Served, tmp_path: Path) -> None:
    """A second reader is refused while the first reads, and taken when the job is over."""
    path = f"/v1/jobs/{narrow.client.post('/v1/jobs', json={'payload_url': URL, 'scale': 2}).json()['id']}/events"

    with narrow.client.stream("GET", path) as stream:
        lines = stream.iter_lines()
        next(lines)
        refused = narrow.client.get(path).status_code
        finish_next(narrow.service, tmp_path)
        list(lines)

    assert (429, 200) == (refused, narrow.client.get(path).status_code)


def test_two_readers_at_once_do_not_get_the_last_place_both() -> None:
    """Whoever comes second is refused before a byte is sent, so that the answer is 429 and no broken stream."""
    places, sent = Places(1, "readers watch", "come back"), []

    async def nothing() -> AsyncIterator[str]:
        yield ""

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    first, second = EventStream(nothing(), places), EventStream(nothing(), places)
    scope: Scope = {"type": "http", "asgi": {"spec_version": "2.4"}}
    with places.one(), pytest.raises(RateLimited):
        asyncio.run(second(scope, receive, send))
    refused, sent[:] = list(sent), []
    asyncio.run(first(scope, receive, send))

    assert ([], 200) == (refused, sent[0]["status"])
