"""A still picture as a value: its pixels, its alpha, and everything else that came with it.

It opens and writes no files (`image` does) and knows no model.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from upscale_server.media.colour import BT601, FULL, RGB, from_rgb, to_rgb
from upscale_server.media.types import Colour, Plane, Size

JPEG_COLOUR = Colour(matrix=BT601, range=FULL)
"""How a still's RGB becomes luma and chroma: the matrix and range of JFIF."""

_PLANES = "yuv444p16le"
_BYTE, _WORD = 8, 16


@dataclass(frozen=True, slots=True)
class Attachments:
    """What came with the pixels and goes out with them, as the bytes that were found.

    `exif` is a TIFF block without the orientation tag (the pixels are upright already); `dpi` is (across, down);
    `png_chunks` are the (name, body) pairs of a PNG that say how its samples are meant, and its texts.
    """

    icc: bytes = b""
    exif: bytes = b""
    xmp: bytes = b""
    dpi: tuple[float, float] | None = None
    comment: bytes = b""
    png_chunks: tuple[tuple[bytes, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class Picture:
    """One upright picture.

    `pixels` is `(H, W)` gray or `(H, W, 3)` RGB, full range; `alpha` is `(H, W)` or None, not premultiplied. Both are
    uint8 when `bits` is 8 and uint16 with white at 65535 when `bits` is 16. `format` is that of the source.
    """

    pixels: Plane | RGB
    bits: int = _BYTE
    alpha: Plane | None = None
    format: str = ""
    attachments: Attachments = field(default_factory=Attachments)
    warnings: tuple[tuple[str, str], ...] = ()

    @property
    def size(self) -> Size:
        """Return width and height."""
        return Size(self.pixels.shape[1], self.pixels.shape[0])

    @property
    def gray(self) -> bool:
        """Say whether there is one channel only."""
        return self.pixels.ndim == 2

    def warn(self, code: str, detail: str) -> Picture:
        """Return the picture with one warning more."""
        return replace(self, warnings=(*self.warnings, (code, detail)))


def to_planes(picture: Picture) -> tuple[Plane, ...]:
    """Return (Y,) of a gray picture in its own bits, or (Y, Cb, Cr) at 4:4:4 in 16 bits.

    16 bits, because at 8 the way to Y'CbCr and back would round twice: up to 2 levels of 255.
    """
    if picture.gray:
        return (picture.pixels,)
    return from_rgb(picture.pixels, _PLANES, JPEG_COLOUR, rgb_bits=picture.bits)


def plane_bits(picture: Picture) -> int:
    """Return the significant bits of what `to_planes` gives."""
    return picture.bits if picture.gray else _WORD


def from_planes(planes: tuple[Plane, ...], alpha: Plane | None, source: Picture) -> Picture:
    """Return the picture of these planes with everything else of `source`.

    Args:
        planes: in the form of `to_planes(source)`, of any size.
        alpha: of the planes' size, in the bits of `source`; None for none.
        source: the picture whose bits and attachments the result has.
    """
    pixels = planes[0] if source.gray else to_rgb(planes, _PLANES, JPEG_COLOUR, rgb_bits=source.bits)
    return replace(source, pixels=pixels, alpha=alpha)


def to_byte(samples: RGB | Plane) -> RGB | Plane:
    """Round 16-bit samples to 8 bits; 8-bit ones are returned as they are."""
    if samples.dtype == np.uint8:
        return samples
    return ((samples.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)


def bleed(picture: Picture) -> Picture:
    """Give fully transparent pixels the colour of their nearest visible surroundings.

    What lies under alpha 0 is arbitrary (black, white, an old background); a network or a kernel that looks across
    the edge would draw it into the visible side as a fringe. Visible pixels are not touched.
    """
    if picture.alpha is None or not (picture.alpha == 0).any() or not picture.alpha.any():
        return picture
    channels = picture.pixels[..., None] if picture.gray else picture.pixels
    hidden = picture.alpha == 0
    filled = channels.copy()
    filled[hidden] = np.round(_pulled(channels.astype(np.float32), ~hidden)[hidden])
    return replace(picture, pixels=filled[..., 0] if picture.gray else filled)


def _pulled(colours: NDArray[np.float32], visible: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Fill where not visible from a pyramid of averages over the visible pixels only (push-pull filling)."""
    weight = visible.astype(np.float32)[..., None]
    if visible.all() or max(visible.shape) == 1:
        return colours
    height, width = visible.shape
    pad = ((0, height % 2), (0, width % 2), (0, 0))
    weights = _halved(np.pad(weight, pad))
    sums = _halved(np.pad(colours * weight, pad))
    means = (sums / np.maximum(weights, 1e-6)).astype(np.float32)
    coarse = _pulled(means, weights[..., 0] > 0)
    spread = coarse.repeat(2, axis=0).repeat(2, axis=1)[:height, :width]
    filled: NDArray[np.float32] = np.where(visible[..., None], colours, spread)
    return filled


def _halved(values: NDArray[np.float32]) -> NDArray[np.float32]:
    total: NDArray[np.float32] = values[::2, ::2] + values[1::2, ::2] + values[::2, 1::2] + values[1::2, 1::2]
    return total
