"""One frame of several videos side by side in a picture: the same part of each, 1:1, with a name above it.

The part is where the first of them has the most detail, because that is where videos differ to the eye.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from upscale_server.errors import SourceCorrupt
from upscale_server.media.colour import to_rgb
from upscale_server.media.decode import decode_segment
from upscale_server.media.probe import probe
from upscale_server.media.types import Plane, Segment, Size, Tally

SIDE = 480
"""Longest side of a part: seven of them still fit on a wide screen."""

_STEP = 16
_BAR, _GAP, _TEXT = 28, 4, 16
_GROUND, _INK = (24, 24, 24), (240, 240, 240)


def write_strip(sides: Sequence[tuple[str, Path]], frame: int, path: Path) -> None:
    """Write frame number `frame`, from 0, of each named video as a PNG; all are of one size.

    Raises:
        SourceCorrupt: a video has fewer frames.
        SourceError and its kinds: one cannot be read.
    """
    pictures = [(name, _frame_of(video, frame)) for name, video in sides]
    top, left, size = _most_detailed(pictures[0][1])
    strip = Image.new("RGB", (len(pictures) * (size.width + _GAP) - _GAP, size.height + _BAR), _GROUND)
    draw, font = ImageDraw.Draw(strip), ImageFont.load_default(_TEXT)
    for place, (name, rgb) in enumerate(pictures):
        x = place * (size.width + _GAP)
        part = Image.fromarray(np.ascontiguousarray(rgb[top : top + size.height, left : left + size.width]))
        draw.text((x + 6, 5), name, _INK, font)
        strip.paste(part, (x, _BAR))
    strip.save(path, "PNG")


def _frame_of(video: Path, number: int) -> NDArray[np.uint8]:
    """Return a frame as `(H, W, 3)`, full range."""
    info = probe(video)
    with closing(decode_segment(info, Segment(0, None, None, None), Tally())) as frames:
        found = next(islice(frames, number, None), None)
        if found is None:
            raise SourceCorrupt(f"{video} has no frame {number}; it has {info.frame_count}")
        return cast("NDArray[np.uint8]", to_rgb(found.planes, found.pixel_format, info.colour, rgb_bits=8))


def _most_detailed(rgb: NDArray[np.uint8]) -> tuple[int, int, Size]:
    """Return top, left and size of the part in which neighbours differ most."""
    height, width = rgb.shape[:2]
    size = Size(min(SIDE, width), min(SIDE, height))
    green = cast("Plane", rgb[..., 1])
    sums = np.zeros((height + 1, width + 1))  # of every rectangle that begins at the top left
    sums[1:, 1:] = np.abs(np.diff(green.astype(np.float64), axis=1, prepend=green[:, :1])).cumsum(0).cumsum(1)
    tops, lefts = (np.arange(0, side - part + 1, _STEP) for side, part in ((height, size.height), (width, size.width)))
    low, right = tops[:, None] + size.height, lefts[None] + size.width
    detail = sums[low, right] - sums[tops[:, None], right] - sums[low, lefts[None]] + sums[tops[:, None], lefts[None]]
    best = np.unravel_index(int(detail.argmax()), detail.shape)
    return int(tops[best[0]]), int(lefts[best[1]]), size
