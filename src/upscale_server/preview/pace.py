"""How fast a model really was in a run, without the time that loading it took.

It only looks at the events that go by.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from upscale_server.events import Event, FramesDone, PhaseStarted, SegmentDone


class Pace:
    """An observer of one run; the first frames that come out start the clock, because loading ends with them.

    So do those of each further segment, before which the run may have waited for its lane.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._upscaling = False
        self._begun = clock()
        self._first: tuple[float, int] | None = None
        self._last = self._begun
        self._frames = 0
        self._in_segment = False
        self._timed_frames = 0
        self._timed_seconds = 0.0

    def __call__(self, event: Event) -> None:
        """Take note of an event."""
        match event:
            case PhaseStarted(phase, _):
                self._upscaling = phase == "upscale"
                if self._upscaling:  # begun again in less precision: what was made and loaded before does not count
                    self._first, self._frames, self._in_segment = None, 0, False
                    self._timed_frames, self._timed_seconds = 0, 0.0
            case FramesDone(count) if self._upscaling:
                self._count(count)
            case SegmentDone():
                self._in_segment = False
            case _:
                pass

    def _count(self, count: int) -> None:
        now = self._clock()
        if self._in_segment:
            self._timed_frames += count
            self._timed_seconds += now - self._last
        self._frames += count
        self._last, self._in_segment = now, True
        self._first = self._first or (now, count)

    @property
    def seconds(self) -> float:
        """Return the seconds from the beginning to the last frame, loading included."""
        return self._last - self._begun

    @property
    def frames_per_second(self) -> float | None:
        """Return the speed behind the first frames; None where they were the last ones, too.

        Where a segment is one batch there is nothing behind its first frames, and waiting counts.
        """
        if self._timed_seconds > 0:
            return self._timed_frames / self._timed_seconds
        if self._first is None or self._last <= self._first[0] or self._frames <= self._first[1]:
            return None
        return (self._frames - self._first[1]) / (self._last - self._first[0])
