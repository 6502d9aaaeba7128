"""A real server and a real job, seen by an operator: the figures equal the facts, and one id leads through the log."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.clip_spec import Clip, Picture
from tests.support.clip_writer import write_clip
from tests.support.image_served import picture_file, running_images
from tests.support.killing import wait_until
from tests.support.scrape import Scrape, read
from tests.support.served import NO_TLS
from tests.support.server import LOOPBACK, Server, running, serving
from upscale_server.metrics import FIGURES
from upscale_server.metrics import Server as Kind
from upscale_server.service.gpu_facts import gpu_facts

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


def missing_in(scrape: Scrape, server: Kind) -> set[str]:
    """Return the figures of the table that a server that has worked does not tell; a GPU's only where there is one."""
    wanted = {one.name: "_count" if one.kind == "histogram" else "" for one in FIGURES if server in one.servers}
    if gpu_facts() is None:
        del wanted["upscale_gpu_memory_bytes"]
    return {name for name, suffix in wanted.items() if f"{name}{suffix}" not in scrape.names}


def test_every_figure_of_the_table_is_told_by_a_server_that_has_worked(seen: Seen) -> None:
    """What the dashboard asks for is in the table (`test_monitoring`), and what is in the table is really told."""
    assert set() == missing_in(seen.scrape, "video")


def test_a_loaded_lane_says_how_long_it_took(seen: Seen) -> None:
    """The server's own model is ready in its one lane, and its load was measured."""
    (loaded,) = seen.scrape.labels("upscale_model_loaded")

    assert 1 == seen.scrape.value("upscale_model_loaded", **loaded)
    assert seen.scrape.total("upscale_model_load_seconds", **loaded) > 0
    assert 1 == seen.scrape.total("upscale_lanes")


def test_image_servers_processes_answer_for_each_other(tmp_path: Path) -> None:
    """Whichever process a scrape reaches, the pictures of both are in it; a killed one is missed and begins at 0."""
    with (
        running_images(tmp_path, "--workers", "2", "--model", "lanczos") as server,
        # A connection of its own for each request: who answers is the door's to decide.
        httpx.Client(base_url=server.url, timeout=240, headers={"Connection": "close"}, **NO_TLS) as client,
    ):
        for _ in range(6):
            sent = {"file": ("in.png", picture_file(32, 24))}
            assert 200 == client.post("/upscale", files=sent, headers={"X-Request-ID": REQUEST_ID}).status_code
        scrapes = [read(client.get("/metrics").text) for _ in range(4)]
        os.kill(client.get("/health").json()["process"], signal.SIGKILL)
        server.line("event=process_died")
        # Nothing else tells from outside that it has its figures again.
        wait_until(lambda: read(client.get("/metrics").text).total("upscale_model_loaded") == 2)
        after = read(client.get("/metrics").text)

    for found in scrapes:
        assert 6 == found.total("upscale_pictures_total", outcome="succeeded")
        assert 6 * 64 * 48 == found.total("upscale_output_pixels_total")
        assert 2 == found.total("upscale_worker_up")
        assert {"0", "1"} == {one["worker"] for one in found.labels("process_resident_memory_bytes")}
    before, later = (
        [one.total("upscale_pictures_total", worker=str(index)) for index in (0, 1)] for one in (scrapes[0], after)
    )
    assert set() == missing_in(scrapes[0], "image")
    lines = (tmp_path / "server.log").read_text().splitlines()
    named = [line for line in lines if f"request_id={REQUEST_ID}" in line]
    assert 6 == sum("event=picture_done" in line for line in named) == sum("event=request" in line for line in named)
    assert later in ([0, before[1]], [before[0], 0])
    assert 2 == after.total("upscale_worker_up")


def test_one_id_leads_from_the_request_through_the_workers_to_the_end(seen: Seen) -> None:
    """Of the request, of the job's acceptance and claim, of a worker's order, and of the job's success: in the file."""
    wanted = f"request_id={REQUEST_ID}"
    lines = [line for line in (seen.server.state / "server.log").read_text().splitlines() if wanted in line]
    events = [re.search(r"event=(\w+)", line) for line in lines]
    names = [event[1] for event in events if event]

    told = ["job_accepted", "job_claimed", "order_done", "job_succeeded"]
    assert told == [name for name in dict.fromkeys(names) if name in told]
    assert "request" in names
    by_worker = [line for line in lines if "event=order_done" in line and "role=lane" in line]
    assert by_worker
    assert all(f"job_id={seen.job['id']}" in line for line in by_worker)
    assert [] == [line for line in seen.server.lines if wanted in line and line not in lines], "stderr tells the same"
