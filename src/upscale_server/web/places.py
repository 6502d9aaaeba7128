"""Bounds how many requests may do the same long thing at once, so that the short ones always get through.

It belongs to the event loop: nothing but a count is asked from another thread.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from upscale_server.errors import RateLimited


class Places:
    """A number of places; whoever finds none is told to come back.

    Args:
        most: how many there are.
        what: what those do who have one, for the message.
        hint: what to do without one.
        each: how many one key may have; all of them where nothing is said. Callers without a key are nobody in
            particular, and have all.
    """

    def __init__(self, most: int, what: str, hint: str, each: int | None = None) -> None:
        self._most = most
        self._each = most if each is None else each
        self._what = what
        self._hint = hint
        self._taken = 0
        self._by_owner: Counter[str] = Counter()

    @property
    def taken(self) -> int:
        """Return how many places are taken."""
        return self._taken

    @contextmanager
    def one(self, owner: str = "") -> Iterator[None]:
        """Hold a place until the block ends; `owner` is the id of the caller's key, empty without one.

        Raises:
            RateLimited: all are taken, or all that one key may have.
        """
        if owner and self._by_owner[owner] >= self._each < self._most:
            raise RateLimited(
                f"{self._by_owner[owner]} {self._what} for you; that is the most for one key", hint=self._hint
            )
        if self._taken >= self._most:
            raise RateLimited(f"{self._taken} {self._what}; that is the most", hint=self._hint)
        self._taken += 1
        self._by_owner[owner] += 1
        try:
            yield
        finally:
            self._taken -= 1
            self._by_owner[owner] -= 1
            if not self._by_owner[owner]:
                del self._by_owner[owner]
