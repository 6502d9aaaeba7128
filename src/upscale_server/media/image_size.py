"""Tells how large a picture file is, from its head alone.

It decodes no pixels; what cannot be read is said to be unknown, because its reader will say why.
"""

from __future__ import annotations

import warnings
from pathlib import Path

from PIL import Image

from upscale_server.media.image_meta import read_orientation
from upscale_server.media.types import Size


def size_of(path: Path) -> Size | None:
    """Return the size of a picture as it is shown, with its EXIF orientation applied; None where that is unknown."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Pillow suspects of a picture is said where it is decoded
            with Image.open(path) as image:
                turned = read_orientation(image) >= 5  # EXIF 2.32, tag 274: 5 to 8 exchange width and height
                return Size(*(image.size[::-1] if turned else image.size))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
