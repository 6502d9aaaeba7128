"""One picture of a request from the bytes of its file to the bytes of the answer: read, enlarge, write.

It knows no HTTP and starts no thread; whether there is room for it was decided before.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from typing import cast

import numpy as np

from upscale_server.errors import OutOfMemory, TooManyPixels
from upscale_server.events import Event
from upscale_server.geometry import Fitted
from upscale_server.media.colour import RGB
from upscale_server.media.image import check_size
from upscale_server.media.image_write import check_writable, encode, encode_png_fast, fitted
from upscale_server.media.picture import Picture, to_byte
from upscale_server.media.types import Plane, Size
from upscale_server.pipeline_image import upscale_image
from upscale_server.service.memory_check import check_memory
from upscale_server.service.picture_facts import Ask
from upscale_server.service.picture_models import PictureModels
from upscale_server.settings import Limits

FORMATS = {"png": (".png", "image/png"), "webp": (".webp", "image/webp"), "jpeg": (".jpg", "image/jpeg")}
"""What an answer can be: suffix and media type by the name that a request gives."""

STAGES = ("read", "upscale", "write")
"""What `Made.seconds` are of."""

Read = Callable[[Callable[[Size], None]], Picture]
"""Returns a picture after a check has accepted the size that its header names."""

_CUDA = "CUDA out of memory"


@dataclass(frozen=True, slots=True)
class Wish:
    """What a request asks for: the enlargement, the format of the answer by its name, and its bits a channel."""

    ask: Ask
    format: str = "png"
    bits: int = 8

    @property
    def suffix(self) -> str:
        """Return the suffix of the answer's file name."""
        return FORMATS[self.format][0]

    @property
    def media_type(self) -> str:
        """Return the media type of the answer."""
        return FORMATS[self.format][1]


@dataclass(frozen=True, slots=True)
class Made:
    """An answer: the bytes of a file, what it shows, and how long each step took; warnings are codes and texts."""

    content: bytes
    size: Size
    model: str
    warnings: tuple[tuple[str, str], ...]
    seconds: tuple[float, float, float]


def make(read: Read, name: str, wish: Wish, models: PictureModels, limits: Limits) -> Made:
    """Enlarge a picture.

    Args:
        read: returns the picture, or refuses it by its size.
        name: what it is called in messages.
        wish: what is asked for.
        models: what enlarges.
        limits: what is refused on the file's header.

    Raises:
        NotMedia, UnsupportedFormat, SourceTruncated, SourceCorrupt: it is no picture that can be read.
        TooManyPixels: it, or what it would become, is larger than the limits.
        BadRequest: the model has no use for something that was asked.
        OutOfMemory: the device or the machine has not enough.
    """
    began = time.monotonic()
    try:
        picture = read(partial(check_wish, name=name, wish=wish, limits=limits))
        deep = picture.bits == 16 or wish.bits == 16 or picture.alpha is not None
        check_memory(picture.size.times(wish.ask.factor), deep=deep)
        was_read = time.monotonic()
        larger = _larger(_widened(picture) if wish.bits == 16 else picture, wish, models)
        done = time.monotonic()
        kept = fitted(larger if wish.bits == 16 else _narrowed(larger), wish.suffix)
        body = encode_png_fast(kept) if wish.format == "png" else encode(kept, wish.suffix)
    except MemoryError as err:
        raise OutOfMemory("the machine has not enough free memory for this picture") from err
    except OutOfMemory as err:
        if models.facts.device == "cuda" and not err.detail.startswith(_CUDA):
            raise OutOfMemory(f"{_CUDA}: {err.detail}", hint=err.hint) from err
        raise
    seconds = (was_read - began, done - was_read, time.monotonic() - done)
    return Made(body, kept.size, models.facts.name, kept.warnings, seconds)


def check_wish(size: Size, name: str, wish: Wish, limits: Limits) -> None:
    """Refuse on the header what is too large, or would become too large for the answer."""
    check_size(size, name=name, max_pixels=limits.max_image_pixels, max_side=limits.max_source_side)
    larger = size.times(wish.ask.factor)
    if max(larger.width, larger.height) > limits.max_output_side:
        raise TooManyPixels(
            f"source {name} is {size} and would become {larger}; the longest side allowed is "
            f"{limits.max_output_side}, see UPSCALE_LIMITS__MAX_OUTPUT_SIDE"
        )
    check_writable(wish.suffix, larger)


def _larger(picture: Picture, wish: Wish, models: PictureModels) -> Picture:
    steps: list[Event] = []
    size = picture.size.times(wish.ask.factor)
    passes = models.at(wish.ask, picture.size, steps.append)
    larger = upscale_image(picture, passes, Fitted(size, size, Fraction(wish.ask.factor)))
    for step in steps:
        larger = larger.warn("out_of_memory", f"less was asked of the device: {getattr(step, 'point', step)}")
    return larger


def _widened(picture: Picture) -> Picture:
    """Return the picture at 16 bits, so that what the network computes is not rounded to 8."""
    if picture.bits == 16:
        return picture
    alpha = None if picture.alpha is None else cast("Plane", picture.alpha.astype(np.uint16) * np.uint16(257))
    pixels = cast("RGB", picture.pixels.astype(np.uint16) * np.uint16(257))
    return replace(picture, pixels=pixels, alpha=alpha, bits=16)


def _narrowed(picture: Picture) -> Picture:
    """Return the picture at 8 bits, as the contract says; that 16 were there is a warning."""
    if picture.bits == 8:
        return picture
    alpha = None if picture.alpha is None else to_byte(picture.alpha)
    narrow = replace(picture, pixels=to_byte(picture.pixels), alpha=alpha, bits=8)
    return narrow.warn("bits_reduced", "the source has 16 bits a channel; ask for bits=16 to keep them")
