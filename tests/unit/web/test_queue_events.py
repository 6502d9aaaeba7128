"""One stream for all jobs of a caller: a snapshot, then what changes, and nothing lost where a stream breaks off."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy import update

from tests.support.killing import wait_until
from tests.support.served import IdlePool, Served, finish_next, serving, settings_in
from upscale_server.errors import StorageError
from upscale_server.jobs.job import Job, Progress
from upscale_server.jobs.reader import JobReader
from upscale_server.jobs.tables import jobs
from upscale_server.service import VideoService
from upscale_server.service.queue_news import QueueNews
from upscale_server.web import queue_events, video_app
from upscale_server.web.queue_events import QueueWatch

ANNA, BERT = "anna-has-a-long-key", "bert-has-another-one"
JOB = {"payload_url": "http://127.0.0.1/clip.mp4?signature=hidden", "scale": 2}

JobTest = Callable[[dict[str, Any]], bool]


class Stream:
    """A stream of events as it comes."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self.id = ""
        self._lines = response.iter_lines()

    def next(self) -> tuple[str, Any]:
        """Return the next event: its kind and what it says."""
        kind = text = ""
        for line in self._lines:
            name, _, value = line.partition(": ")
            if name == "id":
                self.id = value
            elif name == "event":
                kind = value
            elif name == "data":
                text = value
            elif not line and kind:
                return kind, json.loads(text)
        raise EOFError

    def job(self, state: str) -> dict[str, Any]:
        """Return the first job that is told of in a state."""
        while True:
            kind, job = self.next()
            if kind == "job" and job["state"] == state:
                return dict(job)

    def both(self, one: JobTest, other: JobTest) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the first job that passes each of two tests, whichever is told of first."""
        found: dict[JobTest, dict[str, Any]] = {}
        while len(found) < 2:
            kind, job = self.next()
            found |= {test: job for test in (one, other) if kind == "job" and test not in found and test(job)}
        return found[one], found[other]


@contextmanager
def listening(served: Served, last_id: str = "", **headers: str) -> Iterator[Stream]:
    """Listen to the queue."""
    named = {"Last-Event-ID": last_id} if last_id else {}
    with served.client.stream("GET", "/v1/events", headers={**named, **headers}) as response:
        response.raise_for_status()
        yield Stream(response)


def submit(served: Served, **headers: str) -> str:
    """Hand a job in and return its id."""
    reply = served.client.post("/v1/jobs", json=JOB, headers=headers)
    reply.raise_for_status()
    return str(reply.json()["id"])


@pytest.mark.slow
def test_a_listener_gets_all_jobs_and_then_what_changes(served: Served, tmp_path: Path) -> None:
    """The snapshot is that of the list, without plans; each change is the whole job; a removal names it."""
    first = submit(served)

    with listening(served) as stream:
        kind, snapshot = stream.next()
        second = submit(served)
        new = stream.next()
        finish_next(served.service, tmp_path)
        done, moved = stream.both(
            lambda job: job["state"] == "succeeded", lambda job: (job["id"], job["queue_position"]) == (second, 1)
        )
        served.client.delete(f"/v1/jobs/{first}")
        removed = stream.next()

    assert ("jobs", [first]) == (kind, [job["id"] for job in snapshot["jobs"]])
    assert ("job", second, "queued", 2) == (new[0], new[1]["id"], new[1]["state"], new[1]["queue_position"])
    assert first == done["id"]
    assert done["result"]["url"].startswith(f"{served.url}/files/")
    assert done["plan"] is None
    assert "queued" == moved["state"]
    assert ("removed", {"id": first}) == removed
    assert "hidden" not in json.dumps([snapshot, new, done])


def test_a_snapshot_is_what_the_list_says(served: Served) -> None:
    """Of more jobs than are shown, the newest are, and where the list goes on is told."""
    for _ in range(3):
        submit(served)

    with pytest.MonkeyPatch.context() as patch, listening(served) as stream:
        patch.setattr(queue_events, "SNAPSHOT_JOBS", 2)
        stream.next()
        with listening(served) as later:
            _, snapshot = later.next()

    assert served.client.get("/v1/jobs?limit=2").json() == snapshot
    assert snapshot["next"]


@pytest.mark.slow
def test_frames_of_a_running_job_are_news(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not stored frame by frame is told all the same."""
    frames = iter(range(1000))
    claim = None
    job = submit(served)

    with listening(served) as stream:
        stream.next()
        claim = served.service._store.claim(served.service._name, 60)
        monkeypatch.setattr(served.service.news, "_progress", lambda _job: Progress("upscale", next(frames), 1000))
        told = [stream.job("running")["id"] for _ in range(3)]

    assert claim is not None
    assert [job] * 3 == told


@pytest.mark.slow
def test_a_job_is_told_of_once_a_look_however_often_it_changes(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks have their distance, so that no listener drowns: whatever lies between two of them is one event."""
    job, frames = submit(served), iter(range(10_000))
    looks: list[tuple[float, float]] = []
    look = QueueNews.look

    def timed(news: QueueNews) -> object:
        began = time.monotonic()
        for _ in range(5):
            served.client.post(f"/v1/jobs/{job}/{'resume' if len(looks) % 2 else 'pause'}")
        found = look(news)
        looks.append((began, time.monotonic()))
        return found

    with listening(served) as stream:
        stream.next()
        monkeypatch.setattr(QueueNews, "look", timed)
        monkeypatch.setattr(served.service.news, "_progress", lambda _job: Progress("waiting", next(frames), 10_000))
        told = [stream.next()[1]["id"] for _ in range(4)]
    pauses = [later[0] - earlier[1] for earlier, later in pairwise(looks)]

    assert [job] * 4 == told
    assert len(told) <= len(looks)
    assert 0.25 == queue_events.LOOK_SECONDS
    # A busy machine makes a pause longer, never shorter; the event loop's timers may be a millisecond early.
    assert queue_events.LOOK_SECONDS / 2 - 0.001 <= min(pauses)


@pytest.mark.slow
def test_a_broken_stream_goes_on_where_it_was(served: Served) -> None:
    """What happened meanwhile is told, of each job the newest state once; nothing else is told again."""
    quiet = submit(served)
    with listening(served) as stream:
        stream.next()
        busy = submit(served)
        stream.next()
        known = stream.id
    gone = submit(served)
    served.client.post(f"/v1/jobs/{busy}/pause")
    served.client.post(f"/v1/jobs/{busy}/resume")
    served.client.post(f"/v1/jobs/{busy}/cancel")
    served.client.post(f"/v1/jobs/{gone}/cancel")
    served.client.delete(f"/v1/jobs/{gone}")

    with listening(served) as other:  # while somebody watches, it is seen
        other.next()
        marker = submit(served)
        while other.next()[1]["id"] != marker:
            pass
        with listening(served, known) as stream:
            told = [stream.next()]
            while {busy, marker} - {event["id"] for _, event in told}:
                told.append(stream.next())

    assert quiet not in [event["id"] for _, event in told]
    assert {"job", "removed"} >= {kind for kind, _ in told}
    assert len(told) == len({event["id"] for _, event in told})
    assert ["canceled"] == [event["state"] for _, event in told if event["id"] == busy]


@pytest.mark.parametrize(
    "last_id", ["", "unknown", "00000000-1", "{epoch}-999999", "{epoch}--1", "{epoch}-x", "9" * 200]
)
def test_an_id_that_cannot_be_gone_on_from_gets_the_snapshot(served: Served, last_id: str) -> None:
    """Whatever it is, the listener knows everything afterwards."""
    job = submit(served)
    with listening(served) as stream:
        stream.next()
        epoch = stream.id.partition("-")[0]
        with listening(served, last_id.replace("{epoch}", epoch)) as other:
            kind, snapshot = other.next()

    assert ("jobs", [job]) == (kind, [one["id"] for one in snapshot["jobs"]])


@pytest.mark.slow
def test_an_id_that_is_too_old_gets_the_snapshot(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory is bounded: where what has changed since is not known any more, everything is told."""
    monkeypatch.setattr(queue_events, "MOST_KEPT", 2)
    with listening(served) as stream:
        stream.next()
        known = stream.id
        jobs = [submit(served) for _ in range(4)]
        while jobs[-1] not in json.dumps(stream.next()):
            pass
        with listening(served, known) as other:
            kind, snapshot = other.next()

    assert ("jobs", jobs[::-1]) == (kind, [one["id"] for one in snapshot["jobs"]])


@pytest.mark.slow
def test_each_key_hears_of_its_own_jobs_alone(tmp_path: Path) -> None:
    """Neither in the snapshot, nor as a change, nor as a removal."""
    settings = settings_in(tmp_path, api_keys=SecretStr(f"{ANNA},{BERT}"))
    with serving(VideoService(settings, IdlePool())) as served:
        anna, bert = ({"X-API-Key": key} for key in (ANNA, BERT))
        old = submit(served, **anna)
        with listening(served, **bert) as stream:
            snapshot = stream.next()
            submit(served, **anna)
            served.client.post(f"/v1/jobs/{old}/cancel", headers=anna)
            served.client.delete(f"/v1/jobs/{old}", headers=anna)
            own = submit(served, **bert)
            told = stream.next()
        without = served.client.get("/v1/events")

    assert ("jobs", {"jobs": [], "next": None}) == snapshot
    assert ("job", own) == (told[0], told[1]["id"])
    assert 401 == without.status_code


def test_a_stream_says_that_it_lives(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """A silent one would be taken for dead by readers and proxies."""
    monkeypatch.setattr(queue_events, "HEARTBEAT_SECONDS", 0.05)
    with served.client.stream("GET", "/v1/events") as response:
        lines = response.iter_lines()
        wait_until(lambda: next(lines) == ": still here")

    assert "text/event-stream; charset=utf-8" == response.headers["content-type"]
    assert ("no-store", "no") == (response.headers["cache-control"], response.headers["x-accel-buffering"])


@pytest.mark.slow
def test_one_watcher_looks_for_all_listeners(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty listeners cost the database as much as one."""
    looks: list[int] = []
    pulse = JobReader.pulse

    def counted(reader: JobReader) -> object:
        looks.append(1)
        return pulse(reader)

    monkeypatch.setattr(JobReader, "pulse", counted)
    with serving_listeners(served, 20) as streams:
        job = submit(served)
        told = [stream.next()[1]["id"] for stream in streams]

    assert [job] * 20 == told
    assert 100 > len(looks)


@contextmanager
def serving_listeners(served: Served, count: int) -> Iterator[list[Stream]]:
    """Give so many listeners that have their snapshots."""
    if not count:
        yield []
        return
    with listening(served) as stream, serving_listeners(served, count - 1) as others:
        stream.next()
        yield [stream, *others]


@pytest.mark.slow
def test_listeners_have_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more is answered with 429 and what to do; a place is free again when a listener goes."""
    monkeypatch.setattr(video_app, "MOST_WAITING", 1)
    with serving(VideoService(settings_in(tmp_path), IdlePool())) as served:
        with listening(served) as stream:
            stream.next()
            refused = served.client.get("/v1/events")
        wait_until(lambda: _is_answered(served))

    assert (429, "rate_limited") == (refused.status_code, refused.json()["code"])


def _is_answered(served: Served) -> bool:
    with served.client.stream("GET", "/v1/events") as response:
        return response.status_code == 200


@pytest.mark.slow
def test_a_database_that_does_not_answer_is_asked_again(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its silence is no end of the stream: what happened meanwhile is told when it answers."""
    monkeypatch.setattr(queue_events, "_AFTER_FAULT_SECONDS", 0.01)
    pulse, faults = JobReader.pulse, []

    def failing(reader: JobReader) -> object:
        if len(faults) < 3:
            faults.append(1)
            raise StorageError("the database does not answer")
        return pulse(reader)

    with listening(served) as stream:
        stream.next()
        monkeypatch.setattr(JobReader, "pulse", failing)
        job = submit(served)
        told = stream.next()

    assert 3 == len(faults)
    assert ("job", job) == (told[0], told[1]["id"])


def test_a_snapshot_that_fails_does_not_end_the_stream(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told when the database answers; a listener who had to come again would only ask more of it."""
    monkeypatch.setattr(queue_events, "_AFTER_FAULT_SECONDS", 0.01)
    job, page, faults = submit(served), JobReader.page, []

    def failing(reader: JobReader, *args: Any) -> object:  # noqa: ANN401 - whatever it takes
        if len(faults) < 3:
            faults.append(1)
            raise StorageError("the database does not answer")
        return page(reader, *args)

    monkeypatch.setattr(JobReader, "page", failing)
    with listening(served) as stream:
        kind, snapshot = stream.next()

    assert 3 == len(faults)
    assert ("jobs", [job]) == (kind, [one["id"] for one in snapshot["jobs"]])


@pytest.mark.slow
def test_a_job_that_cannot_be_read_silences_no_other(served: Served) -> None:
    """The stream begins without it, and what happens to the others is told."""
    broken = submit(served)
    with served.service._store._database.writing() as connection:
        connection.execute(update(jobs).where(jobs.c.id == broken).values(asked=["no job"]))
    with listening(served) as stream:
        _, snapshot = stream.next()
        job = submit(served)
        told = stream.next()

    assert [] == snapshot["jobs"]
    assert ("job", job) == (told[0], told[1]["id"])


@pytest.mark.slow
def test_a_job_that_finds_no_words_is_told_of_later(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """It delays no other, leaves a snapshot whole, and is not forgotten."""
    shy, word = submit(served), queue_events.job_view
    faults: list[int] = []
    told: list[str] = []

    def failing(service: VideoService, job: Job, *args: Any) -> object:  # noqa: ANN401 - whatever it takes
        if job.id == shy and not told:
            faults.append(1)
            raise ValueError("no words")
        return word(service, job, *args)

    monkeypatch.setattr(queue_events, "job_view", failing)
    with listening(served) as stream:
        _, snapshot = stream.next()
        served.client.post(f"/v1/jobs/{shy}/cancel")
        other = submit(served)
        told.append(stream.next()[1]["id"])
        told.append(stream.next()[1]["id"])

    assert [] == snapshot["jobs"]
    assert [other, shy] == told
    assert len(faults) > 1


@pytest.mark.slow
def test_every_listener_reads_its_own_address_and_none_is_remembered(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Host header is a stranger's word: whatever number of them is sent, what is kept stays as it is."""
    watches = watches_noted(monkeypatch)
    job = submit(served)
    with listening(served) as stream:
        stream.next()
        epoch = stream.id.partition("-")[0]
        finish_next(served.service, tmp_path)
        stream.job("succeeded")
        kept = dict(watches[0]._kept)
        urls = []
        for port in range(1, 6):
            with listening(served, f"{epoch}-0", Host=f"localhost:{port}") as other:
                urls.append(other.job("succeeded")["result"]["url"])

    assert [f"http://localhost:{port}" for port in range(1, 6)] == [url.partition("/files/")[0] for url in urls]
    assert kept == watches[0]._kept
    assert b"localhost" not in kept[job].words


def watches_noted(monkeypatch: pytest.MonkeyPatch) -> list[QueueWatch]:
    """Give the watchers that listen from now on."""
    watches: list[QueueWatch] = []
    told = QueueWatch.told

    def noted(watch: QueueWatch, *args: Any) -> object:  # noqa: ANN401 - whatever it takes
        watches.append(watch)
        return told(watch, *args)

    monkeypatch.setattr(QueueWatch, "told", noted)
    return watches


@pytest.mark.slow
def test_a_server_that_stops_ends_its_streams(tmp_path: Path) -> None:
    """It does not wait for listeners who would never go."""
    with serving(VideoService(settings_in(tmp_path), IdlePool())) as served:
        with listening(served) as stream:
            stream.next()
            served.stop()
            with pytest.raises(EOFError):
                stream.next()
        wait_until(lambda: served.service.is_stopped)


@pytest.mark.slow
def test_a_watcher_that_nobody_needs_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a while without listeners the database is left in peace; the next one gets a snapshot, not a gap."""
    monkeypatch.setattr(queue_events, "LINGER_SECONDS", 0.0)
    watches: list[QueueWatch] = []
    begin = QueueWatch.__init__

    def noted(watch: QueueWatch, service: VideoService) -> None:
        watches.append(watch)
        begin(watch, service)

    monkeypatch.setattr(QueueWatch, "__init__", noted)
    with serving(VideoService(settings_in(tmp_path), IdlePool())) as served:
        with listening(served) as stream:
            stream.next()
            known = stream.id
        job = submit(served)

        wait_until(lambda: watches[0]._is_over)

        with listening(served, known) as stream:
            kind, snapshot = stream.next()

    assert ("jobs", [job]) == (kind, [one["id"] for one in snapshot["jobs"]])
    assert known.partition("-")[0] != stream.id.partition("-")[0]
