"""Whether other programs took the processor while something was timed: its time then says nothing about the next one.

It looks at the processor alone: a graphics card or a disk that others use is not seen. Where the system does not tell
(there is no /proc), nobody is taken to have been there.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

_HARMLESS = 0.15
"""Part of the cores that others may take: what they cost is within the error that an estimate promises."""
_ROOM = 0.25
"""Part of the cores that must have had nothing to do for others, who took more than that, to have been in nobody's way:
a large machine works for several."""


@dataclass(frozen=True, slots=True)
class Spent:
    """Processor seconds since the machine began: of this process with its children, of everybody, on so many cores."""

    ours: float
    everybodys: float
    cores: int


class Bystanders:
    """Watches from its making on; `look` and `clock` can be replaced in tests."""

    def __init__(
        self, look: Callable[[], Spent | None] | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._look = look or spent_now
        self._clock = clock
        self._begun, self._at = self._look(), clock()

    @property
    def disturbed(self) -> bool:
        """Tell whether others have taken so much of the cores, since this was made, that ours went slower."""
        now, seconds = self._look(), self._clock() - self._at
        if self._begun is None or now is None or seconds <= 0:
            return False
        there = now.cores * seconds
        everybodys = now.everybodys - self._begun.everybodys
        others = everybodys - (now.ours - self._begun.ours)
        return others > _HARMLESS * there and there - everybodys < _ROOM * there


def spent_now() -> Spent | None:
    """Return what was spent until now on the cores that this process may use; None where the system does not tell."""
    cores = os.sched_getaffinity(0)
    try:
        lines = [line.split() for line in Path("/proc/stat").read_text(encoding="ascii").splitlines()]
        mine = {f"cpu{core}" for core in cores}
        ticks = sum(_busy(line[1:]) for line in lines if line[0] in mine)
        ours = _ours(os.getpid(), dict(_processes()))
    except (OSError, ValueError, IndexError):
        return None
    a_second = os.sysconf("SC_CLK_TCK")
    return Spent(ours / a_second, ticks / a_second, len(cores))


def _busy(fields: list[str]) -> int:
    user, nice, system, _idle, _waiting, interrupts, soft, stolen = (int(value) for value in fields[:8])
    return user + nice + system + interrupts + soft + stolen


@dataclass(frozen=True, slots=True)
class _Process:
    parent: int
    ticks: int


def _processes() -> Iterator[tuple[int, _Process]]:
    """Yield each process by its number, with its own ticks and those of its children that have ended."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:  # it has ended meanwhile
            continue
        yield int(path.parent.name), _Process(int(fields[1]), sum(int(value) for value in fields[11:15]))


def _ours(top: int, processes: dict[int, _Process]) -> int:
    """Return the ticks of a process and of all below it."""
    children: dict[int, list[int]] = {}
    for number, one in processes.items():
        children.setdefault(one.parent, []).append(number)
    ticks, left = 0, [top]
    while left:
        number = left.pop()
        ticks += processes[number].ticks if number in processes else 0
        left += children.get(number, [])
    return ticks
