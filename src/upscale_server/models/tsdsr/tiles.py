"""Where the tiles of a latent lie and what each of their pixels weighs; pure arithmetic, nothing is cut here.

The weights are the official script's, centre and all: it is t/2 down and (t - 1)/2 across. They fall to 2e-11 of the
peak in a corner, so sums of them belong in float32 or better.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

_VARIANCE = 0.01
"""Of the Gaussian, in tile sides squared."""


@dataclass(frozen=True, slots=True)
class TileGrid:
    """Tiles of `height` x `width` latent pixels, at every pair of `tops` and `lefts`."""

    height: int
    width: int
    tops: tuple[int, ...]
    lefts: tuple[int, ...]

    @property
    def places(self) -> tuple[tuple[int, int], ...]:
        """Return (top, left) of every tile, row by row."""
        return tuple((top, left) for top in self.tops for left in self.lefts)


def plan_tiles(height: int, width: int, tile: int, overlap: int, longest: int) -> TileGrid:
    """Lay tiles over a latent.

    Args:
        height: of the latent.
        width: of the latent.
        tile: side of a tile; a latent of at most its area is one tile.
        overlap: of neighbouring tiles; half a tile where the tile is clamped to it or less.
        longest: side that the transformer's position table holds.
    """
    if height * width <= tile * tile and max(height, width) <= longest:
        return TileGrid(height, width, (0,), (0,))
    side = min(tile, height, width, longest)
    step = side - (overlap if overlap < side else side // 2)
    return TileGrid(side, side, starts(height, side, step), starts(width, side, step))


def starts(length: int, side: int, step: int) -> tuple[int, ...]:
    """Return where tiles begin along an axis; the last is moved inwards, so that it ends with the axis."""
    count = max(0, -(-(length - side) // step)) + 1
    return (*(index * step for index in range(count - 1)), length - side)


def weights(side: int) -> NDArray[np.float64]:
    """Return what the pixels of a square tile weigh, `(side, side)`, rows first."""
    return np.outer(_bell(side, side / 2), _bell(side, (side - 1) / 2))


def _bell(side: int, centre: float) -> NDArray[np.float64]:
    distance = (np.arange(side) - centre) / side
    bell: NDArray[np.float64] = np.exp(-(distance**2) / (2 * _VARIANCE)) / np.sqrt(2 * np.pi * _VARIANCE)
    return bell


def batches(count: int, most: int) -> tuple[range, ...]:
    """Share tiles out to as few calls as `most` allows, of nearly one size; the same count always the same way."""
    calls = -(-count // most)
    edges = [count * index // calls for index in range(calls + 1)]
    return tuple(range(first, last) for first, last in pairwise(edges))
