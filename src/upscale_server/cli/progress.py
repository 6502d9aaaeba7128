"""Progress for people: a bar where stderr is a terminal, else a plain line every few seconds.

It listens to events and never changes what is done; warnings go through it so that they do not tear the bar.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from upscale_server.cli import talk
from upscale_server.events import Event, FrameRedone, FramesDone, PhaseStarted, SegmentReused, SteppedDown, Warned

LINE_SECONDS = 5.0
"""Between two plain lines: often enough to see life, seldom enough for a log."""


class Meter:
    """Counts the frames of a phase and how fast they come; `clock` gives seconds and can be replaced in tests."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.phase = ""
        self.total = 0
        self.done = 0
        self._reused = 0
        self._started = clock()

    def start(self, phase: str, total: int) -> None:
        """Begin a phase of `total` frames; 0 when it has none."""
        self.phase, self.total, self.done, self._reused = phase, total, 0, 0
        self._started = self._clock()

    def add(self, count: int, *, reused: bool = False) -> None:
        """Count frames; those of an earlier run say nothing about speed."""
        self.done += count
        self._reused += count if reused else 0

    @property
    def frames_per_second(self) -> float:
        """Return the speed of this run, 0 before the first frame."""
        elapsed = self._clock() - self._started
        return (self.done - self._reused) / elapsed if elapsed > 0 else 0.0

    @property
    def text(self) -> str:
        """Return `120/751 frames, 14.2 fps, 0:44 left`."""
        if not self.total and not self.done:
            return ""
        speed = self.frames_per_second
        parts = [f"{self.done}/{self.total} frames" if self.total else f"{self.done} frames"]
        if speed:
            parts.append(f"{speed:.1f} fps")
            if self.total > self.done:
                parts.append(f"{_clock_time((self.total - self.done) / speed)} left")
        return ", ".join(parts)


class Watcher:
    """An observer of one job that shows its progress; a context manager."""

    def __init__(self, title: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.warnings: list[tuple[str, str]] = []
        self._title = title
        self._meter = Meter(clock)
        self._clock = clock
        self._last_line = clock()
        self._bar = _bar() if sys.stderr.isatty() else None
        self._task = TaskID(0)

    def __call__(self, event: Event) -> None:
        """Take note of an event."""
        match event:
            case PhaseStarted(phase, frames_total):
                self._meter.start(phase, frames_total)
                self._show(now=frames_total > 0)
            case FramesDone(count):
                self._meter.add(count)
                self._show(now=False)
            case SegmentReused(_, frame_count):
                self._meter.add(frame_count, reused=True)
                self._show(now=False)
            case FrameRedone(pts, reason):
                self._warn("frame_redone", f"the frame at pts {pts} was computed again in full precision: {reason}")
            case SteppedDown(model, size, point):
                self._warn("out_of_memory", f"{model} at {size} does not fit into memory; going on with {point}")
            case Warned(code, detail):
                self._warn(code, detail)
            case _:
                pass

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._task = self._bar.add_task(self._title, total=None, text="")
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def _show(self, *, now: bool) -> None:
        meter = self._meter
        if self._bar is not None:
            text = f"{meter.phase}: {meter.text}" if meter.text else meter.phase
            self._bar.update(self._task, completed=meter.done, total=meter.total or None, text=text)
            return
        moment = self._clock()
        if now or moment - self._last_line >= LINE_SECONDS:
            self._last_line = moment
            talk.say(f"{self._title}: {meter.phase} {meter.text}")

    def _warn(self, code: str, detail: str) -> None:
        self.warnings.append((code, detail))
        if self._bar is not None:
            self._bar.console.print(f"{talk.PROGRAM}: warning: {code}: {detail}", highlight=False, markup=False)
            return
        talk.warn(code, detail)


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[text]}", markup=False),
        console=Console(file=sys.stderr),
        transient=True,
    )


def _clock_time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
