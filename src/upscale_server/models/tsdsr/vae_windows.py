"""Where the official script's tiled VAE cuts: cores, input windows with padding, and output windows. Pure arithmetic.

Only the reference mode cuts this way; our own strips have no seams to hide (`vae_strips`).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

ENCODER_PAD = 32
"""Picture pixels around an encoder's tile."""

DECODER_PAD = 11
"""Latent pixels around a decoder's tile."""


@dataclass(frozen=True, slots=True)
class Window:
    """One tile: rows and columns that are read, and rows and columns of the result that it gives."""

    read: tuple[slice, slice]
    give: tuple[slice, slice]


@dataclass(frozen=True, slots=True)
class Cut:
    """How a VAE's half is cut: the tile's side, the padding around it, and the result's size as a fraction."""

    side: int
    pad: int
    grows: int = 1
    shrinks: int = 1

    def placed(self, position: int) -> int:
        """Return where a position of the input lies in the result."""
        return position * self.grows // self.shrinks


def windows(height: int, width: int, cut: Cut) -> tuple[Window, ...]:
    """Return the tiles of a map; empty where it is small enough to go in one piece."""
    if max(height, width) <= 2 * cut.pad + cut.side:
        return ()
    return tuple(
        Window((rows[0], columns[0]), (rows[1], columns[1]))
        for rows, columns in product(_along(height, cut), _along(width, cut))
    )


def tile_side(length: int, cut: Cut) -> int:
    """Return the side that tiles along an axis really get: of equal size, a round number where that fits."""
    count = max(1, -(-(length - 2 * cut.pad) // cut.side))
    raw = -(-(length - 2 * cut.pad) // count)
    rounded = (-(-raw // multiple) * multiple for multiple in (32, 16, 8, 4, 2))
    return next((side for side in rounded if side <= cut.side), raw)


def _along(length: int, cut: Cut) -> tuple[tuple[slice, slice], ...]:
    """Return (read, give) of each tile along an axis."""
    side = tile_side(length, cut)
    count = max(1, -(-(length - 2 * cut.pad) // cut.side))
    found = []
    for index in range(count):
        first, last = cut.pad + index * side, min(cut.pad + (index + 1) * side, length)
        read = slice(max(0, first - cut.pad), min(length, last + cut.pad))
        start = 0 if first <= cut.pad else first
        end = length if last >= length - cut.pad else last
        found.append((read, slice(cut.placed(start), cut.placed(end))))
    return tuple(found)
