"""Those who wait hold only their own places: asking, stopping and probing always get through."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr
from starlette.types import Message, Scope

from tests.support.killing import wait_until
from tests.support.served import IdlePool, Served, finish_next, serving, settings_in
from upscale_server.errors import RateLimited
from upscale_server.service import VideoService
from upscale_server.web import video_app
from upscale_server.web.events import EventStream
from upscale_server.web.places import Places

URL = "http://127.0.0.1/v.mp4"
SHARES = ("MOST_WAITING_EACH", "MOST_UPLOADS_EACH", "MOST_PLANS_EACH", "MOST_MEASURING_EACH")
ANNA = {"X-API-Key": "anna-key"}


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


@pytest.mark.slow
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

    first, second = EventStream(nothing(), places, ""), EventStream(nothing(), places, "")
    scope: Scope = {"type": "http", "asgi": {"spec_version": "2.4"}}
    with places.one(), pytest.raises(RateLimited):
        asyncio.run(second(scope, receive, send))
    refused, sent[:] = list(sent), []
    asyncio.run(first(scope, receive, send))

    assert ([], 200) == (refused, sent[0]["status"])


def test_one_key_leaves_places_to_the_others_and_who_has_none_may_take_all() -> None:
    """The second of a key that may have one is refused; another key, and callers without one, are not."""
    places = Places(4, "readers watch", "come back", each=1)

    with places.one("anna"):
        with pytest.raises(RateLimited, match="the most for one key"), places.one("anna"):
            pass
        with places.one("bert"), places.one(""), places.one(""):
            assert 4 == places.taken
    with places.one("anna"):
        assert 1 == places.taken


def long_calls(served: Served, job: str) -> list[httpx.Response]:
    """Do everything that takes a place, once each."""
    client, video = served.client, {"Content-Type": "video/mp4"}
    source = {"source_id": "0" * 32}
    return [
        client.post("/upscale-video", json={"payload_url": URL, "task_type": "SD2HD"}),
        client.post("/upscale", json={"video_paths": [URL], "scale": 2}),
        client.get(f"/v1/jobs/{job}/events"),
        client.get("/v1/events"),
        client.post("/v1/jobs?scale=2", content=b"x", headers=video),
        client.post("/v1/sources", content=b"x", headers=video),
        client.post("/v1/plan", json=source),
        client.post("/v1/plan", json={**source, "measure": True}),
    ]


@pytest.mark.slow
def test_all_that_takes_long_is_bounded_for_each_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a key may have no place at all, each such route says so: none forgets whose place it is."""
    for share in SHARES:
        monkeypatch.setattr(video_app, share, 0)
    settings = settings_in(tmp_path, api_keys=SecretStr("anna-key,bert-key"))
    with serving(VideoService(settings, IdlePool()), **ANNA) as served:
        job = served.client.post("/v1/jobs", json={"payload_url": URL, "scale": 2}).json()["id"]
        replies = long_calls(served, job)

    assert [429] * 8 == [one.status_code for one in replies]
    assert all("0" in one.json()["detail"] and "for one key" in one.json()["detail"] for one in replies)


@pytest.mark.slow
@pytest.mark.parametrize("keys", ["", "anna-key", "anna-key,anna-key"])
def test_the_only_caller_may_have_all_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keys: str) -> None:
    """On a server without keys, or of one key, there is nobody to leave places to."""
    for share in SHARES:
        monkeypatch.setattr(video_app, share, 0)
    with serving(VideoService(settings_in(tmp_path, api_keys=SecretStr(keys)), IdlePool()), **ANNA) as served:
        upload = served.post_raw("/v1/jobs?scale=2", b"x", "video/mp4")
        plan = served.client.post("/v1/plan", json={"source_id": "0" * 32})

    assert (202, 404) == (upload.status_code, plan.status_code)
