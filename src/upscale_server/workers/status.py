"""What the pool tells about itself: facts for `/health` and `/stats`, never hopes.

Values only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

LaneState = Literal["starting", "ready", "busy", "failed", "stopped"]


@dataclass(frozen=True, slots=True)
class LaneStatus:
    """One lane; what its networks run on, and how long they took to load, is empty until they are loaded."""

    index: int
    pid: int | None
    state: LaneState
    engine: str = ""
    device: str = ""
    precision: str = ""
    model: str = ""
    load_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class PoolStatus:
    """Whether jobs can be done, why not, and every lane.

    `ready`: every lane has loaded its networks and none has failed since; one that died and is on its way back does
    not make a pool unready, one that cannot come back does.
    """

    ready: bool
    fault: str | None
    lanes: tuple[LaneStatus, ...]
