"""A still through the network: luma at 16 bits, chroma and alpha by Lanczos, everything else of the picture kept.

The counterpart of `pipeline` for one picture: no time, no segments. It opens and writes no files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import numpy as np

from upscale_server.geometry import Fitted
from upscale_server.media.colour import RGB
from upscale_server.media.fit import resample
from upscale_server.media.picture import Picture, bleed, from_planes, plane_bits, to_byte, to_planes
from upscale_server.media.types import Plane, Size
from upscale_server.models.base import Pixels, Upscaler
from upscale_server.models.guard import upscale_guarded

_WORD = 16


def upscale_image(picture: Picture, passes: Sequence[Upscaler], fitted: Fitted) -> Picture:
    """Upscale a picture to an exact size.

    Args:
        picture: upright, as `media.image.load` gives it.
        passes: the network's runs in order; all of one domain.
        fitted: size of the picture, and of the canvas with bars around it.

    Returns:
        The picture with the bits, channels and attachments of the source; a warning where the guard had it redone.

    Raises:
        OutOfMemory: the device cannot hold the smallest tile.
    """
    through = _through_rgb if passes[0].card.domain == "rgb" else _through_luma
    larger, redone = through(bleed(picture), passes, fitted.picture)
    if picture.alpha is not None:
        larger = replace(larger, alpha=resample(picture.alpha, fitted.picture, bits=picture.bits))
    for reason in redone:
        larger = larger.warn("picture_redone", f"it was computed again in full precision: {reason}")
    return _with_bars(larger, fitted.canvas)


def _through_luma(picture: Picture, passes: Sequence[Upscaler], size: Size) -> tuple[Picture, list[str]]:
    bits = plane_bits(picture)
    luma, *chroma = to_planes(picture)
    pixels, redone = _run(passes, luma[None], bits)
    planes = [cast("Plane", pixels[0]), *chroma]
    return from_planes(tuple(resample(plane, size, bits=bits) for plane in planes), None, picture), redone


def _through_rgb(picture: Picture, passes: Sequence[Upscaler], size: Size) -> tuple[Picture, list[str]]:
    """Give an RGB model 16 bits, so that several passes and the last resampling round to 8 only once."""
    wide = picture.pixels if picture.bits == _WORD else picture.pixels.astype(np.uint16) * np.uint16(257)
    rgb = np.repeat(wide[..., None], 3, axis=2) if picture.gray else wide
    pixels, redone = _run(passes, cast("Pixels", rgb[None]), _WORD)
    channels = [cast("Plane", np.ascontiguousarray(pixels[0, ..., index])) for index in range(3)]
    result = np.stack([resample(channel, size, bits=_WORD) for channel in channels], axis=2).astype(np.uint16)
    if picture.gray:
        result = np.round(result.mean(axis=2)).astype(np.uint16)
    return replace(picture, pixels=result if picture.bits == _WORD else to_byte(result), alpha=None), redone


def _run(passes: Sequence[Upscaler], pixels: Pixels, bits: int) -> tuple[Pixels, list[str]]:
    redone: list[str] = []
    for upscaler in passes:
        pixels, again = upscale_guarded(upscaler, pixels, bits=bits)
        redone += [reason for _, reason in again]
    return pixels, redone


def _with_bars(picture: Picture, canvas: Size) -> Picture:
    """Centre the picture on a black canvas."""
    if picture.size == canvas:
        return picture
    left, top = (canvas.width - picture.size.width) // 2, (canvas.height - picture.size.height) // 2
    right, bottom = canvas.width - picture.size.width - left, canvas.height - picture.size.height - top
    bars = ((top, bottom), (left, right))
    pixels = cast("RGB", np.pad(picture.pixels, bars if picture.gray else (*bars, (0, 0))))
    if picture.alpha is None:
        return replace(picture, pixels=pixels)
    alpha = np.pad(picture.alpha, bars, constant_values=2**picture.bits - 1)
    return replace(picture, pixels=pixels, alpha=cast("Plane", alpha))
