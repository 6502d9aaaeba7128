"""Resample one plane with Lanczos-3, so that chroma and "model, then fit" keep full quality, or bicubic.

It knows planes and phases, not which size a request should end at: that is `plan`.

Two kernels do the work, chosen by measurement (CPU time on one Zen 4 core, 960x540 to 1920x1080, 8 bits):
swscale with accurate rounding takes 2.8 ms and is as near to the exact sum as rounding allows (rms 0.29 levels),
but knows no phase; Pillow in mode F takes any phase, is exact (rms 0.29, never over 0.5 off) and takes 13 ms.
So swscale resamples centre-aligned planes of up to 12 bits and Pillow the rest: beyond, swscale's dropped small
coefficients (0.3 % of white at the border) are many levels. Pillow's modes L and I;16 are no faster than F and worse
(rms 0.40 and 0.46). Both release the GIL, replicate the border and give the same bytes on every run.

The trap: an odd luma width makes the chroma ratio differ from the luma ratio (35 to 70 is 18 to 35), so chroma is
resampled with the *luma* scale given, or it drifts half a sample across the picture.
"""

from __future__ import annotations

import math
from typing import Protocol, cast

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray
from PIL import Image

from upscale_server.media.types import Plane, Size

LOBES = 3
"""Lanczos-3: the kernel reaches three samples to each side (of the coarser grid)."""

Pair = tuple[float, float]
"""A value for each direction, (x, y)."""


class Kernel(Protocol):
    """A way to resample a plane: `resample` or `resample_bicubic`."""

    def __call__(
        self, plane: Plane, size: Size, *, bits: int, offset: Pair = (0.0, 0.0), scale: Pair | None = None
    ) -> Plane:
        """Resample a plane to a size."""


_REACH = {Image.Resampling.LANCZOS: LOBES, Image.Resampling.BICUBIC: 2}

_SWSCALE_FLAGS = Interpolation.LANCZOS | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
# swscale's filters hold at most 256 taps, which a reduction by 40 exceeds; far from that it stays precise.
_SWSCALE_RATIO = 16.0
# Under the kernel's own width swscale shortens its filter; Pillow with a replicated border stays exact.
_SWSCALE_SIDE = 8
_GRAY_FORMATS = {8: "gray", 10: "gray10le", 12: "gray12le"}

_HORIZONTAL = {"left": -1, "topleft": -1, "bottomleft": -1, "center": 0, "top": 0, "bottom": 0}
_VERTICAL = {"top": -1, "topleft": -1, "left": 0, "center": 0, "bottom": 1, "bottomleft": 1}


def chroma_offset(location: str, subsampling: tuple[int, int], scale_x: float, scale_y: float) -> tuple[float, float]:
    """Return the phase, in chroma samples of the source, that keeps chroma where luma says it is.

    Luma sample x of the result lies at `(x + 0.5) / scale - 0.5` of the source. A chroma sample j that is co-sited
    with the first of its `f` luma samples lies at luma `f * j`; both together give `(0.5 - 0.5 / f) * (1 - 1 / scale)`
    beside the centre-aligned position. Centred chroma needs no phase.

    Args:
        location: left, center, topleft, top, bottomleft or bottom; empty means left, as H.264 and HEVC do.
        subsampling: luma samples for each chroma sample, (x, y): (2, 2) is 4:2:0, (2, 1) is 4:2:2, (1, 1) is 4:4:4.
        scale_x: luma width of the result through that of the source.
        scale_y: luma height of the result through that of the source.

    Source: ITU-T H.273, 8.7 (chroma sample location).
    """
    name = location or "left"
    # 4:2:2 has no vertical siting, whatever the tag says: with factor 1 the phase is 0.
    return (
        -_HORIZONTAL[name] * (0.5 - 0.5 / subsampling[0]) * (1.0 - 1.0 / scale_x),
        -_VERTICAL[name] * (0.5 - 0.5 / subsampling[1]) * (1.0 - 1.0 / scale_y),
    )


def resample(
    plane: Plane,
    size: Size,
    *,
    bits: int,
    offset: tuple[float, float] = (0.0, 0.0),
    scale: tuple[float, float] | None = None,
) -> Plane:
    """Resample a plane to a size with Lanczos-3; reductions are antialiased, borders replicated.

    Sample x of the result is taken at `(x + 0.5) / scale - 0.5 + offset` of the source.

    Args:
        plane: `(H, W)`, uint8 when `bits` is 8, else uint16 holding 0 to `2**bits - 1`.
        size: size of the result.
        bits: significant bits of a sample, 8 to 16; the result is clipped to them.
        offset: (x, y) in source samples, see `chroma_offset`.
        scale: (x, y) result through source; the ratio of the sizes unless given (chroma of odd sizes needs it).

    Returns:
        `(size.height, size.width)` of the same dtype.
    """
    height, width = plane.shape
    ratio = (size.width / width, size.height / height)
    scale = scale or ratio
    centred = offset == (0.0, 0.0) and scale == ratio
    if centred and (width, height) == (size.width, size.height):
        return plane
    if centred and bits in _GRAY_FORMATS and _swscale_is_exact(plane, size, ratio):
        return _resample_centred(plane, size, bits)
    return _resample_anywhere(plane, size, bits, Image.Resampling.LANCZOS, (offset, scale))


def resample_bicubic(
    plane: Plane,
    size: Size,
    *,
    bits: int,
    offset: tuple[float, float] = (0.0, 0.0),
    scale: tuple[float, float] | None = None,
) -> Plane:
    """Resample a plane as `resample` does, with the bicubic kernel of a = -0.5.

    It is Pillow's BICUBIC, exact and antialiased where it reduces; OpenCV's INTER_CUBIC is sharper (a = -0.75) and
    swscale's, FFmpeg's default, lies between (a = -0.6).

    Source: R. G. Keys, Cubic convolution interpolation for digital image processing, IEEE TASSP 29(6), 1981: with
    a = -0.5 alone the result agrees with the signal to the third order.
    """
    height, width = plane.shape
    ratio = (size.width / width, size.height / height)
    if (width, height) == (size.width, size.height) and offset == (0.0, 0.0) and scale in (None, ratio):
        return plane
    return _resample_anywhere(plane, size, bits, Image.Resampling.BICUBIC, (offset, scale or ratio))


def _swscale_is_exact(plane: Plane, size: Size, ratio: tuple[float, float]) -> bool:
    """Tell whether a centre-aligned resampling is within what swscale does precisely."""
    sides = (*plane.shape, size.width, size.height)
    near = min(ratio) >= 1 / _SWSCALE_RATIO and max(ratio) <= _SWSCALE_RATIO
    return near and min(sides) >= _SWSCALE_SIDE


def _resample_centred(plane: Plane, size: Size, bits: int) -> Plane:
    """Resample with swscale; one thread, because frames are what runs in parallel."""
    pixel_format = _GRAY_FORMATS[bits]
    frame = av.VideoFrame.from_ndarray(cast("Plane", np.ascontiguousarray(plane)), format=pixel_format)
    # A reformatter is not safe to share between threads; a new one costs 1 ms of filter set-up for a 1080p plane.
    resampled = VideoReformatter().reformat(
        frame, size.width, size.height, pixel_format, interpolation=_SWSCALE_FLAGS, threads=1
    )
    return cast("Plane", resampled.to_ndarray())


def _resample_anywhere(
    plane: Plane, size: Size, bits: int, kernel: Image.Resampling, place: tuple[Pair, Pair]
) -> Plane:
    """Resample with Pillow in float, on a plane whose border is replicated as far as the kernel reaches."""
    height, width = plane.shape
    offset, scale = place
    reach = _REACH[kernel]
    left, right, start_x, stop_x = _window(width, size.width, scale[0], offset[0], reach)
    top, bottom, start_y, stop_y = _window(height, size.height, scale[1], offset[1], reach)
    padded = _replicate_border(plane, (top, bottom, left, right))
    resized = Image.fromarray(padded).resize((size.width, size.height), kernel, box=(start_x, start_y, stop_x, stop_y))
    samples = np.rint(np.asarray(resized))
    np.clip(samples, 0, (1 << bits) - 1, out=samples)
    return cast("Plane", samples.astype(plane.dtype))


def _window(source: int, target: int, scale: float, offset: float, lobes: int) -> tuple[int, int, float, float]:
    """Return padding before and after, and where the window starts and stops in the padded line."""
    reach = lobes * max(1.0, 1.0 / scale) + 1.0
    start, stop = offset, offset + target / scale
    before = max(0, math.ceil(reach - start))
    after = max(0, math.ceil(stop + reach - source))
    return before, after, start + before, stop + before


def _replicate_border(plane: Plane, border: tuple[int, int, int, int]) -> NDArray[np.float32]:
    """Return the plane as float32 with (top, bottom, left, right) more samples, each like its nearest."""
    top, bottom, left, right = border
    height, width = plane.shape
    padded = np.empty((height + top + bottom, width + left + right), np.float32)
    inside = padded[top : top + height]
    inside[:, left : left + width] = plane
    inside[:, :left] = plane[:, :1]
    inside[:, left + width :] = plane[:, -1:]
    padded[:top] = inside[0]
    padded[top + height :] = inside[-1]
    return padded
