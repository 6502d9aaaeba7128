"""When the network's work has to give way, so that Lanczos can still finish before the deadline.

It tells the moment; giving way is `carry`'s business.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from upscale_server.plan import Plan

SECONDS_PER_MEGAPIXEL = 0.05
"""Lanczos, quick encoding, joining and audit, per million output pixels, as if one core alone were free: 0.050 (HEVC
×2), 0.034 (HEVC ×4) and 0.042 (AV1) core seconds, measured over the bundled clip. Two free cores take half."""
FIXED_SECONDS = 3.0
"""The running tile's end, the second plan, and storing the result."""
MARGIN = 1.5
"""For a machine that is busier than measured."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment in seconds since the epoch, None where there is none; `crowd` is how many jobs share a lane."""

    at: float | None
    plan: Plan
    crowd: float = 1.0
    clock: Callable[[], float] = time.time

    @property
    def reserve_seconds(self) -> float:
        """Return how long the fallback takes at most, from its plan to its stored result."""
        megapixels = self.plan.target.pixels * self.plan.frame_count / 1e6
        return FIXED_SECONDS + MARGIN * max(1.0, self.crowd) * megapixels * SECONDS_PER_MEGAPIXEL

    @property
    def has_come(self) -> bool:
        """Tell whether only the fallback can still be in time."""
        return self.at is not None and self.clock() > self.at - self.reserve_seconds

    def none(self) -> Deadline:
        """Return no deadline: for the fallback, after which there is nothing else to try."""
        return replace(self, at=None)
