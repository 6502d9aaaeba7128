"""Tries again while a store is away, because a restart of it must not cost hours of work.

Which faults may pass is for the caller to say; all others come out at once.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")

LONGEST_PAUSE_SECONDS = 10.0
"""One request in ten seconds is no burden for a store that comes back, and a short wait once it has."""
LOOK_SECONDS = 0.25
"""How often a waiting caller is asked whether it still waits: somebody who cancels does not notice it."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to go on trying, and the first pause; pauses double, with a random share taken off."""

    seconds: float
    first_pause_seconds: float = 0.5
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic

    def keep_trying(
        self, step: Callable[[], T], may_pass: Callable[[Exception], bool], look: Callable[[], None] | None = None
    ) -> T:
        """Do a step until it succeeds.

        Args:
            step: what is tried, from its start each time.
            may_pass: whether a fault may be gone at the next try.
            look: called before each try and often while waiting; what it raises ends the waiting.

        Raises:
            Exception: what the step raised last: a fault that does not pass, or any when the time is over.
        """
        ends_at = self.clock() + self.seconds
        pause = self.first_pause_seconds
        while True:
            if look is not None:
                look()
            try:
                return step()
            except Exception as err:
                if not may_pass(err) or self.clock() + pause > ends_at:
                    raise
            # Not all jobs at the same moment; no secret depends on it.
            self._rest(pause * random.uniform(0.5, 1.0), look)  # noqa: S311
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    def _rest(self, seconds: float, look: Callable[[], None] | None) -> None:
        """Wait; one who looks is not kept waiting for longer than to the next look."""
        if look is None:
            self.sleep(seconds)
            return
        ends_at = self.clock() + seconds
        while (left := ends_at - self.clock()) > 0:
            self.sleep(min(left, LOOK_SECONDS))
            look()
