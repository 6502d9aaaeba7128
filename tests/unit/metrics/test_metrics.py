"""The figures: what each event counts, what is asked at each reading, and that no caller's word becomes a label."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.scrape import Scrape, read
from upscale_server.events import (
    FrameRedone,
    FramesDone,
    JobBegun,
    JobEnded,
    PhaseStarted,
    SegmentDone,
    SegmentReused,
    SteppedDown,
    Warned,
)
from upscale_server.metrics import FIGURES, Metrics, Reading, Work
from upscale_server.service.labels import model_label

WORK = Work("fast", "cpu", pixels=1920 * 1080, batch=4)


@pytest.fixture
def metrics() -> Metrics:
    """Give the video server's figures with nothing to ask."""
    return Metrics("video")


def scraped(metrics: Metrics) -> Scrape:
    """Return what is read."""
    return read(metrics.text().decode())


def test_frames_of_the_upscale_count_and_those_of_the_audit_do_not(metrics: Metrics) -> None:
    """The audit looks at every frame once more and makes none."""
    observer = metrics.working(WORK)
    for event in (PhaseStarted("upscale", 5), FramesDone(3), FramesDone(2), PhaseStarted("audit", 5), FramesDone(5)):
        observer(event)

    found = scraped(metrics)
    assert 5 == found.value("upscale_frames_total", model="fast", device="cpu")
    assert 5 * 1920 * 1080 == found.value("upscale_output_pixels_total")


def test_what_happens_to_work_is_counted(metrics: Metrics) -> None:
    """Stages, segments of an earlier attempt, frames redone, and steps down; a warning is no figure."""
    observer = metrics.working(WORK)
    for event in (
        SegmentReused(0, 24), SegmentDone(1, 24, 999, {"decode_seconds": 1.0, "upscale_seconds": 2.5}),
        SegmentDone(2, 24, 999, {"decode_seconds": 0.5, "upscale_seconds": 0.5}), FrameRedone(7, "not finite"),
        SteppedDown("fast", "854x480", "one frame"), Warned("a", "b"),
    ):  # fmt: skip
        observer(event)

    found = scraped(metrics)
    assert 1.5 == found.value("upscale_stage_seconds_total", stage="decode")
    assert 3.0 == found.value("upscale_stage_seconds_total", stage="upscale")
    assert (1, 1, 1) == (
        found.value("upscale_segments_resumed_total"), found.value("upscale_frame_guard_retries_total"),
        found.value("upscale_oom_retries_total"),
    )  # fmt: skip
    assert (1, 4) == (found.value("upscale_batch_size_count"), found.value("upscale_batch_size_sum"))


def test_jobs_are_counted_by_outcome_and_task(metrics: Metrics) -> None:
    """One that asks for no task is custom; one that never began has no duration."""
    for event in (
        JobBegun(2.0), JobEnded("succeeded", "SD2HD", 30.0), JobEnded("failed", None, 3.0),
        JobEnded("canceled", None, None), FramesDone(1),
    ):  # fmt: skip
        metrics.observe(event)

    found = scraped(metrics)
    assert 1 == found.value("upscale_jobs_total", outcome="succeeded", preset="SD2HD")
    assert 1 == found.value("upscale_jobs_total", outcome="failed", preset="custom")
    assert 30 == found.value("upscale_job_duration_seconds_sum", outcome="succeeded")
    assert found.value("upscale_job_duration_seconds_sum", outcome="canceled") is None
    assert (1, 2) == (found.value("upscale_queue_wait_seconds_count"), found.value("upscale_queue_wait_seconds_sum"))


def test_pictures_are_counted_with_their_stages() -> None:
    """Pixels of the answer, seconds of each stage and of all together."""
    metrics = Metrics("image")
    metrics.picture(64 * 48, {"read": 0.25, "upscale": 1.0, "write": 0.5})

    found = scraped(metrics)
    assert 64 * 48 == found.value("upscale_output_pixels_total")
    assert 1.75 == found.value("upscale_picture_duration_seconds_sum")
    assert 0.5 == found.value("upscale_stage_seconds_total", stage="write")
    assert not {"upscale_frames_total", "upscale_jobs_total"} & found.names


def test_method_that_is_nobodys_is_one_label(metrics: Metrics) -> None:
    """A method is its sender's word: any would be a new time series."""
    for method in ("GET", "GET", "BREW", "BOIL"):
        metrics.request("/livez", method, 200, 0.001)

    found = scraped(metrics)
    assert 2 == found.value("upscale_http_requests_total", route="/livez", method="GET", code="200")
    assert 2 == found.value("upscale_http_requests_total", route="/livez", method="other", code="200")
    assert 2 == found.value("upscale_http_request_duration_seconds_count", route="/livez", method="GET")


def test_what_is_asked_is_asked_anew_at_each_reading() -> None:
    """A gauge is never remembered: what is not told this time is absent and not the last value, nor zero."""
    told = iter([[Reading("upscale_queue_depth", 3)], []])

    def ask() -> Iterator[Reading]:
        yield from next(told)

    metrics = Metrics("video", ask)

    assert 3 == scraped(metrics).value("upscale_queue_depth")
    assert scraped(metrics).value("upscale_queue_depth") is None


def test_others_may_be_asked_too(metrics: Metrics) -> None:
    """The figures of the web face come beside the service's."""
    metrics.also_ask(lambda: [Reading("upscale_queue_room", 100)])

    assert 100 == scraped(metrics).value("upscale_queue_room")


def test_two_servers_in_one_process_count_apart(metrics: Metrics) -> None:
    """Nothing is kept outside of a value."""
    metrics.add("upscale_oom_retries_total")

    assert 0 == scraped(Metrics("video")).value("upscale_oom_retries_total")
    assert 1 == scraped(metrics).value("upscale_oom_retries_total")


def test_build_is_told_and_births_of_series_are_not(metrics: Metrics) -> None:
    """One line says what runs; `_created` would double the answer."""
    found = scraped(metrics)

    assert ["video"] == [one["server"] for one in found.labels("upscale_build_info")]
    assert [] == [name for name in found.names if name.endswith("_created")]


def test_figures_keep_the_rules_for_names() -> None:
    """Our prefix, base units, `_total` for counters alone, a sentence for each, and none is there twice."""
    names = [one.name for one in FIGURES]

    assert len(names) == len(set(names))
    for one in FIGURES:
        assert one.name.startswith("upscale_")
        assert one.name.endswith("_total") == (one.kind == "counter"), one.name
        assert bool(one.buckets) == (one.kind == "histogram"), one.name
        assert sorted(one.buckets) == list(one.buckets)
        assert one.about.endswith("."), one.name


def test_who_cannot_tell_costs_its_own_figures() -> None:
    """One ask that raises leaves the others' readings and every counter where they are."""

    def broken() -> Iterator[Reading]:
        yield Reading("upscale_queue_depth", 3)
        raise RuntimeError("CUDA error")

    found = scraped(Metrics("video", broken, lambda: [Reading("upscale_queue_room", 7)]))

    assert (None, 7) == (found.value("upscale_queue_depth"), found.value("upscale_queue_room"))


def test_a_model_of_somebody_elses_is_told_under_one_word() -> None:
    """A file's name never becomes a time series of its own."""
    assert ["fast", "lanczos", "added", "added"] == [
        model_label(name) for name in ("fast", "lanczos", "my-own-model", "fast.onnx")
    ]
