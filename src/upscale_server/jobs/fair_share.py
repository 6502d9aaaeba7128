"""What goes where there is room for no more: of the key that holds most, the oldest.

Nobody's things are pushed out by a key that holds more. It removes nothing; what is held, and where, is its callers'.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar


class Held(Protocol):
    """Something that a key holds: its name, the id of the key, and when it came."""

    @property
    def id(self) -> str:
        """Return the name."""

    @property
    def owner(self) -> str:
        """Return the id of the key."""

    @property
    def created_at(self) -> float:
        """Return seconds since the epoch."""


One = TypeVar("One", bound=Held)


def beyond(found: Iterable[One], most: int, size: Callable[[One], int], newest: One | None = None) -> list[One]:
    """Return what must go for the rest to be within a bound: of who holds most, the oldest, and the newest last.

    Args:
        found: all that is held.
        most: the bound, in what `size` counts.
        size: of one.
        newest: what came just now; of two keys that hold the same, its own gives way.
    """
    left = sorted(found, key=lambda one: (newest is not None and one.id == newest.id, one.created_at))
    sizes = {one.id: size(one) for one in left}
    held = Counter[str]()
    for one in left:
        held[one.owner] += sizes[one.id]
    gone: list[One] = []
    while held.total() > most:
        owner = max(held, key=lambda owner: (held[owner], newest is not None and owner == newest.owner))
        goes = next(one for one in left if one.owner == owner)
        left.remove(goes)
        held[owner] -= sizes[goes.id]
        gone.append(goes)
    return gone
