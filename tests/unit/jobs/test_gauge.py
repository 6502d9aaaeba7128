"""Progress from events: frames, speed over the last seconds, time left, warnings once each."""

from __future__ import annotations

import pytest

from upscale_server.events import FrameRedone, FramesDone, PhaseStarted, SegmentDone, SegmentReused, Warned
from upscale_server.jobs.gauge import WINDOW_SECONDS, Gauge


class Clock:
    """Seconds that pass when a test says so."""

    now = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """Give a clock at zero."""
    return Clock()


@pytest.fixture
def gauge(clock: Clock) -> Gauge:
    """Give a gauge in the middle of its work: 100 frames to upscale."""
    made = Gauge(clock)
    made(PhaseStarted("upscale", 100))
    return made


def test_new_gauge_waits() -> None:
    """Before the first event a job waits and nobody guesses its end."""
    progress = Gauge().progress()

    assert ("waiting", 0, 0, 0.0, None) == (
        progress.phase, progress.frames_done, progress.frames_total, progress.fps, progress.eta_seconds
    )  # fmt: skip


def test_speed_and_time_left_follow_the_frames(gauge: Gauge, clock: Clock) -> None:
    """Ten frames in two seconds are five a second, and ninety more take eighteen."""
    clock.now = 2.0
    gauge(FramesDone(10))

    progress = gauge.progress()

    assert (10, 100, 5.0, 18.0) == (
        progress.frames_done, progress.frames_total, progress.fps, progress.eta_seconds
    )  # fmt: skip


def test_speed_is_that_of_the_last_seconds(gauge: Gauge, clock: Clock) -> None:
    """A fast beginning does not hide that the work slowed down."""
    for second in range(1, 11):
        clock.now = float(second)
        gauge(FramesDone(8))
    for second in range(11, 11 + int(2 * WINDOW_SECONDS)):
        clock.now = float(second)
        gauge(FramesDone(1))

    assert 1.0 == gauge.progress().fps


def test_speed_falls_while_nothing_comes(gauge: Gauge, clock: Clock) -> None:
    """A job that hangs shows it."""
    clock.now = 1.0
    gauge(FramesDone(10))
    clock.now = 100.0

    assert 0.1 == gauge.progress().fps


def test_found_segments_count_as_done_and_not_as_speed(gauge: Gauge, clock: Clock) -> None:
    """What an earlier attempt made is no work of this one."""
    gauge(SegmentReused(0, 50))
    clock.now = 1.0
    gauge(FramesDone(10))
    gauge(SegmentDone(1, 10, 1, {}))

    progress = gauge.progress()

    assert (60, 10.0, 4.0, 2) == (
        progress.frames_done, progress.fps, progress.eta_seconds, progress.segments_done
    )  # fmt: skip


def test_repeated_frames_never_exceed_the_total(gauge: Gauge) -> None:
    """A segment that is done twice after a worker's death does not make more frames than there are."""
    gauge(FramesDone(70))
    gauge(FramesDone(70))

    assert 100 == gauge.progress().frames_done


def test_phase_without_frames_is_complete(gauge: Gauge) -> None:
    """While the result is stored every frame counts as done."""
    gauge.enter("store")

    assert ("store", 100, 100) == (gauge.phase, gauge.progress().frames_done, gauge.progress().frames_total)


def test_a_sample_that_is_measured_is_not_the_videos_length(gauge: Gauge) -> None:
    """Measuring has its own frames to count, and behind it the video has all of its own again."""
    gauge(PhaseStarted("quality", 24))
    gauge(FramesDone(6))
    during = gauge.progress()
    gauge.enter("store")
    after = gauge.progress()

    assert [(6, 24), (100, 100)] == [(one.frames_done, one.frames_total) for one in (during, after)]


def test_warnings_are_kept_once_each(gauge: Gauge) -> None:
    """A second round over the same file does not repeat what was said."""
    for _ in range(2):
        gauge(Warned("times_repaired", "3 frames"))
    gauge(FrameRedone(7, "black"))

    assert ["times_repaired", "frame_redone"] == [one["code"] for one in gauge.warnings]
    assert "pts 7" in gauge.warnings[1]["detail"]
