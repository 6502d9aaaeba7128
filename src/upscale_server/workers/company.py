"""Who works on the pool at the same time: what a job took alone says something, what it took in company does not.

It keeps nobody out.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Guest:
    """Somebody who works on the pool now and then; `alone` until another was ever at work at the same time."""

    def __init__(self) -> None:
        self.alone = True


class Company:
    """Those at work now."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._at_work: list[Guest] = []

    @contextmanager
    def joined(self, one: Guest) -> Iterator[None]:
        """Be at work for the length of the block: who else is then is not alone, and neither is this one."""
        with self._lock:
            self._at_work.append(one)
            if len(self._at_work) > 1:
                for met in self._at_work:
                    met.alone = False
        try:
            yield
        finally:
            with self._lock:
                self._at_work.remove(one)
