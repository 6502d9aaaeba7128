"""Signs of life of this process's reading: each packet and each decoded frame is one.

Who watches from outside can tell a long file from a decoder that goes round in circles. It reads nothing itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

One = TypeVar("One")

_beats = 0


def beat() -> None:
    """Say that something went forward."""
    global _beats  # noqa: PLW0603 - it is one number of the whole process, and only ever grows
    _beats += 1


def beats() -> int:
    """Return how often something went forward since the process began."""
    return _beats


def beating(things: Iterator[One]) -> Iterator[One]:
    """Yield packets or frames, each a sign of life."""
    for one in things:
        beat()
        yield one
