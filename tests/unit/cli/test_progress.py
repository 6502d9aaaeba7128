"""Progress: numbers that are right, lines that are few, and nothing on stdout."""

from __future__ import annotations

import pytest

from upscale_server.cli.progress import Meter, Watcher
from upscale_server.events import FrameRedone, FramesDone, PhaseStarted, SegmentReused, Warned


class _Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_meter_tells_count_speed_and_what_is_left() -> None:
    """120 of 720 frames in 10 s are 12 fps and 50 s to go."""
    clock = _Clock()
    meter = Meter(clock)
    meter.start("upscale", 720)

    meter.add(120)
    clock.now += 10

    assert "120/720 frames, 12.0 fps, 0:50 left" == meter.text


def test_reused_frames_count_as_done_but_not_as_speed() -> None:
    """What an earlier run finished moves the bar and leaves the estimate honest."""
    clock = _Clock()
    meter = Meter(clock)
    meter.start("upscale", 1000)

    meter.add(900, reused=True)
    meter.add(50)
    clock.now += 10

    assert 5.0 == meter.frames_per_second
    assert "950/1000 frames, 5.0 fps, 0:10 left" == meter.text


def test_long_estimates_are_in_hours() -> None:
    """3725 s are 1:02:05."""
    clock = _Clock()
    meter = Meter(clock)
    meter.start("upscale", 3726)

    meter.add(1)
    clock.now += 1

    assert meter.text.endswith("1:02:05 left")


def test_plain_lines_come_every_few_seconds_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal: one line when a phase starts, then one per five seconds, none on stdout."""
    clock = _Clock()

    with Watcher("clip.mp4", clock) as watcher:
        watcher(PhaseStarted("upscale", 100))
        for _ in range(100):
            clock.now += 0.125  # exact in binary
            watcher(FramesDone(1))

    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert captured.out == ""
    assert 3 == len(lines)
    assert "clip.mp4: upscale 0/100 frames" == lines[0]
    assert lines[1].startswith("clip.mp4: upscale 40/100 frames, 8.0 fps, 0:08 left")


def test_warnings_are_shown_and_kept(capsys: pytest.CaptureFixture[str]) -> None:
    """A warning is a line with its code, and part of the result later."""
    with Watcher("clip.mp4", _Clock()) as watcher:
        watcher(Warned("stream_left_out", "data stream 3"))
        watcher(FrameRedone(512, "not finite"))
        watcher(SegmentReused(0, 10))

    assert ["stream_left_out", "frame_redone"] == [code for code, _ in watcher.warnings]
    assert "upscale: warning: stream_left_out: data stream 3" in capsys.readouterr().err
