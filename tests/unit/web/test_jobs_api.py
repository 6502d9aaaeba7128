"""The native API without any media: handing in, listing, watching, stopping, and blocking calls."""

from __future__ import annotations

import json
import threading
from http.client import HTTPConnection
from itertools import count
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy import update

from tests.support.killing import wait_until
from tests.support.served import IdlePool, Served, fail_next, finish_next, serving, settings_in
from upscale_server import quality_vmaf
from upscale_server.errors import DatabaseAway, NotFound, SourceTruncated, SourceUnreachable
from upscale_server.jobs.job import Job, Progress
from upscale_server.jobs.tables import jobs
from upscale_server.server_settings import Jobs
from upscale_server.service import VideoService
from upscale_server.web import waiting

JOB = {"payload_url": "http://127.0.0.1/clip.mp4?signature=hidden", "scale": 2}
VIDEO = {"payload_url": "http://127.0.0.1/clip.mp4", "task_type": "SD2HD"}


def test_a_job_is_accepted_with_its_place_and_without_its_address(served: Served) -> None:
    """202, Location, the documented fields; an address may hold a signature and is not repeated."""
    first = served.client.post("/v1/jobs", json=JOB)
    second = served.client.post("/v1/jobs", json=JOB)

    job = first.json()
    assert (202, f"/v1/jobs/{job['id']}") == (first.status_code, first.headers["location"])
    assert ("queued", 1, 2) == (job["state"], job["queue_position"], second.json()["queue_position"])
    assert {"phase", "frames_done", "frames_total", "fps", "eta_seconds"} == set(job["progress"])
    assert {"id", "state", "progress", "plan", "result", "fault", "created_at"} <= set(job)
    assert "hidden" not in first.text
    assert job == served.client.get(first.headers["location"]).json()


def test_a_job_of_no_named_size_says_which_it_will_have(served: Served) -> None:
    """The factor 2 is the default, and the answer names it before there is a plan."""
    named = served.client.post("/v1/jobs", json={"payload_url": JOB["payload_url"]}).json()
    boxed = served.client.post("/v1/jobs", json={"payload_url": JOB["payload_url"], "target": "4k"}).json()

    assert 2 == named["asked"]["scale"]
    assert "scale" not in boxed["asked"]


def test_pause_that_is_asked_of_a_running_job_is_seen_and_taken_back(served: Served) -> None:
    """The job says what is wanted of it until that is done; a resume before is no conflict."""
    path = f"/v1/jobs/{served.client.post('/v1/jobs', json=JOB).json()['id']}"
    assert served.service._store.claim(served.service._name, 1000)

    asked, seen, back = (
        ask.json() for ask in (
            served.client.post(f"{path}/pause"), served.client.get(path), served.client.post(f"{path}/resume")
        )
    )  # fmt: skip

    assert [("running", "paused"), ("running", "paused"), ("running", None)] == [
        (job["state"], job["wanted"]) for job in (asked, seen, back)
    ]


@pytest.mark.parametrize("suffix", [".onnx", ".safetensors"])
def test_added_model_of_either_kind_may_be_asked_for(served: Served, suffix: str) -> None:
    """What `upscale models add` keeps, the command line and the server run alike; its card is no model."""
    folder = served.service.settings.state_dir / "models"
    folder.mkdir()
    (folder / f"esrgan{suffix}").write_bytes(b"weights")
    (folder / "card-only.json").write_text("{}", encoding="utf-8")

    known, unknown = (served.client.post("/v1/jobs", json={**JOB, "model": name}) for name in ("esrgan", "card-only"))

    assert (202, "bad_request") == (known.status_code, unknown.json()["code"])
    assert "esrgan" == known.json()["asked"]["model"]


def test_target_over_the_limits_is_refused_at_the_door(served: Served) -> None:
    """413 with the setting, by address and before an upload is read; nothing is queued."""
    asked = served.client.post("/v1/jobs", json={"payload_url": JOB["payload_url"], "target": "20000x20000"})
    sent = served.post_raw("/v1/jobs?target=20000x20000", b"video", "video/mp4")

    for reply in (asked, sent):
        assert (413, "too_many_pixels") == (reply.status_code, reply.json()["code"])
        assert "UPSCALE_LIMITS__MAX_OUTPUT_SIDE" in reply.json()["detail"]
    assert 0 == served.service.counts().queued
    assert [] == list(served.service.uploads.iterdir())


def test_quality_is_refused_at_the_door_where_nothing_can_measure_it(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """400 with what to install, by address and before an upload is read; not a failure after hours."""
    quality_vmaf.require_quality.cache_clear()
    monkeypatch.setattr(quality_vmaf, "find_spec", lambda _: None)

    asked = served.client.post("/v1/jobs", json={**JOB, "quality": True})
    sent = served.post_raw("/v1/jobs?quality=true", b"video", "video/mp4")

    for reply in (asked, sent):
        assert (400, "missing_extra") == (reply.status_code, reply.json()["code"])
        assert "pip install 'upscale-server[quality]'" == reply.json()["hint"]
    assert 0 == served.service.counts().queued


def test_a_job_tells_whether_its_quality_will_be_measured(served: Served) -> None:
    """The wish is taken from JSON and from the query, and the default is no."""
    asked = [
        served.client.post("/v1/jobs", json={**JOB, "quality": True}).json(),
        served.post_raw("/v1/jobs?quality=true", b"video", "video/mp4").json(),
        served.client.post("/v1/jobs", json=JOB).json(),
    ]

    assert [True, True, False] == [job["asked"]["quality"] for job in asked]


def test_part_of_a_file_is_taken_only_where_it_is_asked_for(served: Served) -> None:
    """A source that ends early fails its job by default; the field is a job's own and no documented call's."""
    whole = served.client.post("/v1/jobs", json=JOB).json()
    part = served.client.post("/v1/jobs", json={**JOB, "allow_partial": True}).json()
    sent = served.post_raw("/v1/jobs?allow_partial=true", b"video", "video/mp4").json()
    documented = served.client.post("/upscale-video", json={**VIDEO, "allow_partial": True})

    assert [False, True, True] == [job["asked"]["allow_partial"] for job in (whole, part, sent)]
    assert 400 == documented.status_code


@pytest.mark.slow
def test_the_list_comes_in_pages_and_by_state(served: Served) -> None:
    """Newest first; `next` leads on and is null at the end."""
    ids = [served.client.post("/v1/jobs", json=JOB).json()["id"] for _ in range(3)]
    served.client.post(f"/v1/jobs/{ids[0]}/cancel")

    first = served.client.get("/v1/jobs", params={"limit": 2}).json()
    asked = [served.client.get(f"/v1/jobs/{job_id}").json()["queue_position"] for job_id in ids]
    second = served.client.get("/v1/jobs", params={"limit": 2, "after": first["next"]}).json()
    canceled = served.client.get("/v1/jobs", params={"state": "canceled"}).json()

    assert ids[::-1] == [job["id"] for job in first["jobs"] + second["jobs"]]
    assert [None, 1, 2] == asked
    assert asked[::-1] == [job["queue_position"] for job in first["jobs"] + second["jobs"]]
    assert second["next"] is None
    assert ids[:1] == [job["id"] for job in canceled["jobs"]]


def test_an_idempotency_key_makes_a_repeated_request_one_job(served: Served) -> None:
    """The same request gives the same job, another one under the same key a conflict, a bad key a 400."""
    key = {"Idempotency-Key": "once"}
    first = served.client.post("/v1/jobs", json=JOB, headers=key)
    again = served.client.post("/v1/jobs", json=JOB, headers=key)
    other = served.client.post("/v1/jobs", json={**JOB, "scale": 4}, headers=key)
    bad = served.client.post("/v1/jobs", json=JOB, headers={"Idempotency-Key": "x" * 300})

    assert first.json()["id"] == again.json()["id"]
    assert (409, "conflict") == (other.status_code, other.json()["code"])
    assert 400 == bad.status_code
    assert 1 == served.service.counts().queued


@pytest.mark.slow
def test_a_full_room_is_told_when_to_come_back(tmp_path: Path) -> None:
    """429 with Retry-After; a batch that does not fit leaves none of itself behind."""
    settings = settings_in(tmp_path, jobs=Jobs(room=2))
    with serving(VideoService(settings, IdlePool())) as served:
        taken = served.client.post("/v1/jobs", json=JOB)
        batch = served.client.post("/upscale", json={"video_paths": [VIDEO["payload_url"]] * 2, "scale": 2})
        queued = served.client.get("/queue").json()["queued_tasks"]
        served.client.post("/v1/jobs", json=JOB)
        upload = served.post_raw("/v1/jobs", b"video", "video/mp4")

    assert 202 == taken.status_code
    for reply in (batch, upload):
        assert (429, "queue_full") == (reply.status_code, reply.json()["code"])
        assert reply.headers["retry-after"].isdigit()
    assert 1 == queued


def test_a_job_goes_through_its_states_by_request(served: Served) -> None:
    """Pause, resume, cancel, retry and delete follow the table of steps; what does not exist there is a conflict."""
    path = f"/v1/jobs/{served.client.post('/v1/jobs', json=JOB).json()['id']}"

    seen = [served.client.post(f"{path}/{verb}").json().get("state") for verb in ("pause", "resume", "cancel")]
    again = served.client.post(f"{path}/cancel").json()["state"]
    wrong = served.client.post(f"{path}/resume")
    retried = served.client.post(f"{path}/retry").json()["state"]
    unfinished = served.client.delete(path)
    served.client.post(f"{path}/cancel")
    removed = served.client.delete(path)

    assert ["paused", "queued", "canceled"] == seen
    assert ("canceled", "queued") == (again, retried)
    assert (409, "conflict") == (wrong.status_code, wrong.json()["code"])
    assert (409, 204) == (unfinished.status_code, removed.status_code)
    assert 404 == served.client.get(path).status_code


@pytest.mark.slow
def test_events_begin_with_a_snapshot_tell_what_is_new_and_end_with_the_job(served: Served, tmp_path: Path) -> None:
    """Each event is the whole job; the last one is its end, and then the stream is over."""
    job_id = served.client.post("/v1/jobs", json=JOB).json()["id"]
    events = []

    with served.client.stream("GET", f"/v1/jobs/{job_id}/events") as stream:
        for line in stream.iter_lines():
            if line.startswith("data: "):
                events.append(json.loads(line[6:]))
                if len(events) == 1:
                    finish_next(served.service, tmp_path)

    assert "text/event-stream" in stream.headers["content-type"]
    assert ["queued", "succeeded"] == [events[0]["state"], events[-1]["state"]]
    assert events[-1]["result"]["url"]


def test_a_reader_that_comes_back_is_not_told_again_what_it_knows(served: Served, tmp_path: Path) -> None:
    """With Last-Event-ID the first event is the next news; without it, a snapshot."""
    job_id = served.client.post("/v1/jobs", json=JOB).json()["id"]
    finish_next(served.service, tmp_path)
    path = f"/v1/jobs/{job_id}/events"

    text = served.client.get(path).text
    last = next(line[4:] for line in text.splitlines() if line.startswith("id: "))
    known = served.client.get(path, headers={"Last-Event-ID": last})
    older = served.client.get(path, headers={"Last-Event-ID": "1-waiting-0"}).text

    assert (1, 1) == (text.count("data: "), older.count("data: "))
    assert (204, "") == (known.status_code, known.text), "anything else makes an EventSource come back for ever"


@pytest.mark.slow
def test_a_blocking_call_answers_when_its_job_is_done(served: Served, tmp_path: Path) -> None:
    """The documented reply, with both names of the address, which gives the file."""
    with _posting(served, "/upscale-video", VIDEO) as call:
        _finish_when_there(served, tmp_path)
        reply = call.result()

    body = reply.json()
    assert 200 == reply.status_code
    assert body["optimized_video_url"] == body["uploaded_video_url"]
    assert ("SD2HD", 10 / 2**20) == (body["task_type"], body["file_size_mb"])
    assert body["processing_time"] >= 0
    assert b"0123456789" == served.client.get(body["optimized_video_url"]).content


def test_a_blocking_call_fails_as_its_job_did(served: Served) -> None:
    """Status and code are the fault's; the job that failed is named."""
    with _posting(served, "/upscale-video", VIDEO) as call:
        _wait_for_one(served)
        job_id = fail_next(served.service, SourceTruncated("ends after 3 of 9 frames"))
        reply = call.result()

    assert (422, "source_truncated") == (reply.status_code, reply.json()["code"])
    assert ("ends after 3 of 9 frames", job_id) == (reply.json()["detail"], reply.headers["x-job-id"])


def test_what_a_busy_source_says_of_its_time_reaches_the_caller(served: Served) -> None:
    """Retry-After of the source is that of our answer, and stands in the fault of the job."""
    busy = SourceUnreachable("http://host answered with status 429")
    busy.retry_after = 70
    with _posting(served, "/upscale-video", VIDEO) as call:
        _wait_for_one(served)
        job_id = fail_next(served.service, busy)
        reply = call.result()

    assert (502, "70", 70) == (reply.status_code, reply.headers["retry-after"], reply.json()["retry_after"])
    assert 70 == served.client.get(f"/v1/jobs/{job_id}").json()["fault"]["retry_after"]


def test_a_blocking_call_sits_out_a_database_that_is_away(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its job goes on meanwhile; sent away, the caller would hand it in once more."""
    monkeypatch.setattr(waiting, "AWAY_SECONDS", 0.05)
    asked, seen = type(served.service).job, count()

    def away_at_first(service: VideoService, job_id: str, owner: str = "") -> Job:
        if next(seen) < 3:
            raise DatabaseAway("jobs' database does not answer")
        return asked(service, job_id, owner)

    monkeypatch.setattr(type(served.service), "job", away_at_first)
    with _posting(served, "/upscale-video", VIDEO) as call:
        _finish_when_there(served, tmp_path)
        reply = call.result()

    assert 200 == reply.status_code
    assert next(seen) > 3


@pytest.mark.slow
def test_a_caller_that_hangs_up_cancels_nothing(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its job waits on when the server has noticed, and the server is fine."""
    noticed = threading.Event()

    class Noticed(waiting.ClientGone):
        def __init__(self) -> None:
            super().__init__()
            noticed.set()

    monkeypatch.setattr(waiting, "ClientGone", Noticed)
    caller = HTTPConnection(urlsplit(served.url).netloc, timeout=30)
    caller.request("POST", "/upscale-video", json.dumps(VIDEO), {"Content-Type": "application/json"})
    wait_until(lambda: served.service.counts().queued == 1)

    caller.close()

    assert noticed.wait(60)
    assert 1 == served.service.counts().queued
    assert 200 == served.client.get("/health").status_code


@pytest.mark.slow
def test_a_wait_that_is_over_is_told_as_accepted_and_not_as_done(tmp_path: Path) -> None:
    """202 with the job and where to ask; the job goes on."""
    settings = settings_in(tmp_path, jobs=Jobs(wait_seconds=1))
    with serving(VideoService(settings, IdlePool())) as served:
        reply = served.client.post("/upscale-video", json=VIDEO)

    assert (202, "queued") == (reply.status_code, reply.json()["state"])
    assert reply.headers["location"] == f"/v1/jobs/{reply.json()['id']}"


def test_those_who_wait_are_answered_when_the_server_stops(served: Served) -> None:
    """503 draining, which can be tried again; the job is named and still there after a restart."""
    with _posting(served, "/upscale-video", VIDEO) as call:
        _wait_for_one(served)
        served.service.stop(0)
        reply = call.result()

    assert (503, "draining") == (reply.status_code, reply.json()["code"])
    assert reply.headers["retry-after"].isdigit()
    assert "goes on after its restart" in reply.json()["detail"]


@pytest.mark.slow
def test_links_begin_with_a_known_address_or_are_not_made(tmp_path: Path) -> None:
    """Loopback, an allowed host, or the public address; for any other Host there is no link, and no work is begun."""
    # With a key, because without one a strange Host is not answered at all.
    settings = settings_in(tmp_path, allowed_hosts=("video.example",), api_keys=SecretStr("k"))
    with serving(VideoService(settings, IdlePool()), **{"X-API-Key": "k"}) as served:
        evil = served.client.post("/upscale-video", json=VIDEO, headers={"Host": "evil.example"})
        odd = served.client.post("/upscale-video", json=VIDEO, headers={"Host": "localhost@evil.example"})
        waiting = served.service.counts().queued
        job_id = served.client.post("/v1/jobs", json=JOB).json()["id"]
        finish_next(served.service, tmp_path)
        path = f"/v1/jobs/{job_id}"
        urls = [
            served.client.get(path, headers={"Host": host}).json()["result"]["url"]
            for host in ("video.example:8003", "localhost", "[::1]:29115", "evil.example")
        ]
    known = VideoService(settings.model_copy(update={"public_url": "https://v.example/"}), IdlePool())
    with serving(known, **{"X-API-Key": "k"}) as served:
        public = served.client.get(path, headers={"Host": "evil.example"}).json()["result"]["url"]

    assert (400, 400, 0) == (evil.status_code, odd.status_code, waiting)
    assert "UPSCALE_ALLOWED_HOSTS" in evil.json()["hint"]
    starts = ("http://video.example:8003/files/", "http://localhost/files/", "http://[::1]:29115/files/", "/files/")
    assert [True] * 4 == [url.startswith(start) for url, start in zip(urls, starts, strict=True)]
    assert public.startswith("https://v.example/files/")


def test_a_damaged_job_is_told_as_such_and_can_be_removed(served: Served) -> None:
    """No promise that asking again helps; what is left is removed with it, and another key does not see it."""
    job_id, whole = (served.client.post("/v1/jobs", json=JOB).json()["id"] for _ in range(2))
    with served.service._store._database.writing() as connection:
        connection.execute(update(jobs).where(jobs.c.id == job_id).values(progress=["no progress"]))
    at = f"/v1/jobs/{job_id}"

    replies = [served.client.get(at), served.client.post(f"{at}/cancel"), served.client.get(f"{at}/events")]
    with pytest.raises(NotFound):
        served.service.job(job_id, "another key")
    with pytest.raises(NotFound):
        served.service.remove(job_id, "another key")
    removed = [served.client.delete(f"/v1/jobs/{one}").status_code for one in (job_id, whole)]

    assert [(500, "job_damaged", False)] * 3 == [
        (one.status_code, one.json()["code"], one.json()["retryable"]) for one in replies
    ]
    assert "remove the job" in replies[0].json()["hint"]
    assert [204, 409] == removed
    assert 404 == served.client.get(at).status_code


def test_a_damaged_job_that_runs_is_not_removed(served: Served) -> None:
    """It is in somebody's hands, whose work ends with it."""
    job_id = served.client.post("/v1/jobs", json=JOB).json()["id"]
    served.service._store.claim(served.service._name, 1000)
    with served.service._store._database.writing() as connection:
        connection.execute(update(jobs).where(jobs.c.id == job_id).values(asked=["no job"]))

    reply = served.client.delete(f"/v1/jobs/{job_id}")

    assert (409, "conflict") == (reply.status_code, reply.json()["code"])


def test_progress_is_that_of_the_runner(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is shown is fresher than what is stored."""
    monkeypatch.setattr(served.service._runner, "progress", lambda _job: Progress("upscale", 7, 9, 3.14159, 0.55))
    job = served.client.post("/v1/jobs", json=JOB).json()

    expected = {"phase": "upscale", "frames_done": 7, "frames_total": 9, "fps": 3.14, "eta_seconds": 0.6}
    assert expected == {**job["progress"], "eta_seconds": round(job["progress"]["eta_seconds"] + 0.01, 1)}


@pytest.mark.slow
def test_the_documentation_is_one_page_that_loads_nothing(served: Served) -> None:
    """/docs works without internet; every route is in it, with examples."""
    page = served.client.get("/docs")
    description = served.client.get("/openapi.json").json()

    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "<script" not in page.text
    for path in ("/upscale-video", "/upscale", "/v1/jobs", "/health", "/stats", "/queue", "/limits"):
        assert path in description["paths"]
        assert path in page.text
    assert f"curl -X POST {served.url}/upscale-video" in page.text


class _posting:  # noqa: N801 - reads as a verb where it is used
    """Post in a thread of its own."""

    def __init__(self, served: Served, path: str, body: object) -> None:
        self._reply: list[httpx.Response] = []
        self._thread = threading.Thread(
            target=lambda: self._reply.append(httpx.post(f"{served.url}{path}", json=body, timeout=60))
        )

    def result(self) -> httpx.Response:
        """Return the answer when it is there."""
        self._thread.join()
        return self._reply[0]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join()


def _wait_for_one(served: Served) -> None:
    wait_until(lambda: served.service.counts().queued > 0)


def _finish_when_there(served: Served, folder: Path) -> None:
    _wait_for_one(served)
    finish_next(served.service, folder)


def test_a_list_of_jobs_leaves_out_their_plans(served: Served) -> None:
    """Two hundred plans of long films are megabytes; each is there where its job is asked for."""
    job_id = served.client.post("/v1/jobs", json=JOB).json()["id"]
    claim = served.service._store.claim(served.service._name, 60)
    assert claim is not None
    served.service._store.keep_plan(claim, {"segments": [[0, 9]]})

    assert [None] == [job["plan"] for job in served.client.get("/v1/jobs").json()["jobs"]]
    assert [[0, 9]] == served.client.get(f"/v1/jobs/{job_id}").json()["plan"]["segments"]


def test_a_list_of_jobs_asks_once_where_they_wait(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two hundred waiting jobs would otherwise be as many questions to the database."""
    for _ in range(3):
        served.client.post("/v1/jobs", json=JOB)
    asked: list[str] = []
    monkeypatch.setattr(served.service._store, "place", asked.append)

    found = served.client.get("/v1/jobs").json()["jobs"]

    assert [3, 2, 1] == [job["queue_position"] for job in found]
    assert [] == asked
