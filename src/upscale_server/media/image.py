"""Stills in and out: a file becomes a `Picture`, a picture becomes a file, and what came along goes along.

The size is checked on the header before a pixel is decoded, and formats are opened by name, never by what a plugin
may claim. It scales nothing; what a format cannot hold is named in the picture's warnings.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from upscale_server.errors import (
    NotMedia,
    SourceCorrupt,
    SourceError,
    SourceNotFound,
    SourceTruncated,
    TooManyPixels,
    UnsupportedFormat,
)
from upscale_server.media import image_deep
from upscale_server.media.image_meta import read_attachments, read_orientation
from upscale_server.media.image_modes import to_picture
from upscale_server.media.image_write import encode, fitted
from upscale_server.media.picture import Picture
from upscale_server.media.types import Size

FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "JPEG2000", "PPM", "TGA", "ICO")
"""What is opened. TGA and ICO come last: they have the weakest signatures."""

MAX_PIXELS = 50_000_000
MAX_SIDE = 16_384

# What Pillow's decoders raise on damaged bytes; anything else is a fault of ours and must surface as such.
_DAMAGE = (
    OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, RuntimeError, struct.error, zlib.error,
)  # fmt: skip
_HEAD_BYTES = 8192
_COUNTED_BYTES = 1 << 20

_KNOWN_BUT_CLOSED = {
    b"8BPS": "a Photoshop document", b"%PDF": "a PDF", b"%!PS": "PostScript", b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL ": "JPEG XL", b"<svg": "SVG", b"<?xml": "XML or SVG", b"DDS ": "a DDS texture",
    b"SIMPLE": "FITS", b"v/1\x01": "OpenEXR", b"qoif": "QOI", b"\x1aE\xdf\xa3": "a Matroska video",
}  # fmt: skip
_BRANDS = {b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIF", b"msf1": "HEIF"}


def load(path: Path, *, max_pixels: int = MAX_PIXELS, max_side: int = MAX_SIDE) -> Picture:
    """Read a picture: upright, without palette, RGB or gray, at 8 or 16 bits.

    Args:
        path: a file of one of `FORMATS`; of several frames the first is read.
        max_pixels: most pixels that are decoded, checked on the header.
        max_side: longest side in pixels.

    Raises:
        SourceNotFound: no such file, not a file, or not readable.
        NotMedia: empty, or no picture.
        UnsupportedFormat: a picture of a kind that is not opened.
        TooManyPixels: larger than the limits.
        SourceTruncated: the file ends too early.
        SourceCorrupt: the file does not decode.
    """
    check = partial(check_size, name=str(path), max_pixels=max_pixels, max_side=max_side)
    return load_bytes(_content_of(path), str(path), check)


def load_bytes(content: bytes, name: str, check: Callable[[Size], None]) -> Picture:
    """Read a picture from the bytes of a file; see `load`.

    Args:
        content: the whole file.
        name: what it is called in messages.
        check: is given the size that the header names, before anything is decoded, and refuses by raising.

    Raises:
        NotMedia, UnsupportedFormat, TooManyPixels, SourceTruncated, SourceCorrupt: as `load`.
    """
    if not content:
        raise NotMedia(f"source {name} is empty")
    with warnings.catch_warnings():
        # Pillow warns about sizes and odd headers on stderr; sizes are refused below, the rest is no news.
        warnings.simplefilter("ignore")
        try:
            with _opened(name, content) as image:
                check(Size(*image.size))
                return _read(image, name, content)
        except SourceError:
            raise
        except Image.DecompressionBombError as err:
            raise TooManyPixels(
                f"source {name} holds more pixels than can be opened, see UPSCALE_LIMITS__MAX_IMAGE_PIXELS"
            ) from err
        except _DAMAGE as err:
            raise _damage(name, err) from err


def save(picture: Picture, path: Path, *, quality: int | None = None) -> Picture:
    """Write a picture in the format of the path's suffix, without publishing steps: a crash leaves half a file.

    Args:
        picture: what to write.
        path: where to; an existing file is replaced.
        quality: see `encode`.

    Returns:
        The picture as it was written, with a warning for each thing that the format could not hold.

    Raises:
        UnsupportedFormat, TooManyPixels: see `fitted`.
    """
    written = fitted(picture, path.suffix)
    path.write_bytes(encode(written, path.suffix, quality=quality))
    return written


def _content_of(path: Path) -> bytes:
    if not path.exists():
        raise SourceNotFound(f"source {path} does not exist")
    if not path.is_file():
        kind = "a directory" if path.is_dir() else "no regular file"
        raise SourceNotFound(f"source {path} is {kind}; expected a picture file")
    try:
        return path.read_bytes()
    except OSError as err:
        raise SourceNotFound(f"source {path} cannot be read: {(err.strerror or str(err)).lower()}") from err


def _opened(name: str, content: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(content), formats=FORMATS)
    except UnidentifiedImageError as err:
        kind = next((known for magic, known in _KNOWN_BUT_CLOSED.items() if content.startswith(magic)), "")
        if content[4:8] == b"ftyp":
            kind = _BRANDS.get(content[8:12], "a video")
        if kind:
            raise UnsupportedFormat(f"source {name} is {kind}; expected one of {', '.join(FORMATS)}") from err
        raise NotMedia(f"source {name} is no picture that can be read; expected {', '.join(FORMATS)}") from err


def check_size(size: Size, *, name: str, max_pixels: int, max_side: int) -> None:
    """Refuse a picture that is larger than the limits.

    Raises:
        TooManyPixels: with the limit and its setting.
    """
    if size.pixels > max_pixels:
        raise TooManyPixels(
            f"source {name} is {size} ({size.pixels / 1e6:.1f} MP); the limit is {max_pixels / 1e6:.1f} MP, "
            "see UPSCALE_LIMITS__MAX_IMAGE_PIXELS"
        )
    if max(size.width, size.height) > max_side:
        raise TooManyPixels(
            f"source {name} is {size}; the limit is {max_side} pixels a side, see UPSCALE_LIMITS__MAX_SOURCE_SIDE"
        )


def _damage(name: str, err: Exception) -> SourceError:
    text = str(err).lower()
    if isinstance(err, EOFError) or "truncated" in text or "not enough" in text:
        return SourceTruncated(f"source {name} ends before its picture is complete")
    return SourceCorrupt(f"source {name} does not decode: {text or type(err).__name__}")


def _read(image: Image.Image, name: str, content: bytes) -> Picture:
    kind = "JPEG" if image.format == "MPO" else str(image.format)
    frames = _frames_of(image, len(content))
    deep = image_deep.is_deep(image, content[:_HEAD_BYTES])
    declared = image.size
    image.load()
    if image.size[0] * image.size[1] > declared[0] * declared[1]:
        # An icon's directory may name another size than the picture inside it has.
        raise SourceCorrupt(f"source {name} declares {declared} and holds {image.size}")
    picture = to_picture(image, image_deep.decode(content, kind) if deep else None, expect_deep=deep)
    picture = _upright(picture, read_orientation(image))
    picture = replace(picture, format=kind, attachments=read_attachments(image, picture.attachments, content))
    if frames:
        picture = picture.warn("frames_dropped", f"the source has {frames} frames or pages; the first is used")
    return picture


def _frames_of(image: Image.Image, byte_count: int) -> str:
    """Say how many frames there are where there are several; counting walks the file, so a large one is not counted.

    A GIF of 256 MB can hold 17 million frames and a TIFF 2 million pages: counting them takes minutes.
    """
    if not getattr(image, "is_animated", False):
        return ""
    return str(getattr(image, "n_frames", 1)) if byte_count <= _COUNTED_BYTES else "several"


def _upright(picture: Picture, orientation: int) -> Picture:
    """Turn the pixels as the EXIF orientation (TIFF 6.0, tag 274) says."""

    def turned(samples: np.ndarray) -> np.ndarray:
        if orientation in {5, 6, 7, 8}:
            samples = np.swapaxes(samples, 0, 1)
        if orientation in {2, 3, 6, 7}:
            samples = samples[:, ::-1]
        if orientation in {3, 4, 7, 8}:
            samples = samples[::-1]
        return np.ascontiguousarray(samples)

    if not 2 <= orientation <= 8:
        return picture
    alpha = None if picture.alpha is None else turned(picture.alpha)
    return replace(picture, pixels=turned(picture.pixels), alpha=alpha)
