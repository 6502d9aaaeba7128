"""Pictures that carry their own frame number, so that an oracle can say which source frame an output frame shows.

It paints and reads numbers; it knows no files. The trap: the number must survive lossy coding, an enlargement,
limited range and a deinterlacer, therefore cells are large and each bit is written twice, once inverted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.uint8] | NDArray[np.uint16]
BIT_COUNT = 8
DARK, BRIGHT = 56, 196
"""Both levels are legal in limited range and far from its ends, so that ringing clips nothing."""


class UnreadableBarcode(AssertionError):
    """The picture holds no number that can be trusted."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How planes are stored: bits a sample, and how far chroma is subsampled (None = no chroma)."""

    bits: int = 8
    chroma_x: int | None = 2
    chroma_y: int | None = 2


LAYOUTS = {
    "yuv420p": Layout(8, 2, 2),
    "yuvj420p": Layout(8, 2, 2),
    "yuv422p": Layout(8, 2, 1),
    "yuv444p": Layout(8, 1, 1),
    "gray": Layout(8, None, None),
    "yuv420p10le": Layout(10, 2, 2),
    "yuv422p10le": Layout(10, 2, 1),
    "yuv444p10le": Layout(10, 1, 1),
    "yuv420p12le": Layout(12, 2, 2),
    "gray10le": Layout(10, None, None),
}


def paint(index: int, width: int, height: int, layout: Layout) -> tuple[Plane, ...]:
    """Return the planes of picture `index`: its number in the upper half, moving waves below, moving colours."""
    planes = [_luma(index, width, height)]
    if layout.chroma_x is not None and layout.chroma_y is not None:
        columns, rows = -(-width // layout.chroma_x), -(-height // layout.chroma_y)
        planes += _chroma(index, columns, rows)
    step = 2 ** (layout.bits - 8)
    return tuple((plane * step).round().astype(np.uint8 if layout.bits == 8 else np.uint16) for plane in planes)


def read(luma: Plane, bits: int) -> int:
    """Return the number painted into a luma plane.

    Raises:
        UnreadableBarcode: a bit and its inverse do not differ clearly.
    """
    height, width = luma.shape
    samples = luma.astype(np.float64) / 2 ** (bits - 8)
    row = height // 4
    number = 0
    for bit in range(BIT_COUNT):
        left, right = bit * width // BIT_COUNT, (bit + 1) * width // BIT_COUNT
        plain, inverse = (_core_mean(samples[top : top + row, left:right]) for top in (0, row))
        if abs(plain - inverse) < (BRIGHT - DARK) / 2:
            raise UnreadableBarcode(
                f"bit {bit} reads {plain:.0f} and {inverse:.0f}; expected about {DARK} and {BRIGHT}"
            )
        number |= int(plain > inverse) << bit
    return number


def _core_mean(cell: NDArray[np.float64]) -> float:
    height, width = cell.shape
    core = cell[height // 4 : max(height - height // 4, 1), width // 4 : max(width - width // 4, 1)]
    return float(core.mean())


def _luma(index: int, width: int, height: int) -> NDArray[np.float64]:
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    plane = 126 + 60 * np.sin(2 * np.pi * (x / 19 + index / 12)) * np.cos(2 * np.pi * (y / 13 - index / 17))
    row = height // 4
    for bit in range(BIT_COUNT):
        left, right = bit * width // BIT_COUNT, (bit + 1) * width // BIT_COUNT
        one = bool(index >> bit & 1)
        plane[:row, left:right] = BRIGHT if one else DARK
        plane[row : 2 * row, left:right] = DARK if one else BRIGHT
    return plane


def _chroma(index: int, columns: int, rows: int) -> list[NDArray[np.float64]]:
    y, x = np.mgrid[0:rows, 0:columns].astype(np.float64)
    blue = 128 + 50 * np.cos(2 * np.pi * (x / columns + index / 23))
    red = 128 + 50 * np.sin(2 * np.pi * (y / rows + index / 29))
    return [blue, red]
