"""Pictures that are valid and odd, in every format that is opened and some that are not, and what is no picture.

Every expectation that is neither `ok` nor `either` says why.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from PIL import Image

from tests.support.corpus.entry import Entry, Expect, where_possible
from tests.support.corpus.films import pattern
from tests.support.corpus.odd_videos import bases, zipped

_GROUP = "i_odd"
_JPEG_WAYS: tuple[dict[str, Any], ...] = (
    {"progressive": True}, {"subsampling": 0}, {"subsampling": 1}, {"quality": 1}, {"optimize": True},
)  # fmt: skip
_ORIENTATION = 0x0112
_OPENED = (
    ("WEBP", "webp"), ("BMP", "bmp"), ("TIFF", "tif"), ("GIF", "gif"), ("AVIF", "avif"), ("JPEG2000", "jp2"),
    ("ICO", "ico"), ("TGA", "tga"), ("PPM", "ppm"),
)  # fmt: skip
"""What the documents say is taken; the corpus was first written for a shorter list."""
_CLOSED = (("PCX", "pcx"), ("SGI", "sgi"), ("EPS", "eps"), ("PDF", "pdf"), ("DDS", "dds"), ("MSP", "msp"))
"""What Pillow would open and nobody asked for: each is code that a stranger could reach."""


def picture(width: int = 32, height: int = 24, mode: str = "RGB") -> Image.Image:
    """Return a gradient."""
    image = Image.fromarray(pattern(0, width, height))
    return image if mode == "RGB" else image.convert(mode)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:  # noqa: ANN401 - Pillow's own
    """Return a picture's file."""
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def plain_pictures() -> dict[str, bytes]:
    """Return the pictures that are damaged, by the ending of their names."""
    image = picture(64, 64)
    return {
        "png": encoded(image, "PNG"),
        "jpg": encoded(image, "JPEG"),
        "prog.jpg": encoded(image, "JPEG", progressive=True),
        "webp": encoded(image, "WEBP"),
        "gif": encoded(picture(64, 64, "P"), "GIF"),
        "tif": encoded(image, "TIFF"),
    }


def odd_pictures() -> Iterator[Entry]:
    """Yield all of them."""
    yield from _pngs()
    yield from _jpegs()
    yield from _formats()
    yield from _moving()


def _pngs() -> Iterator[Entry]:
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA"):
        yield Entry(_GROUP, f"png_{mode}.png", encoded(picture(mode=mode), "PNG"), "ok")
    deep = Image.fromarray((np.arange(24 * 32).reshape(24, 32) * 80).astype(np.uint16))
    yield Entry(_GROUP, "png_I16.png", encoded(deep, "PNG"), "ok")
    for width, height in ((1, 1), (1, 500), (500, 1), (7, 13)):
        yield Entry(_GROUP, f"png_{width}x{height}.png", encoded(picture(width, height), "PNG"), "ok")
    yield Entry(_GROUP, "interlaced.png", encoded(picture(), "PNG"), "ok")


def _jpegs() -> Iterator[Entry]:
    for mode in ("L", "RGB", "CMYK"):
        yield Entry(_GROUP, f"jpeg_{mode}.jpg", encoded(picture(mode=mode), "JPEG"), "ok")
    for way in _JPEG_WAYS:
        name = "_".join(f"{word}{value}" for word, value in way.items())
        yield Entry(_GROUP, f"jpeg_{name}.jpg", encoded(picture(), "JPEG", **way), "ok")
    for orientation in (*range(1, 9), 0, 9, 65535):
        exif = Image.Exif()
        exif[_ORIENTATION] = orientation
        expect: Expect = "ok" if 1 <= orientation <= 8 else "either"
        yield Entry(_GROUP, f"jpeg_orient{orientation}.jpg", encoded(picture(), "JPEG", exif=exif), expect)


def _formats() -> Iterator[Entry]:
    for kind, ending in _OPENED:
        mode = "RGBA" if kind == "ICO" else "RGB"
        yield from where_possible(_GROUP, f"fmt.{ending}", partial(encoded, picture(mode=mode), kind), "ok")
    lossless = partial(encoded, picture(), "WEBP", lossless=True)
    yield from where_possible(_GROUP, "fmt.lossless.webp", lossless, "ok")
    for kind, ending in _CLOSED:
        options = {"creationDate": None, "modDate": None} if kind == "PDF" else {}
        made = partial(encoded, picture(mode="1" if kind == "MSP" else "RGB"), kind, **options)
        yield from where_possible(_GROUP, f"fmt.{ending}", made, "reject")


def _moving() -> Iterator[Entry]:
    """Yield pictures of many frames or pages; the first is taken."""
    palette = [picture(mode="P").rotate(angle) for angle in range(200)]
    turned = [picture().rotate(angle) for angle in range(20)]
    yield Entry(_GROUP, "anim200.gif", encoded(palette[0], "GIF", save_all=True, append_images=palette[1:]))
    for kind, ending in (("WEBP", "webp"), ("PNG", "png")):
        made = partial(encoded, turned[0], kind, save_all=True, append_images=turned[1:])
        yield from where_possible(_GROUP, f"anim.{ending}", made)
    pages = [picture()] * 20
    yield Entry(_GROUP, "multi.tif", encoded(picture(), "TIFF", save_all=True, append_images=pages))


def no_pictures() -> Iterator[Entry]:
    """Yield what is none; a GIF with an archive behind it is a GIF."""
    gif = encoded(picture(mode="P"), "GIF")
    for name, content in {
        "empty.png": b"",
        "text.png": b"hi" * 100,
        "mp4.png": bases()["mp4"],
        "svg.png": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
        "eps.png": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n",
        "html.jpg": b"<html><script>alert(1)</script></html>",
        "pdf.jpg": b"%PDF-1.4\n%%EOF",
        "pickle.pth": b'\x80\x04cposix\nsystem\n(S"true"\ntR.',
        "imagetragick.mvg": b"push graphic-context\nviewbox 0 0 640 480\nfill url(https://127.0.0.1:9/x)\n",
    }.items():
        yield Entry("i_notimage", name, content, "reject")
    yield Entry("i_notimage", "gifar.gif", gif + zipped(bases()["mp4"]))
