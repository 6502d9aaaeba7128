"""How much is asked of a device at once, and the one order in which less is asked when its memory does not suffice.

Pure values: who runs into the limit and who remembers the answer is elsewhere (`ladder`, `choices`).

Lanes, batch and tile change no pixels; precision does. So precision is the last step, and the only one that a running
segment cannot take: the job goes on under another plan, and segments of the old one do not count.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

SMALLEST_TILE_PIXELS = 16_384
"""A tile of 128x128: below it the overlap of a usual network is more than the picture."""


@dataclass(frozen=True, slots=True)
class WorkingPoint:
    """What is asked of a device at once.

    `lanes` calls at a time, each of `batch` frames, cut where they have more than `tile_pixels` LR pixels, computed in
    `precision`; `lower` are the precisions that may still be tried, best first.
    """

    lanes: int
    batch: int
    tile_pixels: int
    precision: str
    lower: tuple[str, ...] = ()

    @classmethod
    def of_record(cls, record: dict[str, Any]) -> WorkingPoint | None:  # JSON values of many types
        """Return the point that a record holds, or None where it holds none."""
        try:
            counts = [int(record[name]) for name in ("lanes", "batch", "tile_pixels")]
            point = cls(counts[0], counts[1], counts[2], str(record["precision"]), tuple(map(str, record["lower"])))
        except (KeyError, TypeError, ValueError):
            return None
        return point if min(counts) > 0 else None

    def within(self, other: WorkingPoint) -> WorkingPoint:
        """Return this point with no more asked than the other does, where both compute in the same precision."""
        return replace(
            self,
            lanes=min(self.lanes, other.lanes),
            batch=min(self.batch, other.batch),
            tile_pixels=min(self.tile_pixels, other.tile_pixels),
        )

    def __str__(self) -> str:
        return f"lanes {self.lanes}, batch {self.batch}, tile {self.tile_pixels} pixels, {self.precision}"


def step_down(point: WorkingPoint, *, can_tile: bool) -> WorkingPoint | None:
    """Return the next smaller working point: half the lanes, half the batch, half the tile, a lower precision.

    Args:
        point: what did not fit.
        can_tile: false for a model whose input has a fixed size.

    Returns:
        The next point; None where nothing is left.
    """
    if point.lanes > 1:
        return replace(point, lanes=point.lanes // 2)
    if point.batch > 1:
        return replace(point, batch=point.batch // 2)
    if can_tile and point.tile_pixels // 2 >= SMALLEST_TILE_PIXELS:
        return replace(point, tile_pixels=point.tile_pixels // 2)
    if point.lower:
        return replace(point, precision=point.lower[0], lower=point.lower[1:])
    return None
