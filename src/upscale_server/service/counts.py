"""How many jobs there are, as the server tells it.

Values only.
"""

from __future__ import annotations

from dataclasses import dataclass

from upscale_server.workers.status import PoolStatus


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


def loading(status: PoolStatus) -> str:
    """Return in words how far workers are that are not ready yet."""
    ready = sum(lane.state in ("ready", "busy") for lane in status.lanes)
    return f"{ready} of {len(status.lanes)} lanes are ready" if status.lanes else "the workers are starting"
