"""A stop between two segments, where nothing is lost by it: what a paused job and a stopping server ask for.

It is an executor around another one and runs nothing itself.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence

from upscale_server.checkpoint import Done, WorkDir
from upscale_server.events import Observer
from upscale_server.media.types import Segment
from upscale_server.pipeline import Executor, Finished
from upscale_server.plan import Plan


class Parking:
    """An executor that asks after each segment whether to go on; `check` raises where not."""

    def __init__(self, inner: Executor, check: Callable[[], None]) -> None:
        self._inner = inner
        self._check = check

    def run(self, plan: Plan, segments: Sequence[Segment], work: WorkDir, observer: Observer) -> Iterator[Done]:
        """Yield each segment's record; stop after one where there is a reason to."""
        running = self._inner.run(plan, segments, work, observer)
        try:
            for done in running:
                yield done
                self._check()
        finally:
            if isinstance(running, Generator):
                running.close()  # the lanes are let go now, not when the garbage is collected

    def finish(self, plan: Plan, done: Sequence[Done], work: WorkDir, observer: Observer) -> Finished:
        """Join and audit."""
        return self._inner.finish(plan, done, work, observer)
