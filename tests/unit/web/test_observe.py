"""`/metrics` over real HTTP: who may read it, what it says of jobs and requests, and that paths never become labels."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from tests.support.image_served import image_settings, picture_file, serving_images
from tests.support.killing import wait_until
from tests.support.scrape import Scrape, read
from tests.support.served import BROKEN, IdlePool, Served, fail_next, finish_next, serving, settings_in
from upscale_server.errors import SourceTruncated, StorageError
from upscale_server.service import VideoService
from upscale_server.service.figures import GpuMemory
from upscale_server.service.gpu_facts import GpuFacts

JOB = {"payload_url": "http://127.0.0.1/clip.mp4", "scale": 2}
KEY = "a-key-of-this-test"


def scraped(served: Served) -> Scrape:
    """Return what a scraper reads."""
    reply = served.client.get("/metrics")
    assert (200, "text/plain; version=0.0.4; charset=utf-8") == (reply.status_code, reply.headers["content-type"])
    return read(reply.text)


def test_jobs_by_state_and_ends_by_outcome_are_the_stores(served: Served, tmp_path: Path) -> None:
    """Five jobs, of which one succeeded, one failed, one was cancelled in the queue, and two wait."""
    ids = [served.client.post("/v1/jobs", json=JOB).json()["id"] for _ in range(5)]
    finish_next(served.service, tmp_path)
    fail_next(served.service, SourceTruncated("it ends early"))
    served.client.post(f"/v1/jobs/{ids[2]}/cancel")

    found = scraped(served)
    states = {one["state"]: found.value("upscale_jobs", **one) for one in found.labels("upscale_jobs")}
    assert {"queued": 2, "running": 0, "paused": 0, "succeeded": 1, "failed": 1, "canceled": 1} == states
    assert (2, 100) == (found.value("upscale_queue_depth"), found.value("upscale_queue_room"))
    for outcome in ("succeeded", "failed", "canceled"):
        assert 1 == found.value("upscale_jobs_total", outcome=outcome, preset="custom")
        assert 0 == found.value("upscale_jobs_total", outcome=outcome, preset="SD2HD")
    assert 2 == found.value("upscale_queue_wait_seconds_count")
    assert 1 == found.value("upscale_job_duration_seconds_count", outcome="succeeded")
    assert found.value("upscale_job_duration_seconds_count", outcome="canceled") is None


def test_job_that_ended_counts_on_after_it_was_removed(served: Served, tmp_path: Path) -> None:
    """A counter never goes down, whatever the janitor does."""
    job = served.client.post("/v1/jobs", json=JOB).json()["id"]
    finish_next(served.service, tmp_path)
    served.client.delete(f"/v1/jobs/{job}")

    found = scraped(served)
    assert (0, 1) == (found.value("upscale_jobs", state="succeeded"), found.total("upscale_jobs_total"))


def test_requests_are_counted_under_their_routes_template(served: Served) -> None:
    """Ids of jobs and unknown paths make no time series of their own; a wrong method is its route's."""
    for path in ("/v1/jobs/one", "/v1/jobs/two", "/no/such/place", "/nor/this?secret=1"):
        assert 404 == served.client.get(path).status_code
    assert 405 == served.client.put("/limits").status_code

    found = scraped(served)
    name = "upscale_http_requests_total"
    assert 2 == found.value(name, route="/v1/jobs/{job_id}", method="GET", code="404")
    assert 2 == found.value(name, route="none", method="GET", code="404")
    assert 1 == found.value(name, route="/limits", method="PUT", code="405")
    assert 2 == found.value("upscale_http_request_duration_seconds_count", route="/v1/jobs/{job_id}", method="GET")
    assert "no/such/place" not in str(found.samples)


def test_a_scrape_counts_itself_the_next_time(served: Served) -> None:
    """What is under way has no status yet."""
    first, second = scraped(served), scraped(served)

    asked = {"route": "/metrics", "method": "GET", "code": "200"}
    before, after = (one.value("upscale_http_requests_total", **asked) for one in (first, second))
    assert (None, 1) == (before, after)


def test_lanes_model_and_disk_are_told(served: Served) -> None:
    """Every state of a lane has its number, the model its own name, and the disk its free space."""
    found = scraped(served)

    assert 1 == found.value("upscale_ready")
    assert 1 == found.value("upscale_lanes", state="ready")
    assert 0 == found.value("upscale_lanes", state="failed")
    assert 1 == found.value("upscale_model_loaded", model="fast")
    assert found.value("upscale_model_load_seconds", model="fast") is None, "the pool of this test measured none"
    for folder in ("state", "temp", "output"):
        free, size = (found.total(f"upscale_disk_{kind}_bytes", folder=folder) for kind in ("free", "size"))
        assert 0 < free <= size


@pytest.mark.slow
def test_a_server_without_lanes_is_not_ready(tmp_path: Path) -> None:
    """What is not there is told as it is."""
    with serving(VideoService(settings_in(tmp_path), IdlePool(BROKEN))) as served:  # type: ignore[arg-type]
        found = scraped(served)

    assert 0 == found.value("upscale_ready")
    assert found.labels("upscale_model_loaded") == []


def test_a_database_that_is_away_leaves_out_jobs_and_nothing_else(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How many jobs there are is not known then: absent, not zero."""

    def away() -> None:
        raise StorageError("the database does not answer")

    monkeypatch.setattr(served.service._store, "counts", away)
    found = scraped(served)

    assert [] == found.labels("upscale_jobs") + found.labels("upscale_queue_depth")
    assert 1 == found.value("upscale_lanes", state="ready")


def test_memory_of_a_gpu_is_told_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """In bytes; what torch holds is absent where torch holds nothing; the driver is asked once for two readings."""
    asked = []

    def facts() -> GpuFacts:
        asked.append(1)
        return GpuFacts("a GPU", total_gb=8.0, free_gb=6.0, reserved_gb=0.0, allocated_gb=0.0)

    monkeypatch.setattr("upscale_server.service.figures.gpu_facts", facts)
    memory = GpuMemory()
    told = {reading.labels[0]: reading.value for reading in memory.readings()}

    assert {"total": 8 * 2**30, "used": 2 * 2**30, "free": 6 * 2**30} == told
    assert 3 == len(list(memory.readings()))
    assert [1] == asked


def test_no_gpu_is_absent_and_not_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    """A zero would look like a full or an idle GPU."""
    monkeypatch.setattr("upscale_server.service.figures.gpu_facts", lambda: None)

    assert [] == list(GpuMemory().readings())


def test_a_job_keeps_the_id_of_the_request_that_made_it(served: Served) -> None:
    """Whichever door it came through, as given or as made up; a repeated request changes nothing."""
    given = {"X-Request-ID": "one-id", "Idempotency-Key": "k"}
    first = served.client.post("/v1/jobs", json=JOB, headers=given)
    again = served.client.post("/v1/jobs", json=JOB, headers=given | {"X-Request-ID": "another"})
    own = served.client.post("/v1/jobs?scale=2", content=b"bytes", headers={"Content-Type": "video/mp4"})

    kept = [served.service._store.get(reply.json()["id"]).request_id for reply in (first, again, own)]
    assert ["one-id", "one-id", own.headers["x-request-id"]] == kept


@pytest.mark.slow
def test_figures_need_a_key_where_keys_are_set(tmp_path: Path) -> None:
    """401 without; refused requests are counted under no route, since none was asked."""
    settings = settings_in(tmp_path, api_keys=SecretStr(KEY))
    with serving(VideoService(settings, IdlePool())) as served:  # type: ignore[arg-type]
        refused = served.client.get("/metrics")
        served.client.headers["X-API-Key"] = KEY
        found = scraped(served)

    assert 401 == refused.status_code
    assert 1 == found.value("upscale_http_requests_total", route="none", method="GET", code="401")


@pytest.mark.slow
def test_figures_are_open_where_the_settings_open_them(tmp_path: Path) -> None:
    """UPSCALE_METRICS_OPEN opens this one path, under any name of this machine, and nothing else."""
    settings = settings_in(tmp_path, api_keys=SecretStr(KEY), metrics_open=True)
    with serving(VideoService(settings, IdlePool())) as served:  # type: ignore[arg-type]
        opened = served.client.get("/metrics", headers={"Host": "video:29115"})
        closed = [served.client.get(path).status_code for path in ("/stats", "/metrics/", "/metricsx")]

    assert 200 == opened.status_code
    assert [401] * 3 == closed


@pytest.mark.slow
def test_pictures_are_counted_by_outcome(tmp_path: Path) -> None:
    """Two that were made, one that is no picture; pixels are those of the answers."""
    with serving_images(image_settings(tmp_path)) as served:
        wait_until(lambda: served.client.get("/readyz").status_code == 200)
        for _ in range(2):
            assert 200 == served.upscale(picture_file(32, 24), upscale=2).status_code
        served.upscale(b"no picture")
        found = read(served.client.get("/metrics").text)

    assert 2 == found.total("upscale_pictures_total", outcome="succeeded")
    assert 1 == found.total("upscale_pictures_total", outcome="failed")
    assert 2 * 64 * 48 == found.total("upscale_output_pixels_total")
    assert 2 == found.total("upscale_picture_duration_seconds_count")
    assert (0, 0) == (found.total("upscale_pictures"), found.total("upscale_room_used"))
    assert found.total("upscale_room") > 0
    assert 1 == found.total("upscale_model_loaded", model="lanczos")
    assert found.total("upscale_model_load_seconds", model="lanczos") > 0
