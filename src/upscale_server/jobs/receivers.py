"""Which receivers of messages are free: one that is slow or away holds up its own messages and nobody else's.

It knows hosts and clocks; what is sent is `webhooks`' business, and nothing here is kept over a restart.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from urllib.parse import urlsplit


class Receivers:
    """The hosts that messages go to, one at a time each; `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._choosing = threading.Lock()
        self._lock = threading.Lock()
        self._busy: set[str] = set()
        self._rests: dict[str, float] = {}

    def choosing(self) -> AbstractContextManager[object]:
        """Be the only one who chooses for the length of the block: two would choose the same receiver."""
        return self._choosing

    def is_free(self, url: str) -> bool:
        """Tell whether nothing is on its way to a receiver, and nothing failed to reach it just now."""
        host = _host_of(url)
        with self._lock:
            if host in self._busy:
                return False
            if self._rests.get(host, float("-inf")) > self._clock():
                return False
            self._rests.pop(host, None)
            return True

    def begin(self, url: str) -> None:
        """Note that a message is on its way."""
        with self._lock:
            self._busy.add(_host_of(url))

    def end(self, url: str) -> None:
        """Note that it is not any more."""
        with self._lock:
            self._busy.discard(_host_of(url))

    def rest(self, url: str, seconds: float) -> None:
        """Leave a receiver that could not be reached alone for a while: its other messages would wait as long."""
        with self._lock:
            now = self._clock()
            self._rests = {host: until for host, until in self._rests.items() if until > now}  # or it grows for ever
            self._rests[_host_of(url)] = now + seconds


def _host_of(url: str) -> str:
    return urlsplit(url).netloc.lower()
