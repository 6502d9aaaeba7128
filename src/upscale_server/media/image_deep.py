"""Sixteen bits a channel, read and written where Pillow would drop the lower eight.

Pillow keeps 16-bit gray only; RGB and alpha come through FFmpeg's decoders, and go out as PNG through its encoder or
as TIFF and PPM written here. It decides nothing: `image` and `image_write` ask for it.
"""

from __future__ import annotations

import io
import zlib
from fractions import Fraction
from typing import Any, cast

import av
import av.error
import numpy as np
from av.video.codeccontext import VideoCodecContext
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

Samples = NDArray[np.uint16]
"""`(H, W, C)` with C one of 1 (gray), 2 (gray, alpha), 3 (RGB), 4 (RGB, alpha)."""

_CODECS = {"PNG": "png", "TIFF": "tiff", "PPM": "ppm", "JPEG2000": "jpeg2000"}
_CHANNELS = {"gray16": 1, "ya16": 2, "rgb48": 3, "rgba64": 4}
_PNG_FORMATS = {1: "gray16be", 2: "ya16be", 3: "rgb48be", 4: "rgba64be"}


def is_deep(image: Image.Image, head: bytes) -> bool:
    """Say whether the file holds more than 8 bits a channel in a form that Pillow would reduce.

    Args:
        image: opened, not loaded.
        head: the first kilobytes of the file, for formats whose depth Pillow does not tell.
    """
    if image.format not in _CODECS or image.mode not in {"RGB", "RGBA", "LA"}:
        return False
    if image.format == "PNG":
        return any(";16" in str(tile[3]) for tile in _tiles(image))
    if image.format == "TIFF":
        return bool(max(image.tag_v2.get(258, (8,))) > 8)  # type: ignore[attr-defined]
    if image.format == "PPM":
        return any(isinstance(tile[3], tuple) and tile[3][1] > 255 for tile in _tiles(image))
    start = head.find(b"\xff\x4f\xff\x51")
    # Ssiz of the first component, ISO/IEC 15444-1 A.5.1: bits - 1, the top bit is the sign.
    return start >= 0 and len(head) > start + 42 and head[start + 42] & 0x7F > 7


def _tiles(image: Image.Image) -> list[tuple[Any, ...]]:
    """Return how Pillow would decode the file: the fourth part of each names the sample layout, in several types."""
    return list(getattr(image, "tile", []))


def decode(content: bytes, kind: str) -> Samples | None:
    """Decode a file with FFmpeg; None when it does not deliver 16 bits a channel.

    Args:
        content: the whole file.
        kind: Pillow's name of its format.
    """
    context = cast("VideoCodecContext", av.CodecContext.create(_CODECS[kind], "r"))
    try:
        frames = [*context.decode(av.Packet(content)), *context.decode(None)]
    except av.error.FFmpegError:
        return None
    if not frames:
        return None
    frame = frames[0]
    name = frame.format.name
    channels = _CHANNELS.get(name[:-2])
    if channels is None:
        return None
    order = ">u2" if name.endswith("be") else "<u2"
    rows = np.frombuffer(frame.planes[0], dtype=order).reshape(frame.height, -1)  # type: ignore[call-overload]  # a plane is a buffer
    samples = rows[:, : frame.width * channels].reshape(frame.height, frame.width, channels)
    return cast("Samples", samples.astype(np.uint16))


def encode_png(samples: Samples) -> bytes:
    """Return a 16-bit PNG without any chunk but IHDR, IDAT and IEND (and FFmpeg's pHYs)."""
    height, width, channels = samples.shape
    context = av.CodecContext.create("png", "w")
    context.width, context.height, context.pix_fmt = width, height, _PNG_FORMATS[channels]
    context.time_base = Fraction(1, 1)
    context.options = {"pred": "mixed"}
    frame = av.VideoFrame(width, height, _PNG_FORMATS[channels])
    plane = frame.planes[0]
    rows = np.zeros((height, plane.line_size // 2), dtype=">u2")
    rows[:, : width * channels] = samples.reshape(height, width * channels)
    plane.update(rows.tobytes())
    packets = [*context.encode(frame), *context.encode(None)]
    return b"".join(bytes(packet) for packet in packets)


def encode_ppm(samples: Samples) -> bytes:
    """Return a binary PGM or PPM with 65535 as white."""
    height, width, channels = samples.shape
    magic = "P5" if channels == 1 else "P6"
    return f"{magic}\n{width} {height}\n65535\n".encode() + samples.astype(">u2").tobytes()


def encode_tiff(samples: Samples | NDArray[np.uint8], tags: ImageFileDirectory_v2) -> bytes:
    """Return a deflated TIFF of 8 or 16 bits.

    Args:
        samples: gray or RGB, with or without alpha; uint8 or uint16.
        tags: further tags (ICC, EXIF, resolution); the structural ones are set here.
    """
    height, width, channels = samples.shape
    # Horizontal differencing (TIFF 6.0 section 14) halves the size of photographs under deflate.
    differences = samples.copy()
    differences[:, 1:] -= samples[:, :-1]
    bits = samples.itemsize * 8
    body = zlib.compress(differences.astype("<u2" if bits > 8 else np.uint8).tobytes(), 6)
    structure = {
        256: width, 257: height, 258: (bits,) * channels, 259: 8, 262: 1 if channels < 3 else 2,
        277: channels, 278: height, 279: len(body), 284: 1, 317: 2, 339: (1,) * channels,
    }  # fmt: skip
    for tag, value in structure.items():
        tags[tag] = value
    if channels in {2, 4}:
        tags[338] = 2  # unassociated alpha
    tags[273] = 0  # filled in by the directory: where the one strip begins
    output = io.BytesIO()
    tags.save(output)
    output.write(body)
    return output.getvalue()
