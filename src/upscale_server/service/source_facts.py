"""A looked-at source as the JSON values that are kept beside it and that callers see: `ProbeView` of `wire_sources`.

Nothing here opens a file.
"""

from __future__ import annotations

from dataclasses import asdict
from fractions import Fraction
from typing import Any

from upscale_server.media.colour_names import UNSTATED
from upscale_server.media.look import Looked
from upscale_server.media.types import FULL, Colour, VideoInfo
from upscale_server.service.traits import hdr_name, traits_of

_SHAPES = ("16:9", "4:3", "1:1", "9:16", "3:4", "3:2", "2:3", "5:4", "4:5", "21:9", "2:1", "1:2")
_NEAR = 0.005
"""Of a shape's ratio: 854x480 is meant to be 16:9 and is off by a thousandth."""
_MATRICES = {1: "BT.709", 5: "BT.601", 6: "BT.601", 7: "SMPTE 240M", 9: "BT.2020", 10: "BT.2020"}
_PRIMARIES = {1: "BT.709", 5: "BT.601", 6: "BT.601", 7: "SMPTE 240M", 9: "BT.2020", 11: "DCI-P3", 12: "Display P3"}


def facts_of(looked: Looked) -> dict[str, Any]:  # JSON values of many types
    """Return what a caller is told about a source."""
    info = looked.info
    return {
        "container": info.container.split(",")[0],
        "codec": info.codec,
        "width": info.size.width,
        "height": info.size.height,
        "display_aspect": display_aspect(info),
        "sample_aspect": _ratio(info.sample_aspect_ratio),
        "rotation": info.rotation,
        "frames": info.frame_count,
        "duration_seconds": round(info.duration_seconds, 3),
        "average_rate": round(float(info.average_rate), 3),
        "variable_rate": info.variable_rate,
        "interlaced": info.interlaced,
        "hdr": hdr_name(info),
        "bit_depth": info.bits,
        "pixel_format": info.pixel_format_of_source,
        "colour": colour_name(info.colour),
        "bit_rate": info.bit_rate,
        "tracks": [
            {"kind": "video", "codec": info.codec, "language": None, "title": None},
            *(
                {"kind": one.kind, "codec": one.codec, "language": one.language or None, "title": one.title or None}
                for one in info.streams
            ),
        ],
        "chapters": info.chapter_count,
        "traits": [asdict(trait) for trait in traits_of(looked)],
    }


def display_aspect(info: VideoInfo) -> str:
    """Return the shape in which a video is shown: a well-known ratio, or the width of one that is 1 high."""
    shape = Fraction(info.size.width, info.size.height) * (info.sample_aspect_ratio or 1)
    if info.rotation % 180:
        shape = 1 / shape
    for name in _SHAPES:
        across, down = map(int, name.split(":"))
        if abs(float(shape) * down / across - 1) < _NEAR:
            return name
    return f"{float(shape):.3f}"


def colour_name(colour: Colour) -> str:
    """Return the colours of a video in words; what a stream does not say is told as such."""
    name = _PRIMARIES.get(colour.primaries) or _MATRICES.get(colour.matrix) or UNSTATED
    return f"{name}, full range" if colour.range == FULL else name


def _ratio(ratio: Fraction | None) -> str | None:
    return None if ratio is None or ratio == 1 else f"{ratio.numerator}:{ratio.denominator}"
