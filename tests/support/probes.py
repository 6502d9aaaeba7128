"""Who watches a server as an orchestrator does: asks its control routes again and again, each time anew.

What it asks for is answered with 200 in time, or it fails; what is in time is generous, because machines are busy.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import httpx

from tests.support.served import NO_TLS

CONTROL = ("/livez", "/health")
PATIENCE_SECONDS = 20.0
"""Longest wait for a control route: the machine may be busy with other tests. Unguarded it would be for ever."""
PAUSE_SECONDS = 0.05
"""Between two looks beside an attack: many within one second of it, and no load of their own."""


@dataclass
class Watch:
    """Asks control routes, each time on a new connection, as a probe does."""

    url: str
    answered: int = 0
    slowest_seconds: float = 0.0

    def look(self) -> None:
        """Ask all once; what is not 200 is a failure."""
        for path in CONTROL:
            began = time.monotonic()
            reply = httpx.get(self.url + path, timeout=PATIENCE_SECONDS, **NO_TLS)
            assert 200 == reply.status_code, reply.text
            self.slowest_seconds = max(self.slowest_seconds, time.monotonic() - began)
            self.answered += 1


@contextmanager
def watching(url: str) -> Iterator[Watch]:
    """Watch in a thread while the block runs; a failure of the watch fails the block's end."""
    watch, over = Watch(url), threading.Event()

    def look_on() -> None:
        watch.look()
        while not over.wait(PAUSE_SECONDS):
            watch.look()

    with ThreadPoolExecutor(1) as thread:
        looking = thread.submit(look_on)
        try:
            yield watch
        finally:
            over.set()
        looking.result()
