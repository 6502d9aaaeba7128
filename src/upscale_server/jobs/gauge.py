"""How far a job is, from the events of its work: an observer that can be asked at any moment.

It counts and warns nobody; storing what it says is the holder's business.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from upscale_server.events import (
    Event,
    FrameRedone,
    FramesDone,
    PhaseStarted,
    SegmentDone,
    SegmentReused,
    SteppedDown,
    Warned,
)
from upscale_server.jobs.job import Progress

WINDOW_SECONDS = 10.0
"""Over which the speed is measured: long enough for a batch of 4K frames, short enough to follow a busy machine."""


class Gauge:
    """The progress of one job; events may come from several threads. `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._phase, self._done, self._total, self._segments = "waiting", 0, 0, 0
        self._frames = 0  # of the video, which `quality` looks at some of
        self._counted: deque[tuple[float, int]] = deque()
        self._warnings: dict[tuple[str, str], None] = {}  # a second attempt at the same file warns again

    def __call__(self, event: Event) -> None:
        """Take note of an event."""
        with self._lock:
            match event:
                case PhaseStarted(phase, frames_total):
                    self._begin(phase, frames_total)
                case FramesDone(count):
                    self._done += count
                    self._counted.append((self._clock(), count))
                case SegmentReused(_, frame_count):
                    self._done += frame_count
                    self._segments += 1
                case SegmentDone():
                    self._segments += 1
                case FrameRedone(pts, reason):
                    text = f"the frame at pts {pts} was computed again in full precision: {reason}"
                    self._warnings["frame_redone", text] = None
                case SteppedDown(model, size, point):
                    text = f"{model} at {size} does not fit into memory; going on with {point}"
                    self._warnings["out_of_memory", text] = None
                case Warned(code, detail):
                    self._warnings[code, detail] = None

    def enter(self, phase: str) -> None:
        """Begin a phase that has no frames of its own."""
        with self._lock:
            self._begin(phase, self._frames)
            self._done = self._total

    @property
    def phase(self) -> str:
        """Return the phase the job is in."""
        return self._phase

    @property
    def warnings(self) -> list[dict[str, str]]:
        """Return what the user should know, each once, in order."""
        with self._lock:
            return [{"code": code, "detail": detail} for code, detail in self._warnings]

    def progress(self) -> Progress:
        """Return how far the job is now."""
        with self._lock:
            done = min(self._done, self._total) if self._total else self._done  # frames of a retried segment come twice
            speed = self._frames_per_second()
            left = self._total - done
            eta = round(left / speed, 1) if speed and self._total else None
            return Progress(self._phase, done, self._total, round(speed, 2), eta, self._segments)

    def _begin(self, phase: str, total: int) -> None:
        if phase == "upscale":
            self._segments = 0
        self._phase, self._done, self._total = phase, 0, total or self._frames
        if phase != "quality":
            self._frames = self._total
        self._counted.clear()
        self._counted.append((self._clock(), 0))

    def _frames_per_second(self) -> float:
        """Return the speed over the window; the oldest entry is its beginning and counts no frames itself."""
        now = self._clock()
        while len(self._counted) > 2 and self._counted[1][0] <= now - WINDOW_SECONDS:
            self._counted.popleft()
        if len(self._counted) < 2:
            return 0.0
        elapsed = now - self._counted[0][0]
        frames = sum(count for _, count in self._counted) - self._counted[0][1]
        return frames / elapsed if elapsed > 0 else 0.0
