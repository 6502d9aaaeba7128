"""A frame in another depth, range or chroma subsampling, each sample rounded once to the nearest value.

Y'CbCr stays Y'CbCr with the same matrix; sizes do not change. The trap: swscale would dither or cut where it reduces
the depth, and takes the range of a frame for granted.
"""

from __future__ import annotations

from functools import lru_cache
from typing import cast

import numpy as np
from numpy.typing import NDArray

from upscale_server.media.fit import resample
from upscale_server.media.formats import bits_of, subsampling_of
from upscale_server.media.types import FULL, Colour, Frame, Plane, Size

_CENTRE_TO_LEFT = -0.5
"""In samples of the finer grid: half the way back from the middle of two columns to the first of them."""


def converted(frame: Frame, pixel_format: str, source: Colour, target: Colour) -> Frame:
    """Return a frame in another planar format and range; the frame itself when nothing differs.

    Args:
        frame: planes in the range of `source`.
        pixel_format: a working format; chroma is sited left, as the encoders' default is.
        source: tags of the frame; an unspecified range is limited.
        target: tags of the result.
    """
    ranges = (source.range == FULL, target.range == FULL)
    if frame.pixel_format == pixel_format and ranges[0] == ranges[1]:
        return frame
    depths = (bits_of(frame.pixel_format), bits_of(pixel_format))
    luma = _levels(depths, ranges, chroma=False)[frame.planes[0]]
    planes: tuple[Plane, ...] = (cast("Plane", luma),)
    across, down = subsampling_of(pixel_format)
    if across:
        size = Size(-(-luma.shape[1] // across), -(-luma.shape[0] // down))
        table = _levels(depths, ranges, chroma=True)
        planes += tuple(cast("Plane", table[plane]) for plane in _chroma(frame, pixel_format, size))
    return Frame(planes, pixel_format, frame.pts, frame.time_base)


def _chroma(frame: Frame, pixel_format: str, size: Size) -> tuple[Plane, ...]:
    """Return the chroma planes on the target's grid, in the depth of the source; gray has neutral ones."""
    bits = bits_of(frame.pixel_format)
    if len(frame.planes) == 1:
        neutral = np.full((size.height, size.width), 1 << (bits - 1), frame.planes[0].dtype)
        return cast("Plane", neutral), cast("Plane", neutral)
    had, wanted = subsampling_of(frame.pixel_format), subsampling_of(pixel_format)
    scale = (had[0] / wanted[0], had[1] / wanted[1])
    # Sample x is taken at (x + 0.5) / scale - 0.5: of two columns the middle, where left siting wants the first.
    offset = {0.5: _CENTRE_TO_LEFT, 1.0: 0.0, 2.0: -_CENTRE_TO_LEFT / 2}[scale[0]]
    return tuple(
        plane if scale == (1.0, 1.0) else resample(plane, size, bits=bits, offset=(offset, 0.0), scale=scale)
        for plane in frame.planes[1:]
    )


@lru_cache(maxsize=16)
def _levels(depths: tuple[int, int], ranges: tuple[bool, bool], *, chroma: bool) -> NDArray[np.uint8 | np.uint16]:
    """Return the table from a sample to its value in the other depth and range (ITU-T H.273, section 8.3)."""
    (gain, zero), (new_gain, new_zero) = (
        _gain_and_zero(bits, full=full, chroma=chroma) for bits, full in zip(depths, ranges, strict=True)
    )
    samples = np.arange(1 << depths[0], dtype=np.float64)
    levels = np.floor((samples - zero) * (new_gain / gain) + new_zero + 0.5)
    dtype = np.uint8 if depths[1] == 8 else np.uint16
    table: NDArray[np.uint8 | np.uint16] = np.clip(levels, 0, (1 << depths[1]) - 1).astype(dtype)
    table.setflags(write=False)
    return table


def _gain_and_zero(bits: int, *, full: bool, chroma: bool) -> tuple[float, float]:
    """Return the codes per unit, and the code of black or of no colour."""
    middle = float(1 << (bits - 1))
    if full:
        return (1 << bits) - 1.0, middle if chroma else 0.0
    step = 1 << (bits - 8)
    return (224.0 * step, middle) if chroma else (219.0 * step, 16.0 * step)
