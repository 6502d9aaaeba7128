"""Facts about pixel formats, so that no other module takes a name like `yuv422p10le` apart.

The pipeline works on planar Y'CbCr of 8 or 10 bits and on gray; everything else is mapped onto the nearest of these.
"""

from __future__ import annotations

from dataclasses import dataclass

import av

WORKING = {
    "yuv420p", "yuv422p", "yuv444p", "gray",
    "yuv420p10le", "yuv422p10le", "yuv444p10le", "gray10le",
}  # fmt: skip
"""The formats that frames are delivered, upscaled and encoded in."""

_SUBSAMPLING = {"yuv420p": (2, 2), "yuv422p": (2, 1), "yuv444p": (1, 1), "gray": (0, 0)}


@dataclass(frozen=True, slots=True)
class FormatFacts:
    """What delivering a source's pixel format means: the working format and what is lost on the way."""

    working: str
    bits: int
    full_range_by_name: bool
    rgb: bool
    alpha: bool
    bits_of_source: int


def bits_of(working: str) -> int:
    """Return the bits of a sample of a working format."""
    return 10 if working.endswith("10le") else 8


def subsampling_of(working: str) -> tuple[int, int]:
    """Return how many luma samples share a chroma sample, (across, down); (0, 0) without chroma."""
    return _SUBSAMPLING[working.removesuffix("10le")]


def facts_of(pixel_format: str) -> FormatFacts:
    """Describe how frames of `pixel_format` are delivered.

    `yuvj` names are FFmpeg's older way to say full range; their planes are those of the plain name.
    """
    plain = pixel_format.replace("yuvj", "yuv")
    layout = av.VideoFormat(plain, 16, 16)
    components = layout.components
    bits = max(component.bits for component in components)
    rgb = layout.is_rgb or layout.has_palette
    alpha = any(component.is_alpha for component in components)
    base = _base_name(plain, layout, rgb=rgb)
    return FormatFacts(
        working=base + ("10le" if bits > 8 else ""),
        bits=10 if bits > 8 else 8,
        full_range_by_name=pixel_format.startswith("yuvj"),
        rgb=rgb,
        alpha=alpha,
        bits_of_source=bits,
    )


def _base_name(plain: str, layout: av.VideoFormat, *, rgb: bool) -> str:
    if rgb or plain.startswith(("xyz", "bayer")):
        return "yuv444p"
    colours = [component for component in layout.components if not component.is_alpha]
    if len(colours) == 1:
        return "gray"
    shares = (16 // layout.chroma_width(16), 16 // layout.chroma_height(16))
    names = {shares_of: name for name, shares_of in _SUBSAMPLING.items()}
    return names.get(shares, "yuv444p")
