"""Plan how a picture is cut for a network, so that seams cannot be seen and one compiled shape serves all tiles.

Pure arithmetic on sizes: it touches no pixels and no engine (`engines/tiled.py` carries a plan out).

Every window of a plan has the same size and lies inside the (padded) picture: a window at the picture's border sees
the zero padding that the whole picture would see, and one inside has at least `overlap` real samples around what it
is kept for. So a tiled picture equals an untiled one wherever `overlap` reaches the receptive field.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

_MOST_CUTS = 64


@dataclass(frozen=True, slots=True)
class TileNeeds:
    """What a model asks of its input.

    Args:
        overlap: samples around a tile that can influence it: at least the receptive field.
        max_pixels: most pixels of a window (memory, cache); exceeded only where the overlap leaves no choice.
        size_multiple: both sides of a window, and its origin, are multiples of this.
        fixed_size: (height, width) of a model with a fixed shape.
    """

    overlap: int
    max_pixels: int
    size_multiple: int = 1
    fixed_size: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Tile:
    """A window of the padded picture and the rectangle of the picture that is kept from it; all in LR pixels."""

    window_top: int
    window_left: int
    top: int
    left: int
    height: int
    width: int


@dataclass(frozen=True, slots=True)
class TilePlan:
    """Tiles that cover a picture exactly once.

    `padded` and `window` are (height, width); the picture lies at the top left of the padded one, whose border is
    replicated.
    """

    padded: tuple[int, int]
    window: tuple[int, int]
    tiles: tuple[Tile, ...]


@dataclass(frozen=True, slots=True)
class _Cut:
    """One axis: the padded length, the window's length and for each window its origin and what is kept."""

    padded: int
    window: int
    spans: tuple[tuple[int, int, int], ...]


def plan_tiles(height: int, width: int, needs: TileNeeds) -> TilePlan:
    """Cut a picture into the windows that cost the fewest computed pixels within the limit."""
    rows, columns = _best_cuts(height, width, needs)
    tiles = tuple(
        Tile(row, column, top, left, bottom - top, right - left)
        for (row, top, bottom), (column, left, right) in itertools.product(rows.spans, columns.spans)
    )
    return TilePlan((rows.padded, columns.padded), (rows.window, columns.window), tiles)


def _best_cuts(height: int, width: int, needs: TileNeeds) -> tuple[_Cut, _Cut]:
    """Choose the cuts of both axes."""
    if needs.fixed_size is not None:
        return (
            _cut(height, needs.fixed_size[0], needs.overlap, 1),
            _cut(width, needs.fixed_size[1], needs.overlap, 1),
        )
    choices = itertools.product(_even_cuts(height, needs), _even_cuts(width, needs))
    return min(choices, key=lambda cuts: _cost(cuts[0], cuts[1], needs.max_pixels))


def _cost(rows: _Cut, columns: _Cut, max_pixels: int) -> tuple[int, int, int]:
    """Order choices: within the limit first, then least computed, then fewest windows."""
    window = rows.window * columns.window
    count = len(rows.spans) * len(columns.spans)
    return max(0, window - max_pixels), count * window, count


def _even_cuts(length: int, needs: TileNeeds) -> list[_Cut]:
    """Return the cuts of an axis into 1, 2, 3 … windows, as long as more windows are smaller ones."""
    multiple = needs.size_multiple
    cuts: list[_Cut] = []
    for count in range(1, _MOST_CUTS + 1):
        window = _round_up(math.ceil((length + 2 * needs.overlap * (count - 1)) / count), multiple)
        if cuts and (window >= cuts[-1].window or window < 2 * _round_up(needs.overlap, multiple) + multiple):
            break
        cuts.append(_cut(length, window, needs.overlap, multiple))
    return cuts


def _cut(length: int, window: int, overlap: int, multiple: int) -> _Cut:
    """Lay windows of one length along an axis; the last is moved back to end with the padded picture."""
    padded = max(_round_up(length, multiple), window)
    if padded == window:
        return _Cut(padded, window, ((0, 0, length),))
    # A fixed model may be too small for its own overlap; half of it must stay useful, or no tile would be kept.
    overlap = min(overlap, (window - 1) // 4)
    step = max(multiple, (window - 2 * overlap) // multiple * multiple)
    last = padded - window
    origins = [*range(0, last, step), last]
    ends = [origin + window - overlap for origin in origins[:-1]] + [length]
    starts = [0, *ends[:-1]]
    spans = tuple(
        (origin, start, min(end, length))
        for origin, start, end in zip(origins, starts, ends, strict=True)
        if start < min(end, length)
    )
    return _Cut(padded, window, spans)


def _round_up(value: int, multiple: int) -> int:
    return math.ceil(value / multiple) * multiple
