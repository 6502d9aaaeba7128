"""How fast a model really was in a run, without the time that loading it took.

It only looks at the events that go by.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from upscale_server.events import Event, FramesDone, PhaseStarted


class Pace:
    """An observer of one run; the first frames that come out start the clock, because loading ends with them."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._upscaling = False
        self._begun = clock()
        self._first: tuple[float, int] | None = None
        self._last = self._begun
        self._frames = 0

    def __call__(self, event: Event) -> None:
        """Take note of an event."""
        match event:
            case PhaseStarted(phase, _):
                self._upscaling = phase == "upscale"
                if self._upscaling:  # begun again in less precision: what was made and loaded before does not count
                    self._first, self._frames = None, 0
            case FramesDone(count) if self._upscaling:
                self._frames += count
                self._last = self._clock()
                self._first = self._first or (self._last, count)
            case _:
                pass

    @property
    def seconds(self) -> float:
        """Return the seconds from the beginning to the last frame, loading included."""
        return self._last - self._begun

    @property
    def frames_per_second(self) -> float | None:
        """Return the speed behind the first frames; None where they were the last ones, too."""
        if self._first is None or self._last <= self._first[0] or self._frames <= self._first[1]:
            return None
        return (self._frames - self._first[1]) / (self._last - self._first[0])
