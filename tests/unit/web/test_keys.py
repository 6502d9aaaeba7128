"""API keys: who may ask, what stays open, and whose job is whose."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from tests.support.killing import wait_until
from tests.support.served import IdlePool, Served, finish_next, serving, settings_in
from upscale_server.errors import BadRequest
from upscale_server.logs import configure
from upscale_server.service import VideoService
from upscale_server.web.auth import Keys

ANNA, BERT = "anna-has-a-long-key", "bert-has-another-one"
JOB = {"payload_url": "http://127.0.0.1/v.mp4", "scale": 2}


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Served]:
    """Give a server with two keys, one of them known by its hash alone."""
    keys = SecretStr(f"{ANNA}, sha256:{hashlib.sha256(BERT.encode()).hexdigest()}")
    with serving(VideoService(settings_in(tmp_path, api_keys=keys), IdlePool())) as running:
        yield running


def by(key: str) -> dict[str, str]:
    """Return the header that carries a key."""
    return {"Authorization": f"Bearer {key}"}


@pytest.mark.parametrize("path", ["/stats", "/queue", "/v1/jobs", "/limits", "/docs", "/openapi.json", "/nothing"])
def test_without_a_key_nothing_but_probes_and_links_is_answered(locked: Served, path: str) -> None:
    """Every path is closed that was not opened by name, also one that does not exist."""
    without = locked.client.get(path)
    wrong = locked.client.get(path, headers=by("guessed"))
    close = locked.client.get(path, headers=by(ANNA[:-1]))

    for reply in (without, wrong, close):
        assert (401, "unauthorized", "Bearer") == (
            reply.status_code, reply.json()["code"], reply.headers["www-authenticate"],
        )  # fmt: skip


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/health"])
def test_probes_need_no_key(locked: Served, path: str) -> None:
    """A load balancer has none."""
    assert 200 == locked.client.get(path).status_code


@pytest.mark.parametrize("header", [by(ANNA), {"X-API-Key": ANNA}, by(BERT), {"authorization": f"bearer {BERT}"}])
def test_both_headers_and_hashed_keys_work(locked: Served, header: dict[str, str]) -> None:
    """The hash of a key in the settings lets the key in."""
    assert 200 == locked.client.get("/v1/jobs", headers=header).status_code


def test_the_hash_itself_is_no_key(locked: Served) -> None:
    """Whoever reads the settings cannot ask with what stands there."""
    digest = hashlib.sha256(BERT.encode()).hexdigest()

    for given in (digest, f"sha256:{digest}"):
        assert 401 == locked.client.get("/v1/jobs", headers=by(given)).status_code


@pytest.mark.slow
def test_a_job_is_not_there_for_another_key(locked: Served, tmp_path: Path) -> None:
    """Every route answers 404, as for a job that never was, and the list leaves it out."""
    job_id = locked.client.post("/v1/jobs", json=JOB, headers=by(ANNA)).json()["id"]
    finish_next(locked.service, tmp_path)

    routes = [("GET", ""), ("GET", "/events"), ("GET", "/output"), ("GET", "/audit"), ("DELETE", "")]
    routes += [("POST", f"/{verb}") for verb in ("cancel", "pause", "resume", "retry")]
    for method, end in routes:
        reply = locked.client.request(method, f"/v1/jobs/{job_id}{end}", headers=by(BERT))
        assert (404, "not_found") == (reply.status_code, reply.json()["code"]), (method, end)
    assert [] == locked.client.get("/v1/jobs", headers=by(BERT)).json()["jobs"]
    assert [job_id] == [job["id"] for job in locked.client.get("/v1/jobs", headers=by(ANNA)).json()["jobs"]]


def test_a_signed_link_needs_no_key_and_a_changed_one_does_not_help(locked: Served, tmp_path: Path) -> None:
    """The link is the permission: whoever fetches the result has no key of ours."""
    job_id = locked.client.post("/v1/jobs", json=JOB, headers=by(ANNA)).json()["id"]
    finish_next(locked.service, tmp_path)
    url = locked.client.get(f"/v1/jobs/{job_id}", headers=by(ANNA)).json()["result"]["url"]

    assert b"0123456789" == locked.client.get(url).content
    assert 403 == locked.client.get(url.partition("?")[0]).status_code
    assert 403 == locked.client.get(url.replace("expires=1", "expires=2")).status_code


def test_the_same_idempotency_key_of_two_callers_means_two_jobs(locked: Served) -> None:
    """Nobody reaches another's job by guessing its Idempotency-Key."""
    same = {"Idempotency-Key": "k"}
    first = locked.client.post("/v1/jobs", json=JOB, headers=by(ANNA) | same).json()["id"]
    second = locked.client.post("/v1/jobs", json=JOB, headers=by(BERT) | same).json()["id"]

    assert first != second


def test_the_log_names_the_key_and_never_holds_it(locked: Served) -> None:
    """One summary line per request, with the key's id; neither the key nor a query is in it."""
    log = io.StringIO()
    configure("info", "console", log)

    locked.client.get("/v1/jobs?after=hidden", headers=by(ANNA))

    wait_until(lambda: "event=request" in log.getvalue())  # the line is written behind the answer
    written = log.getvalue()
    assert hashlib.sha256(ANNA.encode()).hexdigest()[:16] in written
    assert "path=/v1/jobs " in written
    assert ANNA not in written
    assert "hidden" not in written


@pytest.mark.parametrize("text", ["sha256:", "sha256:abc", "good,sha256:" + "g" * 64])
def test_a_malformed_hash_stops_the_start(text: str) -> None:
    """It would otherwise be taken for a key that nobody has."""
    with pytest.raises(BadRequest, match="64 hexadecimal digits"):
        Keys.of(text)
