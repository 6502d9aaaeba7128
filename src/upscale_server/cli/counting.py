"""Shows how far a batch of pictures is: a bar where stderr is a terminal, else a plain line every few seconds.

It counts what it is told; which pictures there are is the batch's business.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from upscale_server.cli import talk
from upscale_server.cli.progress import LINE_SECONDS

DONE, SKIPPED, FAILED = "upscaled", "skipped", "failed"


class Count:
    """Counts the pictures of a batch; a context manager.

    Args:
        total: how many there are.
        clock: gives seconds and can be replaced in tests.
    """

    def __init__(self, total: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.counts: Counter[str] = Counter()
        self._total = total
        self._clock = clock
        self._began = self._last_line = clock()
        self._bar = _bar() if sys.stderr.isatty() else None

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.add_task("pictures", total=self._total, text="")
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def add(self, how: str) -> None:
        """Count one more picture that is upscaled, skipped or failed."""
        self.counts[how] += 1
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=self.counts.total(), text=self.text)
            return
        moment = self._clock()
        if moment - self._last_line >= LINE_SECONDS:
            self._last_line = moment
            talk.say(f"{self.counts.total()} of {self._total} pictures: {self.text}")

    @property
    def text(self) -> str:
        """Return `12 upscaled, 3 skipped, 1 failed, 0.82 per second`."""
        parts = [f"{self.counts[how]} {how}" for how in (DONE, SKIPPED, FAILED) if self.counts[how]]
        seconds = self._clock() - self._began
        if self.counts[DONE] and seconds > 0:
            parts.append(f"{self.counts[DONE] / seconds:.2f} per second")
        return ", ".join(parts)


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}", markup=False),
        console=Console(file=sys.stderr),
        redirect_stdout=sys.stdout.isatty(),  # in a pipe stdout is data, which rich would write into the bar on stderr
        transient=True,
    )
