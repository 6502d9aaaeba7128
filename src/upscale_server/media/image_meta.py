"""What comes with a picture besides its pixels: ICC, EXIF, XMP, resolution, and how a PNG says its samples are meant.

It reads; writing belongs to `image_write`. Metadata that cannot be read is left behind, never a reason to fail.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from PIL import Image

from upscale_server.media.picture import Attachments

_ORIENTATION = 0x0112

# Tags of a TIFF that describe how the source's pixels are stored, not the picture; XMP and ICC travel apart.
_STRUCTURAL = {
    254, 255, 256, 257, 258, 259, 262, 263, 264, 265, 266, 273, 274, 277, 278, 279, 280, 281, 284, 288, 289, 290, 291,
    292, 293, 301, 317, 318, 319, 320, 321, 322, 323, 324, 325, 330, 332, 333, 334, 336, 337, 338, 339, 340, 341, 342,
    347, 512, 513, 514, 529, 530, 531, 532, 700, 34377, 34675,
}  # fmt: skip

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_KEPT = {b"gAMA", b"cHRM", b"sRGB", b"cICP", b"mDCV", b"cLLI", b"tEXt", b"zTXt", b"iTXt", b"tIME"}
_XMP_KEYWORD = b"XML:com.adobe.xmp\0"
# Metadata beyond this is not carried: larger blocks are not met outside attacks.
_MAX_BYTES = 16 * 1024 * 1024


def read_orientation(image: Image.Image) -> int:
    """Return EXIF's orientation, 1 (upright) when there is none that can be read."""
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except (ValueError, TypeError, OSError, SyntaxError, KeyError, struct.error):
        return 1


def read_attachments(image: Image.Image, found: Attachments, content: bytes) -> Attachments:
    """Collect what goes along with a loaded picture.

    Args:
        image: loaded.
        found: what the conversion of the pixels already settled (the profile of converted colours).
        content: the whole file.
    """
    info = image.info
    icc = found.icc or _bytes_of(info.get("icc_profile"))
    return Attachments(
        icc=b"" if icc == NO_PROFILE else icc,
        exif=_exif_of(image),
        xmp=_upright_xmp(_bytes_of(info.get("xmp"))),
        dpi=_dpi_of(info.get("dpi")),
        comment=_bytes_of(info.get("comment")) if image.format in {"JPEG", "MPO"} else b"",
        png_chunks=tuple(_png_chunks(content)),
    )


NO_PROFILE = b"none"
"""Stands for `the source's profile no longer describes the pixels, and there is no other`."""


def _bytes_of(value: object) -> bytes:
    if isinstance(value, str):
        value = value.encode("utf-8", "surrogateescape")
    return value if isinstance(value, bytes) and len(value) <= _MAX_BYTES else b""


def _exif_of(image: Image.Image) -> bytes:
    """Return EXIF as bytes, without orientation and without the source's storage tags."""
    try:
        exif = image.getexif()
        for tag in _STRUCTURAL & set(exif):
            del exif[tag]
        if image.format == "TIFF":
            for tag in (282, 283, 296):
                exif.pop(tag, None)
        if not len(exif):
            return b""
        block = exif.tobytes()
        Image.Exif().load(block)
    except (ValueError, TypeError, OSError, SyntaxError, KeyError, struct.error, OverflowError, AttributeError):
        return b""
    return block


def _upright_xmp(xmp: bytes) -> bytes:
    """Drop XMP's own orientation; the pixels have been turned."""
    xmp = re.sub(rb'tiff:Orientation\s*=\s*"[0-9]"', b'tiff:Orientation="1"', xmp)
    return re.sub(rb"<tiff:Orientation>[0-9]</tiff:Orientation>", b"<tiff:Orientation>1</tiff:Orientation>", xmp)


def _dpi_of(value: object) -> tuple[float, float] | None:
    try:
        across, down = (float(part) for part in value)  # type: ignore[attr-defined]
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    # A resolution outside this is a header without one (Pillow gives such a TIFF 1 by 1), or damage.
    return (across, down) if all(1 < part <= 100_000 for part in (across, down)) else None


def _png_chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    if not content.startswith(_PNG_SIGNATURE):
        return
    at = len(_PNG_SIGNATURE)
    while at + 12 <= len(content):
        length, name = struct.unpack_from(">I4s", content, at)
        body = content[at + 8 : at + 8 + length]
        if name in _PNG_KEPT and len(body) == length <= _MAX_BYTES and not body.startswith(_XMP_KEYWORD):
            yield name, body
        at += 12 + length
