"""Events of work that may be begun again, told so that what watches a job counts each frame once.

It knows nothing of who does the work, or why it was begun again.
"""

from __future__ import annotations

from upscale_server.events import Event, FramesDone, Observer


class CountedOnce:
    """An observer for work that may be done twice: frames are counted once."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._told = 0
        self._most = 0

    def begin_again(self) -> None:
        """Take the next events for those of another try."""
        self._most, self._told = max(self._most, self._told), 0

    def __call__(self, event: Event) -> None:
        """Pass on an event, without the frames that an earlier try already told of."""
        if isinstance(event, FramesDone):
            known = min(event.count, max(0, self._most - self._told))
            self._told += event.count
            event = FramesDone(event.count - known)
            if not event.count:
                return
        self._observer(event)
