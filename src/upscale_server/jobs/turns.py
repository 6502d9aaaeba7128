"""Which of the jobs in hand may keep the lanes busy: so many at once, and whoever was claimed first comes first.

More are in hand than that, so that a bad source is told of while the lanes work on others. It claims nothing; that is
the runner's business.
"""

from __future__ import annotations

import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from upscale_server.settings import Settings

LAST = sys.maxsize
"""The place of what gives way to every job: it begins where a lane is left over, and ends when `is_wanted`."""
SPARE = 2
"""Jobs that have their turn besides those that keep the lanes busy: the desk joins and audits two at once."""
AHEAD = 8
"""Jobs that are fetched and planned while others have their turn; slow sources hold that many hands and no lane."""
AHEAD_OF_OTHERS = 2
"""The same where several servers share the queue and the results: what is fetched here is done here."""
_LOOK_SECONDS = 0.2
"""How often one who waits is asked whether it should stop; a turn that ends is noticed at once."""


class Turns:
    """The turns of one server; `lanes` tells how many lanes there are now, and `spare` may have one besides."""

    def __init__(self, lanes: Callable[[], int], spare: int = SPARE) -> None:
        self._lanes = lanes
        self._spare = spare
        self._changed = threading.Condition()
        self._waiting: list[int] = []
        self._jobs = 0
        self._came = 0
        self._came_before = 0  # what has its turn at the `LAST` place began

    @contextmanager
    def taken(self, place: int, check: Callable[[], None]) -> Iterator[None]:
        """Wait for a turn and have it; `check` may raise to give up waiting, and `place` is lower for who is first."""
        self._wait(place, check)
        try:
            yield
        finally:
            with self._changed:
                self._jobs -= place != LAST
                self._changed.notify_all()

    @property
    def is_free(self) -> bool:
        """Tell whether one that comes now has its turn at once."""
        with self._changed:
            return not self._waiting and self._jobs < self._lanes() + self._spare

    @property
    def has_jobs(self) -> bool:
        """Tell whether a job has its turn or waits for one."""
        with self._changed:
            return self._jobs > 0 or self._is_waited_for()

    @property
    def leaves_a_lane(self) -> bool:
        """Tell whether what comes at the `LAST` place would begin at once."""
        with self._changed:
            return not self._is_waited_for() and self._jobs < self._lanes()

    @property
    def is_wanted(self) -> bool:
        """Tell whoever has its turn at the `LAST` place whether a job came since it began."""
        with self._changed:
            return self._came > self._came_before or self._is_waited_for()

    @property
    def crowd(self) -> float:
        """Return how many jobs share a lane now; what gives way to them is none."""
        return max(1, self._jobs) / max(1, self._lanes())

    def _is_waited_for(self) -> bool:
        return any(place != LAST for place in self._waiting)

    def _wait(self, place: int, check: Callable[[], None]) -> None:
        with self._changed:
            self._waiting.append(place)
        try:
            while True:
                check()
                with self._changed:
                    most = self._lanes() if place == LAST else self._lanes() + self._spare
                    if place == min(self._waiting) and self._jobs < most:
                        self._begin(place)
                        return
                    self._changed.wait(_LOOK_SECONDS)
        finally:
            with self._changed:
                self._waiting.remove(place)
                self._changed.notify_all()

    def _begin(self, place: int) -> None:
        if place == LAST:
            self._came_before = self._came
            return
        self._jobs += 1
        self._came += 1


def hands(settings: Settings, lanes: int, at_work: int, temp_dir: Path) -> int:
    """Return how many jobs may be in hand: fewer are fetched ahead where the disk may not hold their sources.

    Args:
        settings: of the server.
        lanes: that there are now.
        at_work: jobs in hand now.
        temp_dir: where their sources go.
    """
    least = lanes + SPARE
    if at_work >= least and _free_bytes(temp_dir) < (at_work + 1) * settings.fetch.max_bytes:
        return least
    return least + (AHEAD_OF_OTHERS if settings.shares_jobs else AHEAD)


def _free_bytes(folder: Path) -> int:
    while not folder.exists():  # nobody has put anything there yet
        folder = folder.parent
    return shutil.disk_usage(folder).free
