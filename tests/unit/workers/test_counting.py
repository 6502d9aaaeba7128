"""Frames of a segment that is done twice are counted once, in the order in which they are told."""

from __future__ import annotations

from upscale_server.events import Event, FramesDone, SegmentDone
from upscale_server.workers.counted import CountedOnce


def test_frames_told_before_a_death_are_not_told_again() -> None:
    """Five frames, a death, then all eight: eight are counted, and other events pass."""
    told: list[Event] = []
    counted = CountedOnce(told.append)
    done = SegmentDone(0, 8, 1, {})

    counted(FramesDone(5))
    counted.begin_again()
    for event in (FramesDone(4), FramesDone(4), done):
        counted(event)

    assert [FramesDone(5), FramesDone(3), done] == told
