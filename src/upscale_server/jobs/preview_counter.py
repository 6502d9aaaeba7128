"""Counts the frames of a preview that came off the lanes, so that a bar never says more than there is.

What is done with the count is the caller's business.
"""

from __future__ import annotations

from collections.abc import Callable

from upscale_server.events import Event, FramesDone, PhaseStarted


class FrameCounter:
    """An observer that counts what is upscaled; those of a try that was begun again count once."""

    def __init__(self, count: Callable[[int], None]) -> None:
        self._count = count
        self._upscaling = False
        self._since = 0

    def __call__(self, event: Event) -> None:
        """Take note of an event."""
        match event:
            case PhaseStarted(phase, _):
                if self._upscaling and phase == "upscale":  # begun again before it was joined
                    self._count(-self._since)
                self._upscaling, self._since = phase == "upscale", 0
            case FramesDone(count) if self._upscaling:
                self._since += count
                self._count(count)
            case _:
                pass
