"""The native API as the contract names it: every route, field, header and state."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.compat.conftest import LONG_SECONDS, Sources
from tests.support.server import Server, running
from upscale_server.client import Client
from upscale_server.errors import Unauthorized

STATES = {"queued", "running", "paused", "succeeded", "failed", "canceled"}
PROGRESS = ["phase", "frames_done", "frames_total", "fps", "eta_seconds"]


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Client]:
    """Give our own client."""
    with Client(server.url) as one:
        yield one


@pytest.fixture(scope="module")
def done(client: Client, sources: Sources) -> dict[str, Any]:
    """Give one finished job."""
    job = client.submit({"payload_url": sources.address("small.mp4"), "scale": 2})
    return dict(client.wait(job["id"], LONG_SECONDS))


def test_a_job_is_accepted_with_its_place_and_its_fields(http: httpx.Client, sources: Sources) -> None:
    """202, a Location that leads to the job, and the documented fields."""
    reply = http.post("/v1/jobs", json={"payload_url": sources.address("small.mp4"), "target": "1080p"})

    job = reply.json()
    assert 202 == reply.status_code, reply.text
    assert job["id"] == http.get(reply.headers["location"]).json()["id"]
    assert {"id", "state", "progress", "plan", "result", "fault", "created_at"} <= set(job)
    assert job["state"] in STATES
    assert PROGRESS == list(job["progress"])


def test_a_finished_job_has_a_plan_a_result_and_its_pictures_counted(done: dict[str, Any]) -> None:
    """What was done, where it is and how large, and no fault."""
    assert ("succeeded", None) == (done["state"], done["fault"])
    assert (3, 3) == (done["progress"]["frames_done"], done["progress"]["frames_total"])
    assert {"url", "file_size_mb"} <= set(done["result"])
    assert isinstance(done["plan"], dict)


def test_the_output_has_range_and_etag(http: httpx.Client, done: dict[str, Any]) -> None:
    """The result itself, in whole and in part."""
    whole = http.get(f"/v1/jobs/{done['id']}/output")
    part = http.get(f"/v1/jobs/{done['id']}/output", headers={"Range": "bytes=-10"})
    same = http.get(f"/v1/jobs/{done['id']}/output", headers={"If-None-Match": whole.headers["etag"]})

    assert (200, 206, 304) == (whole.status_code, part.status_code, same.status_code)
    assert whole.content[-10:] == part.content


def test_our_client_downloads_what_the_server_stored(client: Client, done: dict[str, Any], tmp_path: Path) -> None:
    """Link and output route give the same bytes."""
    by_link = client.download(done["result"]["url"], tmp_path / "a.mp4").read_bytes()
    by_route = client.download(f"/v1/jobs/{done['id']}/output", tmp_path / "b.mp4").read_bytes()

    assert by_link == by_route
    assert done["result"]["byte_count"] == len(by_link)


def test_the_audit_says_rule_by_rule_what_was_checked(http: httpx.Client, done: dict[str, Any]) -> None:
    """Every hard rule held, or there would be no result."""
    answer = http.get(f"/v1/jobs/{done['id']}/audit").json()

    assert answer
    assert "frame" in json.dumps(answer)


def test_events_begin_with_a_snapshot_and_end_with_the_end(http: httpx.Client, done: dict[str, Any]) -> None:
    """Whoever connects late still learns everything."""
    with http.stream("GET", f"/v1/jobs/{done['id']}/events") as reply:
        lines = list(reply.iter_lines())

    assert "text/event-stream" == reply.headers["content-type"].split(";")[0]
    snapshots = [json.loads(line[5:]) for line in lines if line.startswith("data:")]
    assert "succeeded" == snapshots[-1]["state"]
    assert any(line.startswith("id:") for line in lines)


def test_the_same_key_meets_the_same_job_and_another_wish_a_conflict(http: httpx.Client, sources: Sources) -> None:
    """A repeated call is not a second job."""
    key = {"Idempotency-Key": uuid.uuid4().hex}
    asked = {"payload_url": sources.address("small.mp4"), "scale": 2}

    first = http.post("/v1/jobs", json=asked, headers=key).json()
    again = http.post("/v1/jobs", json=asked, headers=key).json()
    other = http.post("/v1/jobs", json={**asked, "scale": 4}, headers=key)

    assert first["id"] == again["id"]
    assert (409, "conflict") == (other.status_code, other.json()["code"])


def test_a_raw_upload_is_a_job_too(client: Client, sources: Sources) -> None:
    """The fields stand in the query beside the file's bytes."""
    job = client.upload(sources.folder / "small.mp4", {"scale": 2})

    assert "succeeded" == client.wait(job["id"], LONG_SECONDS)["state"]


def test_a_form_upload_is_a_job_too(client: Client, http: httpx.Client, sources: Sources) -> None:
    """The same fields beside a file in a form."""
    with (sources.folder / "small.mp4").open("rb") as file:
        reply = http.post("/v1/jobs", data={"scale": "2"}, files={"file": ("holiday.mp4", file)})

    assert 202 == reply.status_code, reply.text
    assert "succeeded" == client.wait(reply.json()["id"], LONG_SECONDS)["state"]


def test_cancel_pause_resume_retry_and_remove_follow_the_states(client: Client, sources: Sources) -> None:
    """A job that waits can be paused, resumed and cancelled; a cancelled one retried and a finished one removed."""
    job = client.submit({"payload_url": sources.address("long.mp4"), "target": "4k"})["id"]

    client.pause(job)
    paused = next(one for one in client.follow(job, LONG_SECONDS) if one["state"] in ("paused", "succeeded"))
    client.resume(job)
    client.cancel(job)
    canceled = [one["state"] for one in client.follow(job, LONG_SECONDS)][-1]
    client.retry(job)
    client.cancel(job)
    [*_, last] = client.follow(job, LONG_SECONDS)
    client.remove(job)

    assert ("paused", "canceled", "canceled") == (paused["state"], canceled, last["state"])
    assert job not in [one["id"] for one in client.jobs()]


@pytest.mark.parametrize("step", ["pause", "resume", "retry"])
def test_a_step_that_does_not_exist_is_a_conflict(http: httpx.Client, done: dict[str, Any], step: str) -> None:
    """A succeeded job stays one."""
    reply = http.post(f"/v1/jobs/{done['id']}/{step}")

    assert (409, "conflict") == (reply.status_code, reply.json()["code"])


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/jobs/{id}"),
        ("GET", "/v1/jobs/{id}/events"),
        ("GET", "/v1/jobs/{id}/output"),
        ("GET", "/v1/jobs/{id}/audit"),
        ("POST", "/v1/jobs/{id}/cancel"),
        ("DELETE", "/v1/jobs/{id}"),
    ],
)
def test_an_unknown_job_is_not_found(http: httpx.Client, method: str, path: str) -> None:
    """Every route of a job says so in the same way."""
    reply = http.request(method, path.replace("{id}", "0" * 32))

    assert (404, "not_found") == (reply.status_code, reply.json()["code"])


def test_jobs_come_in_pages_newest_first(
    http: httpx.Client, client: Client, sources: Sources, done: dict[str, Any]
) -> None:
    """`next` leads through all of them, and a state can be asked for."""
    client.submit({"payload_url": sources.address("small.mp4"), "scale": 2})
    first = http.get("/v1/jobs", params={"limit": 1}).json()
    second = http.get("/v1/jobs", params={"limit": 1, "after": first["next"]}).json()
    finished = http.get("/v1/jobs", params={"state": "succeeded"}).json()

    assert ["jobs", "next"] == list(first)
    assert first["jobs"][0]["created_at"] >= second["jobs"][0]["created_at"]
    assert first["jobs"][0]["id"] != second["jobs"][0]["id"]
    assert done["id"] in [job["id"] for job in finished["jobs"]]
    assert {"succeeded"} == {job["state"] for job in finished["jobs"]}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"payload_url": "{clip}", "colour": 1}, "bad_request"),
        ({"payload_url": "{clip}", "scale": 3}, "bad_scale"),
        ({"payload_url": "{clip}", "scale": 2, "target": "4k"}, "bad_request"),
        ({"payload_url": "{clip}", "target": "-1x5"}, "bad_request"),
        ({"payload_url": "{clip}", "task_type": "X"}, "unknown_task"),
        ({"payload_url": "{clip}", "fit": "stretch"}, "bad_request"),
        ({"payload_url": "{clip}", "codec": "vp9"}, "bad_request"),
        ({"payload_url": "{clip}", "crf": -1}, "bad_request"),
        ({"payload_url": "{clip}", "profile": "moon"}, "bad_request"),
        ({"payload_url": "http://x/" + "a" * 10_000}, "bad_url"),
        ({}, "bad_request"),
    ],
)
def test_a_wrong_field_is_refused_by_name(
    http: httpx.Client, sources: Sources, body: dict[str, Any], code: str
) -> None:
    """Nothing unknown or impossible becomes a job."""
    if body.get("payload_url") == "{clip}":
        body = {**body, "payload_url": sources.address("small.mp4")}

    reply = http.post("/v1/jobs", json=body)

    assert (400, code) == (reply.status_code, reply.json()["code"]), reply.text


def test_ten_megabytes_of_json_are_refused(http: httpx.Client) -> None:
    """A body that no request needs is not read to its end."""
    reply = http.post(
        "/v1/jobs", content=b'{"payload_url": "' + b"a" * 10_000_000, headers={"Content-Type": "application/json"}
    )

    assert reply.status_code in (400, 413)


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/limits", "/docs", "/openapi.json"])
def test_the_routes_around_the_api_answer(http: httpx.Client, path: str) -> None:
    """Probes, limits and the description of it all."""
    assert 200 == http.get(path).status_code


def test_the_description_has_the_documented_routes_with_examples(http: httpx.Client) -> None:
    """`/docs` is made of this; a caller can try each documented call from there."""
    paths = http.get("/openapi.json").json()["paths"]

    assert {
        "/upscale-video", "/upscale", "/queue", "/health", "/stats", "/limits", "/livez", "/readyz", "/v1/jobs",
        "/v1/jobs/{job_id}", "/v1/jobs/{job_id}/events", "/v1/jobs/{job_id}/output", "/v1/jobs/{job_id}/audit",
        "/v1/jobs/{job_id}/cancel", "/v1/jobs/{job_id}/pause", "/v1/jobs/{job_id}/resume", "/v1/jobs/{job_id}/retry",
    } <= set(paths)  # fmt: skip
    assert "HD24K" in http.get("/openapi.json").text


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Give a server that other machines could reach, with keys from a file."""
    folder = tmp_path_factory.mktemp("keyed")
    (folder / "keys").write_text("# two callers\nfirst-key\nsecond-key\n")
    flags = ("--host", "0.0.0.0", "--api-key-file", folder / "keys")  # noqa: S104 - what a key is for
    with running(folder / "state", *flags, environment={"MODEL_PATH": "lanczos"}) as one:
        one.url = one.url.replace("0.0.0.0", "127.0.0.1")  # noqa: S104 - a host to listen on, none to call
        yield one


@pytest.mark.parametrize("headers", [{"Authorization": "Bearer first-key"}, {"X-API-Key": "second-key"}])
def test_both_headers_carry_a_key(keyed: Server, headers: dict[str, str]) -> None:
    """Several keys, two ways to send one."""
    assert 200 == httpx.get(f"{keyed.url}/v1/jobs", headers=headers, trust_env=False).status_code


@pytest.mark.parametrize("path", ["/v1/jobs", "/stats", "/queue", "/limits"])
@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"X-API-Key": "first-key "[:-2]}])
def test_without_a_right_key_nothing_is_told(keyed: Server, path: str, headers: dict[str, str]) -> None:
    """401 with the same problem body as every failure."""
    reply = httpx.get(f"{keyed.url}{path}", headers=headers, trust_env=False)

    assert (401, "unauthorized") == (reply.status_code, reply.json()["code"])


def test_the_client_takes_a_key_and_says_when_it_is_wrong(keyed: Server) -> None:
    """Our client's own errors are the server's."""
    with Client(keyed.url, "second-key") as right, Client(keyed.url, "wrong") as wrong:
        assert 12 == right.stats()["max_workers"]
        with pytest.raises(Unauthorized):
            wrong.stats()


def test_a_job_belongs_to_the_key_that_made_it(keyed: Server, sources: Sources) -> None:
    """Another caller neither sees nor fetches it; the link itself needs no key."""
    with Client(keyed.url, "first-key") as mine, Client(keyed.url, "second-key") as theirs:
        job = mine.submit({"payload_url": sources.address("small.mp4"), "scale": 2})
        result = mine.wait(job["id"], LONG_SECONDS)["result"]

        assert [] == list(theirs.jobs())
        assert (
            404
            == httpx.get(
                f"{keyed.url}/v1/jobs/{job['id']}", headers={"X-API-Key": "second-key"}, trust_env=False
            ).status_code
        )
        assert 200 == httpx.get(result["url"], trust_env=False).status_code


def test_many_callers_at_once_are_all_answered(server: Server) -> None:
    """Control routes do not wait for work or for each other."""
    found: list[int] = []

    def ask() -> None:
        found.append(httpx.get(f"{server.url}/health", timeout=LONG_SECONDS, trust_env=False).status_code)

    callers = [threading.Thread(target=ask) for _ in range(50)]
    for one in callers:
        one.start()
    for one in callers:
        one.join()

    assert [200] * 50 == found
