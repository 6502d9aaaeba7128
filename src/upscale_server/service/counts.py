"""How many jobs there are, as the server tells it.

Values only.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Counts:
    """Jobs now: running, waiting and paused, and how many may wait."""

    active: int
    queued: int
    paused: int
    room: int

    @property
    def left(self) -> int:
        """Return how many more may wait."""
        return max(0, self.room - self.queued - self.paused)
