"""Writes log lines from a thread of its own, so that a slow disk or reader never holds up those who log.

It knows nothing of what is logged. Lines that nobody could write in time are dropped and counted, never waited for.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

MOST_LINES = 10_000
"""Lines that may wait: seconds of a busy server, a few MB."""


class Sink(Protocol):
    """Where lines go; each call of `write` is one whole line."""

    def write(self, text: str, /) -> int:
        """Take a line."""

    def flush(self) -> None:
        """Let go of what is held back."""


class LogQueue:
    """Takes lines at once and writes them to every sink a moment later; neither closed nor full sinks stop it.

    Args:
        sinks: where each line goes.
        tell: told how many lines were dropped, when there is room for a line again.
        most: lines that may wait.
    """

    def __init__(self, sinks: Sequence[Sink], tell: Callable[[int], None], most: int = MOST_LINES) -> None:
        self._sinks = sinks
        self._tell = tell
        self._most = most
        self._lines: deque[str] = deque()
        self._dropped = 0
        self._is_writing = self._is_closed = False
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="log", daemon=True)
        self._thread.start()

    def write(self, text: str) -> int:
        """Take a line, or count it where too many wait."""
        with self._news:
            if len(self._lines) < self._most:
                self._lines.append(text)
                self._news.notify_all()
            else:
                self._dropped += 1
        return len(text)

    def flush(self) -> None:
        """Do nothing: whoever logs does not wait. `drain` does."""

    def drain(self, seconds: float) -> bool:
        """Wait until everything is written, but not longer than this; tell whether it is."""
        with self._news:
            return self._news.wait_for(lambda: not (self._lines or self._is_writing or self._dropped), seconds)

    def close(self, seconds: float) -> None:
        """Drain, then end the thread."""
        self.drain(seconds)
        with self._news:
            self._is_closed = True
            self._news.notify_all()
        self._thread.join(seconds)

    def _work(self) -> None:
        while (line := self._next()) is not None:
            for sink in self._sinks:
                with suppress(OSError, ValueError):  # ValueError: stderr was closed
                    sink.write(line)
                    sink.flush()
            self._told_of_dropped()

    def _next(self) -> str | None:
        with self._news:
            self._is_writing = False
            self._news.notify_all()
            self._news.wait_for(lambda: self._lines or self._is_closed)
            if not self._lines:
                return None
            self._is_writing = True
            return self._lines.popleft()

    def _told_of_dropped(self) -> None:
        with self._news:
            dropped, self._dropped = self._dropped, 0
        if dropped:
            self._tell(dropped)
