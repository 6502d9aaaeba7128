"""Reading strangers' pictures in cages, as many at once as pictures are worked on.

What a picture may be is checked inside by the same function as anywhere else; nothing is enlarged there.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

from upscale_server.cage import Bounds, Cage, InmateDied
from upscale_server.cage.arrays import Array
from upscale_server.errors import SourceCorrupt
from upscale_server.logs import get_logger
from upscale_server.media.image import load_bytes
from upscale_server.media.picture import Attachments, Picture
from upscale_server.media.types import Size

LONGEST_SECONDS = 30.0
"""For one picture: a progressive JPEG of 50 MP takes one; one of thousands of scans would take for ever."""

_MODULES = ("upscale_server.service.picture_cages",)
_FREE_BYTES = 2 << 30
_BYTES_OF_A_PIXEL = 40
"""While it is decoded: four channels of 16 bits, as they are found, upright, and with colours apart from alpha."""
_CHANNELS_BYTES = 8


@dataclass(frozen=True, slots=True)
class _Around:
    """A picture without its pixels."""

    bits: int
    format: str
    attachments: Attachments
    warnings: tuple[tuple[str, str], ...]


class PictureCages:
    """A small set of cages.

    Args:
        count: pictures that may be read at once.
        most_pixels: the largest picture that is read; memory follows from it.
    """

    def __init__(self, count: int, most_pixels: int) -> None:
        bounds = Bounds(_FREE_BYTES + _BYTES_OF_A_PIXEL * most_pixels)
        self._most_bytes = _CHANNELS_BYTES * most_pixels
        self._cages = [Cage(_MODULES, silent_seconds=LONGEST_SECONDS, bounds=bounds) for _ in range(count)]
        self._free: queue.SimpleQueue[Cage] = queue.SimpleQueue()
        for cage in self._cages:
            self._free.put(cage)

    def open(self) -> None:
        """Begin to start what reads, so that the first picture does not wait for it."""
        for cage in self._cages:
            cage.open()

    def read(self, content: bytes, name: str, check: Callable[[Size], None]) -> Picture:
        """Return a picture as `media.image.load_bytes` does; `check` must be importable by its name.

        Raises:
            SourceCorrupt: two processes that opened it died, or took too long.
            NotMedia, UnsupportedFormat, TooManyPixels, SourceTruncated, SourceCorrupt: as `load_bytes`.
        """
        with self._one() as cage:
            try:
                return self._read(cage, content, name, check)
            except InmateDied as err:
                get_logger().warning("picture_process_died", cause=str(err))
            try:
                return self._read(cage, content, name, check)
            except InmateDied as err:
                raise SourceCorrupt(
                    f"source {name} cannot be read: {err.detail}",
                    hint="the file is damaged, or made to keep a decoder busy; save it again with another program",
                ) from err

    def close(self) -> None:
        """End all processes. Safe to call twice."""
        for cage in self._cages:
            cage.close()

    def _read(self, cage: Cage, content: bytes, name: str, check: Callable[[Size], None]) -> Picture:
        around, arrays = cage.fill(_parts_of, content, name, check, kind=_Around, most_bytes=self._most_bytes)
        return _picture_of(around, arrays, check)

    @contextmanager
    def _one(self) -> Iterator[Cage]:
        cage = self._free.get()
        try:
            yield cage
        finally:
            self._free.put(cage)


def _picture_of(around: _Around, arrays: tuple[Array, ...], check: Callable[[Size], None]) -> Picture:
    """Return a picture of what came out, where that is one: who opened a picture may say anything of it."""
    pixels, alpha = arrays[0] if arrays else None, arrays[1] if len(arrays) == 2 else None
    is_gray = pixels is not None and pixels.ndim == 2
    is_rgb = pixels is not None and pixels.ndim == 3 and pixels.shape[2] == 3
    same_bits = all(one.dtype.itemsize * 8 == around.bits for one in arrays)
    fits = pixels is None or alpha is None or alpha.shape == pixels.shape[:2]
    if pixels is None or len(arrays) > 2 or not (is_gray or is_rgb) or not same_bits or not fits:
        said = [f"{one.dtype} {one.shape}" for one in arrays]
        raise InmateDied(f"the process that opened the source gave {said} for a picture of {around.bits} bits")
    picture = Picture(pixels, around.bits, alpha, around.format, around.attachments, around.warnings)
    check(picture.size)
    return picture


def _parts_of(content: bytes, name: str, check: Callable[[Size], None]) -> tuple[_Around, list[Array]]:
    picture = load_bytes(content, name, check)
    arrays = [cast("Array", one) for one in (picture.pixels, picture.alpha) if one is not None]
    return _Around(picture.bits, picture.format, picture.attachments, picture.warnings), arrays
