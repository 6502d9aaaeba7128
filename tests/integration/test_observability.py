"""A real server and a real job, seen by an operator: the figures equal the facts, and one id leads through the log."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.support.clip_spec import Clip, Picture
from tests.support.clip_writer import write_clip
from tests.support.scrape import Scrape, read
from tests.support.served import NO_TLS
from tests.support.server import LOOPBACK, Server, running, serving

FRAMES = 12
REQUEST_ID = "the-id-of-one-request"


@dataclass(frozen=True, slots=True)
class Seen:
    """What one job left: itself, its report, the figures afterwards, and the server that did it."""

    job: dict[str, Any]
    report: dict[str, Any]
    scrape: Scrape
    server: Server


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    """Run a server with one lane, hand in one job under an id, and wait for its end."""
    folder = tmp_path_factory.mktemp("source")
    write_clip(Clip(pictures=(Picture(width=96, height=54, frame_count=FRAMES),)), folder / "clip.mp4")
    environment = {**LOOPBACK, "UPSCALE_WORKERS__LANES": "1"}
    state = tmp_path_factory.mktemp("state")
    with serving(folder) as source, running(state, environment=environment) as server:
        with httpx.Client(base_url=server.url, timeout=240, **NO_TLS) as client:
            body = {"payload_url": f"{source}/clip.mp4", "scale": 2}
            job = client.post("/v1/jobs", json=body, headers={"X-Request-ID": REQUEST_ID}).json()
            with client.stream("GET", f"/v1/jobs/{job['id']}/events") as stream:
                last = [line[6:] for line in stream.iter_lines() if line.startswith("data: ")][-1]
            report = client.get(f"/v1/jobs/{job['id']}/audit").json()["report"]
            scrape = read(client.get("/metrics").text)
        yield Seen(json.loads(last), report, scrape, server)


def test_counters_after_a_job_are_its_facts(seen: Seen) -> None:
    """Frames, pixels and stage seconds are those of the job's own report; it took one batch size and one outcome."""
    found, report = seen.scrape, seen.report

    assert "succeeded" == seen.job["state"], seen.job["fault"]
    assert FRAMES == report["frames"]
    assert FRAMES == found.value("upscale_frames_total", model=report["model"], device="cpu")
    assert FRAMES * 192 * 108 == found.value("upscale_output_pixels_total")
    for stage, seconds in report["stage_seconds"].items():
        # The report rounds to milliseconds.
        assert seconds == pytest.approx(found.value("upscale_stage_seconds_total", stage=stage), abs=0.001)
    assert 1 == found.value("upscale_jobs_total", outcome="succeeded", preset="custom")
    assert 1 == found.total("upscale_jobs_total")
    assert 1 == found.value("upscale_jobs", state="succeeded")
    assert (1, 1) == (found.value("upscale_batch_size_count"), found.value("upscale_queue_wait_seconds_count"))
    assert 1 == found.value("upscale_job_duration_seconds_count", outcome="succeeded")
    assert 0 == found.value("upscale_segments_resumed_total") == found.value("upscale_oom_retries_total")
    assert 1 == found.value("upscale_http_requests_total", route="/v1/jobs", method="POST", code="202")


def test_a_loaded_lane_says_how_long_it_took(seen: Seen) -> None:
    """The server's own model is ready in its one lane, and its load was measured."""
    (loaded,) = seen.scrape.labels("upscale_model_loaded")

    assert 1 == seen.scrape.value("upscale_model_loaded", **loaded)
    assert seen.scrape.total("upscale_model_load_seconds", **loaded) > 0
    assert 1 == seen.scrape.total("upscale_lanes")
