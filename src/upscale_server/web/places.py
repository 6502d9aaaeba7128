"""Bounds how many requests may do the same long thing at once, so that the short ones always get through.

It belongs to the event loop: nothing but a count is asked from another thread.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from upscale_server.errors import RateLimited


class Places:
    """A number of places; whoever finds none is told to come back.

    Args:
        most: how many there are.
        what: what those do who have one, for the message.
        hint: what to do without one.
    """

    def __init__(self, most: int, what: str, hint: str) -> None:
        self._most = most
        self._what = what
        self._hint = hint
        self._taken = 0

    @property
    def taken(self) -> int:
        """Return how many places are taken."""
        return self._taken

    @contextmanager
    def one(self) -> Iterator[None]:
        """Hold a place until the block ends.

        Raises:
            RateLimited: all are taken.
        """
        if self._taken >= self._most:
            raise RateLimited(f"{self._taken} {self._what}; that is the most", hint=self._hint)
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1
