"""Frames in, larger frames out: the luma plane through the network, chroma by Lanczos with its siting kept.

RGB models get RGB made with the stream's own matrix and range, and their result goes back the same way. Nothing here
knows where frames come from or go to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from upscale_server.errors import UpscaleError
from upscale_server.media.colour import from_rgb, to_rgb
from upscale_server.media.fit import Kernel, chroma_offset, resample, resample_bicubic
from upscale_server.media.formats import bits_of, subsampling_of
from upscale_server.media.types import Colour, Frame, Plane, Size
from upscale_server.models.base import Pixels, Upscaler
from upscale_server.models.catalogue import BICUBIC
from upscale_server.models.guard import upscale_guarded

_FULL_RANGE = 2


@dataclass(frozen=True, slots=True)
class Redone:
    """A frame that the guard had computed again, and why."""

    pts: int
    reason: str


@dataclass(frozen=True, slots=True)
class FrameUpscaler:
    """Upscale batches of frames through one or more passes to an exact size; safe to call from several threads.

    `picture` is the size the source is scaled to, `canvas` the size with bars around it.
    """

    passes: tuple[Upscaler, ...]
    picture: Size
    canvas: Size
    colour: Colour

    def __call__(self, frames: Sequence[Frame]) -> tuple[list[Frame], list[Redone]]:
        """Upscale a batch of frames of one size and pixel format; times are untouched."""
        try:
            pictures, redone = self._made_larger(frames)
        except UpscaleError as err:
            where = f"frames with pts {frames[0].pts} to {frames[-1].pts}"
            raise type(err)(f"{err.detail} ({where})", hint=err.hint) from err
        larger = [
            Frame(self._with_bars(planes, frame.pixel_format), frame.pixel_format, frame.pts, frame.time_base)
            for planes, frame in zip(pictures, frames, strict=True)
        ]
        return larger, redone

    def _made_larger(self, frames: Sequence[Frame]) -> tuple[list[tuple[Plane, ...]], list[Redone]]:
        card = self.passes[0].card
        if card.name == BICUBIC and not card.path:
            return [self._by_bicubic(frame) for frame in frames], []
        return self._through_rgb(frames) if card.domain == "rgb" else self._through_luma(frames)

    def _through_luma(self, frames: Sequence[Frame]) -> tuple[list[tuple[Plane, ...]], list[Redone]]:
        bits = bits_of(frames[0].pixel_format)
        luma, redone = self._run(cast("Pixels", np.stack([frame.planes[0] for frame in frames])), frames, bits)
        pictures = [
            (resample(cast("Plane", y), self.picture, bits=bits), *self._chroma(frame, bits))
            for y, frame in zip(luma, frames, strict=True)
        ]
        return pictures, redone

    def _by_bicubic(self, frame: Frame) -> tuple[Plane, ...]:
        """Resample every plane straight to the picture's size: the yardstick is bicubic and nothing else."""
        bits = bits_of(frame.pixel_format)
        luma = resample_bicubic(frame.planes[0], self.picture, bits=bits)
        return luma, *self._chroma(frame, bits, resample_bicubic)

    def _chroma(self, frame: Frame, bits: int, kernel: Kernel = resample) -> tuple[Plane, ...]:
        """Resample the chroma planes from the source to the final picture in one step."""
        if len(frame.planes) == 1:
            return ()
        height, width = frame.planes[0].shape
        scale = (self.picture.width / width, self.picture.height / height)
        subsampling = subsampling_of(frame.pixel_format)
        offset = chroma_offset(self.colour.chroma_location, subsampling, *scale)
        size = _chroma_size(self.picture, subsampling)
        return tuple(kernel(plane, size, bits=bits, offset=offset, scale=scale) for plane in frame.planes[1:])

    def _through_rgb(self, frames: Sequence[Frame]) -> tuple[list[tuple[Plane, ...]], list[Redone]]:
        rgb = np.stack([to_rgb(frame.planes, frame.pixel_format, self.colour, rgb_bits=16) for frame in frames])
        pixels, redone = self._run(cast("Pixels", rgb), frames, 16)
        pixel_format = frames[0].pixel_format
        return [
            self._resized(from_rgb(cast("Plane", one), pixel_format, self.colour, rgb_bits=16), pixel_format)
            for one in pixels
        ], redone

    def _resized(self, planes: tuple[Plane, ...], pixel_format: str) -> tuple[Plane, ...]:
        height, width = planes[0].shape
        if (width, height) == (self.picture.width, self.picture.height):
            return planes
        bits, scale = bits_of(pixel_format), (self.picture.width / width, self.picture.height / height)
        if len(planes) == 1:
            return (resample(planes[0], self.picture, bits=bits),)
        subsampling = subsampling_of(pixel_format)
        offset = chroma_offset(self.colour.chroma_location, subsampling, *scale)
        size = _chroma_size(self.picture, subsampling)
        return (
            resample(planes[0], self.picture, bits=bits),
            *(resample(plane, size, bits=bits, offset=offset, scale=scale) for plane in planes[1:]),
        )

    def _run(self, pixels: Pixels, frames: Sequence[Frame], bits: int) -> tuple[Pixels, list[Redone]]:
        redone: list[Redone] = []
        for upscaler in self.passes:
            pixels, again = upscale_guarded(upscaler, pixels, bits=bits)
            redone += [Redone(frames[place].pts, reason) for place, reason in again]
        return pixels, redone

    def _with_bars(self, planes: tuple[Plane, ...], pixel_format: str) -> tuple[Plane, ...]:
        if self.picture == self.canvas:
            return planes
        bits = bits_of(pixel_format)
        black = 0 if self.colour.range == _FULL_RANGE else 16 << (bits - 8)
        across, down = subsampling_of(pixel_format)
        left = (self.canvas.width - self.picture.width) // 2 // 2 * 2
        top = (self.canvas.height - self.picture.height) // 2 // 2 * 2
        barred = [_padded(planes[0], self.canvas, (left, top), black)]
        for plane in planes[1:]:
            size = _chroma_size(self.canvas, (across, down))
            barred.append(_padded(plane, size, (left // across, top // down), 128 << (bits - 8)))
        return tuple(barred)


def _chroma_size(size: Size, subsampling: tuple[int, int]) -> Size:
    across, down = subsampling
    return Size(-(-size.width // across), -(-size.height // down))


def _padded(plane: Plane, size: Size, place: tuple[int, int], value: int) -> Plane:
    padded = np.full((size.height, size.width), value, plane.dtype)
    left, top = place
    padded[top : top + plane.shape[0], left : left + plane.shape[1]] = plane
    return cast("Plane", padded)
