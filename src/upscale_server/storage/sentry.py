"""Ends a download from outside when nothing inside can: a thread of its own looks at the clock and cuts the line.

The watchdog is asked at every wait on a socket. A read that does not come back never asks: OpenSSL stays inside one
read as long as a server sends records that carry nothing (session tickets, key updates), with no slice of time in it.
"""

from __future__ import annotations

import threading
from typing import Self

from upscale_server.storage.watchdog import Watchdog

TICK_SECONDS = 0.5
"""Between two looks; who is late at two of them had time enough to end by himself, and with better words."""


class Sentry:
    """Stands beside one download for the length of a block."""

    def __init__(self, watchdog: Watchdog) -> None:
        self._watchdog = watchdog
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._stand, name="sentry", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _stand(self) -> None:
        was_late = False
        while not self._over.wait(TICK_SECONDS):
            is_late = self._watchdog.is_late
            if is_late and was_late:
                self._watchdog.cut_line()
            was_late = is_late
