"""How long each stage of a pipeline was at work; it measures wall time and knows no stage's meaning."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


class Stopwatch:
    """Adds up the time in which each stage was at work, in however many threads, as opposed to waited."""

    def __init__(self) -> None:
        self.seconds = {"decode_seconds": 0.0, "upscale_seconds": 0.0, "encode_seconds": 0.0}
        self._lock = threading.Lock()
        self._at_work: dict[str, int] = dict.fromkeys(self.seconds, 0)
        self._since: dict[str, float] = {}

    def calling(self, stage: str, work: Callable[[Item], Outcome]) -> Callable[[Item], Outcome]:
        """Return `work` with its time added to a stage."""

        def timed(item: Item) -> Outcome:
            with self._working(f"{stage}_seconds"):
                return work(item)

        return timed

    def drawing(self, stage: str, items: Iterator[Item]) -> Iterator[Item]:
        """Yield `items`, adding the time that each took to come to a stage."""
        started = time.perf_counter()
        for item in items:
            self.seconds[f"{stage}_seconds"] += time.perf_counter() - started
            yield item
            started = time.perf_counter()

    @contextmanager
    def _working(self, stage: str) -> Iterator[None]:
        with self._lock:
            if not self._at_work[stage]:
                self._since[stage] = time.perf_counter()
            self._at_work[stage] += 1
        try:
            yield
        finally:
            with self._lock:
                self._at_work[stage] -= 1
                if not self._at_work[stage]:
                    self.seconds[stage] += time.perf_counter() - self._since[stage]
