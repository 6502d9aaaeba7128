"""The only place where Y'CbCr becomes RGB and back, so that one matrix and one range are used both ways.

It converts samples; it does not resize pictures (`fit` does) and does not convert between primaries or transfers.

The trap: 8-bit RGB has fewer codes per step of Y'CbCr than a round trip needs. Ask for `rgb_bits=16` where the
result goes back to Y'CbCr, and nothing but colours outside the RGB cube changes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from upscale_server.errors import UnsupportedFormat
from upscale_server.media.fit import resample
from upscale_server.media.types import UNSPECIFIED, Colour, Plane, Size

RGB = NDArray[np.uint8] | NDArray[np.uint16]
"""`(H, W, 3)` full range, R G B; uint8 for 8 bits, else uint16 holding 0 to 2**bits - 1."""

IDENTITY = 0
BT601 = 6
LIMITED = 1
FULL = 2

_WIDE_BITS = 16

# Kr and Kb of ITU-T H.273 table 4. Unspecified is BT.601: that is what FFmpeg and the callers' scorers assume.
_KR_KB = {
    1: (0.2126, 0.0722),
    UNSPECIFIED: (0.299, 0.114),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    BT601: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
}

# How far the chroma grid lies from the centre of its luma group, in units of half a chroma step: (across, down).
_SITING = {
    "": (-1, 0),  # H.264 and HEVC define `left` where the stream is silent
    "left": (-1, 0),
    "center": (0, 0),
    "topleft": (-1, -1),
    "top": (0, -1),
    "bottomleft": (-1, 1),
    "bottom": (0, 1),
}

# Rows that are converted at a time: the float work of a 4K row strip stays within the second-level cache.
_STRIP_SAMPLES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Layout:
    """What a planar pixel format says: significant bits, luma samples per chroma sample, and whether chroma exists."""

    bits: int
    across: int = 1
    down: int = 1
    gray: bool = False

    @property
    def subsampled(self) -> bool:
        """Say whether chroma has fewer samples than luma."""
        return (self.across, self.down) != (1, 1)


_SUBSAMPLING = {"444": (1, 1), "440": (1, 2), "422": (2, 1), "420": (2, 2), "411": (4, 1), "410": (4, 4)}


def layout_of(pixel_format: str) -> Layout:
    """Read the layout from FFmpeg's name, for example `yuv420p10le` or `gray`.

    Raises:
        UnsupportedFormat: it is no planar YUV or gray format of 8 to 16 bits.
    """
    match = re.fullmatch(r"(?:yuvj?(\d{3})p|gray)(9|10|12|14|16)?(?:le)?", pixel_format)
    if match is None or (match[1] and match[1] not in _SUBSAMPLING):
        raise UnsupportedFormat(f"pixel format is {pixel_format}; expected planar YUV or gray of 8 to 16 bits")
    bits = int(match[2] or 8)
    if match[1] is None:
        return Layout(bits, gray=True)
    across, down = _SUBSAMPLING[match[1]]
    return Layout(bits, across, down)


def to_rgb(planes: tuple[Plane, ...], pixel_format: str, colour: Colour, *, rgb_bits: int | None = None) -> RGB:
    """Convert planes to RGB with the stream's own matrix and range.

    Args:
        planes: (Y, U, V) in the subsampling of `pixel_format`, or (Y,) for gray.
        pixel_format: FFmpeg's name of the planes' format.
        colour: tags of the stream; an unspecified matrix is BT.601, an unspecified range is limited.
        rgb_bits: significant bits of the result; as the source when None.

    Returns:
        `(H, W, 3)`, uint8 when `rgb_bits` is 8, else uint16.

    Raises:
        UnsupportedFormat: the format is not planar YUV, or the matrix is not linear (constant luminance, ICtCp).
    """
    layout = layout_of(pixel_format)
    bits = rgb_bits or layout.bits
    gain, zero = _ranges(layout, colour, pixel_format)
    gain, white = gain / (2.0**bits - 1), 2.0 ** (_WIDE_BITS - layout.bits)
    if layout.gray:
        gray = _affine((planes[0],), np.array([[1 / gain[0]]]), np.array([-zero[0] / gain[0]]), bits)
        return cast("RGB", np.repeat(gray, 3, axis=2))
    matrix = np.linalg.inv(_encoding(layout, colour)) / gain
    constant = -(matrix @ zero)
    chroma = _chroma_up(planes[1:3], Size(planes[0].shape[1], planes[0].shape[0]), layout, colour)
    return _affine((planes[0], *chroma), matrix / np.array([1, white, white]), constant, bits)


def from_rgb(rgb: RGB, pixel_format: str, colour: Colour, *, rgb_bits: int | None = None) -> tuple[Plane, ...]:
    """Convert RGB to the planes of a stream, with the matrix and range that `to_rgb` uses.

    Args:
        rgb: `(H, W, 3)` full range.
        pixel_format: FFmpeg's name of the planes' format.
        colour: tags of the stream; an unspecified matrix is BT.601, an unspecified range is limited.
        rgb_bits: significant bits of `rgb`; those of `pixel_format` when None.

    Returns:
        (Y, U, V) in the subsampling of `pixel_format`, or (Y,) for gray.

    Raises:
        UnsupportedFormat: as `to_rgb`.
    """
    layout = layout_of(pixel_format)
    gain, zero = _ranges(layout, colour, pixel_format)
    matrix = _encoding(layout, colour) * gain[:, None] / (2.0 ** (rgb_bits or layout.bits) - 1)
    channels = (rgb[..., 0], rgb[..., 1], rgb[..., 2])
    luma = _affine(channels, matrix[:1], zero[:1], layout.bits)[..., 0]
    if layout.gray:
        return (luma,)
    # Chroma that is filtered next is kept at 16 bits until then, so that it is rounded to its depth only once.
    bits = _WIDE_BITS if layout.subsampled else layout.bits
    wide = 2.0 ** (bits - layout.bits)
    chroma = _affine(channels, matrix[1:] * wide, zero[1:] * wide, bits)
    blue, red = (cast("Plane", np.ascontiguousarray(chroma[..., index])) for index in range(2))
    if not layout.subsampled:
        return luma, blue, red
    return luma, _chroma_down(blue, layout, colour), _chroma_down(red, layout, colour)


def _encoding(layout: Layout, colour: Colour) -> NDArray[np.float64]:
    """Return the matrix from R'G'B' in 0..1 to Y' in 0..1 and Cb, Cr in -0.5..0.5."""
    if colour.matrix == IDENTITY and not layout.gray:
        # G, B, R in the places of Y, U, V; H.273 gives the colour planes the range of Y.
        return np.array([[0, 1.0, 0], [0, 0, 1.0], [1.0, 0, 0]])
    try:
        kr, kb = _KR_KB[UNSPECIFIED if layout.gray else colour.matrix]
    except KeyError:
        raise UnsupportedFormat(
            f"matrix code {colour.matrix} has no linear conversion to RGB; expected one of {sorted(_KR_KB)}",
            hint="use a luma model, which needs no conversion",
        ) from None
    luma = np.array([kr, 1 - kr - kb, kb])
    blue, red = np.array([0, 0, 1.0]), np.array([1.0, 0, 0])
    return np.stack([luma, (blue - luma) / (2 * (1 - kb)), (red - luma) / (2 * (1 - kr))])


def _ranges(layout: Layout, colour: Colour, pixel_format: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return codes per unit and the code of zero, for Y, Cb and Cr (ITU-T H.273 section 8.3)."""
    full = colour.range == FULL or (pixel_format.startswith("yuvj") and colour.range != LIMITED)
    step, middle = 2.0 ** (layout.bits - 8), 2.0 ** (layout.bits - 1)
    luma_gain, chroma_gain = (2.0**layout.bits - 1,) * 2 if full else (219 * step, 224 * step)
    black = 0.0 if full else 16 * step
    if colour.matrix == IDENTITY and not layout.gray:
        return np.full(3, luma_gain), np.full(3, black)
    return np.array([luma_gain, chroma_gain, chroma_gain]), np.array([black, middle, middle])


def _affine(channels: tuple[Plane, ...], matrix: NDArray[np.float64], constant: NDArray[np.float64], bits: int) -> RGB:
    """Return `matrix @ channels + constant`, rounded and clipped to `bits`, as `(H, W, rows of the matrix)`."""
    height, width = channels[0].shape
    dtype: type[np.uint8 | np.uint16] = np.uint8 if bits == 8 else np.uint16
    result = cast("RGB", np.empty((height, width, len(matrix)), dtype))
    rows = max(1, _STRIP_SAMPLES // width)
    weights, offsets = matrix.astype(np.float32), constant.astype(np.float32) + np.float32(0.5)
    for top in range(0, height, rows):
        strip = [channel[top : top + rows].astype(np.float32) for channel in channels]
        for index, (row, offset) in enumerate(zip(weights, offsets, strict=True)):
            total = strip[0] * row[0] + offset
            for sample, weight in zip(strip[1:], row[1:], strict=True):
                total += sample * weight
            # Truncation after adding one half rounds, because the clip has made everything positive.
            result[top : top + rows, :, index] = np.clip(total, 0, 2**bits - 1, out=total)
    return result


def _chroma_up(chroma: tuple[Plane, ...], size: Size, layout: Layout, colour: Colour) -> tuple[Plane, ...]:
    """Bring chroma to the luma grid, at 16 bits, so that it is rounded to the result's depth only once."""
    wide = [_widen(plane, layout.bits) for plane in chroma]
    if not layout.subsampled:
        return tuple(wide)
    across, down = _SITING[colour.chroma_location]
    offset = (-across * _shift(layout.across), -down * _shift(layout.down))
    scale = (float(layout.across), float(layout.down))
    return tuple(resample(plane, size, bits=_WIDE_BITS, offset=offset, scale=scale) for plane in wide)


def _chroma_down(plane: Plane, layout: Layout, colour: Colour) -> Plane:
    """Bring 16-bit chroma from the luma grid to the stream's chroma grid and depth."""
    height, width = plane.shape
    size = Size(-(-width // layout.across), -(-height // layout.down))
    across, down = _SITING[colour.chroma_location]
    offset = (across * _shift(layout.across) * layout.across, down * _shift(layout.down) * layout.down)
    scale = (1 / layout.across, 1 / layout.down)
    return _narrow(resample(plane, size, bits=_WIDE_BITS, offset=offset, scale=scale), layout.bits)


def _shift(ratio: int) -> float:
    """Return how far a co-sited chroma sample lies from the centre of its luma group, in chroma steps."""
    return (ratio - 1) / (2 * ratio)


def _widen(plane: Plane, bits: int) -> Plane:
    return plane if bits == _WIDE_BITS else plane.astype(np.uint16) << np.uint16(_WIDE_BITS - bits)


def _narrow(plane: Plane, bits: int) -> Plane:
    """Round 16-bit samples to `bits`."""
    if bits == _WIDE_BITS:
        return plane
    drop = _WIDE_BITS - bits
    rounded = (plane.astype(np.uint32) + (1 << (drop - 1))) >> drop
    narrow = np.minimum(rounded, 2**bits - 1).astype(np.uint8 if bits == 8 else np.uint16)
    return cast("Plane", narrow)
