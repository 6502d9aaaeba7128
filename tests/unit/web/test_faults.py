"""Every failure has one shape, whatever went wrong and wherever."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import httpx
import pytest

from tests.support.served import BROKEN, LOADING, IdlePool, Served, serving, settings_in
from upscale_server import errors
from upscale_server.service import VideoService
from upscale_server.web.bodies import MAX_JSON_BYTES

FIELDS = ["type", "title", "status", "detail", "code", "retryable", "request_id", "hint"]
URL = "http://127.0.0.1/v.mp4"


class SlowToClose(IdlePool):
    """Workers whose last segment ends when it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.is_closing, self.may_close = threading.Event(), threading.Event()

    def close(self, drain_seconds: float = 0.0) -> None:
        """Wait."""
        del drain_seconds
        self.is_closing.set()
        self.may_close.wait()


def job(**fields: object) -> str:
    """Return a job's body with these fields beside the address."""
    return json.dumps({"payload_url": URL, **fields})


@pytest.mark.parametrize(
    ("body", "status", "code", "part"),
    [
        ("", 400, "bad_request", "no JSON"),
        ("[1, 2]", 400, "bad_request", "[1, 2]; expected a JSON object"),
        ('{"payload_url": "a", "payload_url": "b"}', 400, "bad_request", '"payload_url" is there twice'),
        ('{"payload_url": NaN}', 400, "bad_request", "no number NaN"),
        ("[" * 30_000, 400, "bad_request", "nested too deeply"),
        ("{" + '"a":' * 3 + "\xff", 400, "bad_request", "no JSON"),
        ('{"scale": 2}', 400, "bad_request", "field payload_url is missing"),
        ('{"payload_url": 5}', 400, "bad_url", "field payload_url is 5"),
        (job(foo=1), 400, "bad_request", "field foo does not exist"),
        (job(task_type="8K216K"), 400, "unknown_task", "SD2HD, SD24K, HD24K, 4K28K"),
        (job(task_type=7), 400, "unknown_task", "field task_type is 7"),
        (job(scale=3), 400, "bad_scale", "expected 2 or 4"),
        (job(scale="2"), 400, "bad_scale", 'field scale is "2"'),
        (job(scale=True), 400, "bad_scale", "field scale is true"),
        (job(scale=2, target="4k"), 400, "bad_request", "choose one"),
        (job(target="-4x8"), 400, "bad_request", "-4x8"),
        (job(fit="exact"), 400, "bad_request", "needs a box"),
        (job(profile="subnet", target="4k"), 400, "bad_request", "profile subnet"),
        (job(codec="vp9"), 400, "bad_request", "field codec"),
        (job(crf=99), 400, "bad_request", "field crf is 99"),
        (job(crf=60), 400, "bad_request", "hevc takes 0 (best) to 51"),
        (job(maximum_optimized_size_mb=0), 400, "bad_request", "greater than or equal to 0.001"),
        (job(model="../../etc/passwd"), 400, "bad_request", "no path"),
        (job(model="mine.onnx"), 400, "bad_request", "no path"),
        (job(model="unheard-of"), 400, "bad_request", "expected one of bal"),
        (json.dumps({"payload_url": "file:///etc/passwd"}), 400, "bad_scheme", "http and https"),
        (json.dumps({"payload_url": "ftp://host/v.mp4"}), 400, "bad_scheme", "ftp"),
        (json.dumps({"payload_url": "http://" + "a" * 10_000}), 400, "bad_url", "4096"),
        (json.dumps({"payload_url": "http://user:pw@host/v"}), 400, "bad_url", "user name"),
        (json.dumps({"payload_url": "http://10.0.0.1/v"}), 403, "source_forbidden", "private"),
        (json.dumps({"payload_url": "http://[::ffff:169.254.169.254]/v"}), 403, "source_forbidden", "private"),
        ('{"a": "' + "x" * MAX_JSON_BYTES + '"}', 413, "request_too_large", str(MAX_JSON_BYTES)),
    ],
)  # fmt: skip
def test_a_wrong_job_is_refused_with_the_field_the_value_and_what_was_expected(
    refusing: Served, body: str, status: int, code: str, part: str
) -> None:
    """Status, code and text are those of the error table; nothing was queued."""
    reply = refusing.post_raw("/v1/jobs", body.encode("latin-1"))

    assert (status, code) == (reply.status_code, reply.json()["code"]), reply.text
    assert part in reply.json()["detail"]
    assert FIELDS == list(reply.json())
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.headers["x-request-id"] == reply.json()["request_id"]
    assert 0 == refusing.service.counts().queued


def test_ten_megabytes_of_json_are_refused_and_the_sender_hears_it(refusing: Served) -> None:
    """The body is read away, so that a sender that finishes first is answered and not cut off."""
    reply = refusing.post_raw("/upscale-video", b'{"payload_url": "' + b"x" * (10 << 20) + b'"}')

    assert 413 == reply.status_code


@pytest.mark.parametrize("path", ["/upscale-video", "/upscale", "/v1/jobs"])
@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded"])
def test_a_body_that_is_not_declared_as_json_is_refused(refusing: Served, path: str, kind: str) -> None:
    """A browser's form can therefore never start a job on somebody's own machine."""
    reply = refusing.post_raw(path, job(), kind)

    assert (415, "wrong_content_type") == (reply.status_code, reply.json()["code"])


def test_what_does_not_exist_is_answered_in_the_same_shape(refusing: Served) -> None:
    """Unknown paths, methods, jobs and parameters are problem objects too."""
    nothing = refusing.client.get("/nothing/here")
    method = refusing.client.put("/v1/jobs")
    unknown = refusing.client.get("/v1/jobs/0123")
    limit = refusing.client.get("/v1/jobs?limit=0")
    state = refusing.client.get("/v1/jobs?state=asleep")

    assert (404, "not_found") == (nothing.status_code, nothing.json()["code"])
    assert (405, "GET, POST", "method_not_allowed") == (
        method.status_code, method.headers["allow"], method.json()["code"],
    )  # fmt: skip
    assert (404, "not_found") == (unknown.status_code, unknown.json()["code"])
    assert (400, "bad_request") == (limit.status_code, limit.json()["code"])
    assert "limit" in limit.json()["detail"]
    assert (400, "bad_request") == (state.status_code, state.json()["code"])


def test_an_unforeseen_failure_is_opaque_outside_and_whole_in_the_log(
    served: Served, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The caller gets an id; the log has the trace under it, without what follows a question mark."""

    def burst() -> None:
        raise RuntimeError("secret detail of https://host/v.mp4?signature=abc")

    monkeypatch.setattr(served.service, "counts", burst)
    reply = served.client.get("/queue", headers={"X-Request-ID": "mine-1"})

    written = "".join(capsys.readouterr())
    assert (500, "internal", "mine-1") == (
        reply.status_code, reply.json()["code"], reply.json()["request_id"],
    )  # fmt: skip
    assert "secret" not in reply.text
    assert "mine-1" in written
    assert "burst" in written
    assert "abc" not in written


def test_a_foreign_request_id_is_taken_only_where_it_is_harmless(refusing: Served) -> None:
    """A short word is passed on; anything else is replaced."""
    taken = refusing.client.get("/livez", headers={"X-Request-ID": "a-1.b_2"})
    replaced = refusing.client.get("/livez", headers={"X-Request-ID": "a b"})

    assert "a-1.b_2" == taken.headers["x-request-id"]
    assert "a b" != replaced.headers["x-request-id"]


def test_more_headers_than_anybody_needs_are_refused(refusing: Served) -> None:
    """A hundred is the limit."""
    reply = refusing.client.get("/livez", headers=[(f"X-{number}", "y") for number in range(120)])

    assert 431 == reply.status_code


@pytest.mark.parametrize(("said", "part"), [(LOADING, "0 of 1 lanes"), (BROKEN, "damaged")])
def test_health_and_readiness_say_why_no_work_is_done(served: Served, pool: IdlePool, said: object, part: str) -> None:
    """503 with the reason and Retry-After, and never the word healthy."""
    pool.said = said  # type: ignore[assignment]

    for path in ("/health", "/readyz"):
        reply = served.client.get(path)
        assert (503, "models_not_loaded") == (reply.status_code, reply.json()["code"])
        assert part in reply.json()["detail"]
        assert reply.headers["retry-after"].isdigit()
    assert 0 == served.client.get("/health").json()["workers_ready"]
    assert 200 == served.client.get("/livez").status_code


def test_a_job_that_could_never_run_is_refused_at_once(served: Served, pool: IdlePool) -> None:
    """With broken workers a job would wait for ever; while they load it waits."""
    pool.said = BROKEN
    refused = served.post_raw("/v1/jobs", job())
    pool.said = LOADING
    taken = served.post_raw("/v1/jobs", job())

    assert (503, "models_not_loaded") == (refused.status_code, refused.json()["code"])
    assert "Models not loaded" in refused.json()["detail"]
    assert 202 == taken.status_code


def test_a_stopping_server_takes_no_job(served: Served) -> None:
    """Draining is 503 with Retry-After, for jobs and for readiness."""
    served.service._draining.set()

    for reply in (served.post_raw("/v1/jobs", job()), served.client.get("/readyz")):
        assert (503, errors.Draining.code) == (reply.status_code, reply.json()["code"])
        assert reply.headers["retry-after"].isdigit()


@pytest.mark.slow
def test_a_draining_server_still_answers_whoever_comes(tmp_path: Path) -> None:
    """Its door stays open until the last segment has ended: 503 for probes and new jobs, answers about jobs."""
    pool = SlowToClose()
    with serving(VideoService(settings_in(tmp_path), pool)) as served:
        known = served.post_raw("/v1/jobs", job()).json()["id"]
        served.stop()
        pool.is_closing.wait()
        try:
            with httpx.Client(base_url=served.url, trust_env=False) as late:
                refused = [late.get("/readyz"), late.get("/health"), late.post("/v1/jobs", json=json.loads(job()))]
                asked = late.get(f"/v1/jobs/{known}")
                alive = late.get("/livez")
        finally:
            pool.may_close.set()

    assert [(503, "draining")] * 3 == [(reply.status_code, reply.json()["code"]) for reply in refused]
    assert (200, 200) == (asked.status_code, alive.status_code)


@pytest.mark.parametrize(("kind", "expected"), [(errors.DatabaseAway, (503, "10")), (errors.StorageError, (502, None))])
def test_a_database_that_is_away_is_a_503_with_a_time_and_one_that_refuses_a_502(
    kind: type[errors.StorageError], expected: tuple[int, str | None], served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One is tried again in a moment, at another server perhaps; the other is the contract's status."""

    def fail(*_: object) -> None:
        raise kind("jobs' database does not answer")

    for name in ("get", "add_all", "page"):
        monkeypatch.setattr(served.service._store, name, fail)
    asked = [
        served.client.get(f"/v1/jobs/{'0' * 32}"), served.client.get("/v1/jobs"),
        served.client.post("/v1/jobs", json=json.loads(job())),
    ]  # fmt: skip

    assert [expected] * 3 == [(reply.status_code, reply.headers.get("retry-after")) for reply in asked]
    assert {"storage_error"} == {reply.json()["code"] for reply in asked}


@pytest.mark.parametrize("kind", [errors.DatabaseAway, errors.StorageError])
def test_a_server_whose_database_does_not_answer_is_not_ready(
    kind: type[errors.StorageError], served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """503 for those who would send work here, for a moment or for good; the process itself is alive."""

    def away() -> None:
        raise kind("jobs' database does not answer")

    monkeypatch.setattr(served.service._store, "counts", away)

    for path in ("/readyz", "/health"):
        reply = served.client.get(path)
        assert (503, "storage_error") == (reply.status_code, reply.json()["code"])
    assert 200 == served.client.get("/livez").status_code
