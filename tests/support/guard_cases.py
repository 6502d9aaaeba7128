"""What a guard is in the list of those that are taken out: its name, how it goes, and what then gets through.

The guards stand in `tests/hostile`; this knows none of them.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support import inmates, intruders
from upscale_server.cage import Bounds, Cage, door_keeper

Remove = Callable[[pytest.MonkeyPatch], None]
Attack = Callable[[Path], bool]

_START = "import sys; {removal}; from upscale_server.cage.door import main; main(sys.argv[1:])"


@dataclass(frozen=True, slots=True)
class Guard:
    """One guard.

    `attack` is given an empty folder and tells whether it got through; it must not where the guard stands, and must
    where `remove` was called.
    """

    name: str
    remove: Remove
    attack: Attack


def without(owner: object, name: str, instead: object) -> Remove:
    """Return what puts something else in a guard's place."""
    return lambda patch: patch.setattr(owner, name, instead)


def all_of(*removals: Remove) -> Remove:
    """Return what takes out guards that stand one behind the other."""

    def remove(patch: pytest.MonkeyPatch) -> None:
        for one in removals:
            one(patch)

    return remove


def in_the_door(removal: str) -> Remove:
    """Return what takes out a guard of the processes behind a door: Python that these run before they are locked."""
    return lambda patch: patch.setattr(door_keeper, "_START", _START.format(removal=removal))


def caged(function: Callable[..., Any], *arguments: object, **more: Any) -> Any:  # noqa: ANN401 - the function's own
    """Return what a function returned in a cage of its own; its bounds as further arguments."""
    with closing(Cage((inmates.__name__, intruders.__name__), silent_seconds=30.0)) as cage:
        return cage.call(function, *arguments, kind=str, bounds=Bounds(**more))


def attempted(what: str, *more: str, **bounds: Any) -> bool:  # noqa: ANN401 - of bounds
    """Tell whether something forbidden went through in a cage."""
    return bool("" == caged(intruders.attempt, what, *more, **bounds))


def refused(attempt: Callable[[], object], *errors: type[Exception]) -> bool:
    """Tell whether an attempt ends with one of these errors."""
    try:
        attempt()
    except errors:
        return True
    return False
