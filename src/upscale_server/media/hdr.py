"""Static HDR metadata: from FFmpeg's frame side data to the texts that encoders take, without loss.

It knows no stream and no encoder option; dynamic metadata (HDR10+, Dolby Vision) is only recognised, not carried.
"""

from __future__ import annotations

import struct

from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame

from upscale_server.media.streams import side_data_of
from upscale_server.media.types import Hdr

_CHROMATICITY_UNIT = 50_000  # ST 2086 and x265 count chromaticity in 1/50 000
_LUMINANCE_UNIT = 10_000  # and luminance in 1/10 000 cd/m²
DYNAMIC = (Type.DYNAMIC_HDR_PLUS, Type.DOVI_RPU_BUFFER, Type.DOVI_METADATA, Type.DYNAMIC_HDR_VIVID)


def hdr_of(frame: VideoFrame) -> Hdr:
    """Read mastering display and content light level from a decoded frame."""
    mastering = light = ""
    colours = side_data_of(frame, Type.MASTERING_DISPLAY_METADATA)
    if colours is not None:
        mastering = _mastering_text(bytes(colours))
    levels = side_data_of(frame, Type.CONTENT_LIGHT_LEVEL)
    if levels is not None:
        most, average = struct.unpack_from("=II", bytes(levels))
        light = f"{most},{average}"
    return Hdr(mastering, light)


def has_dynamic_hdr(frame: VideoFrame) -> bool:
    """Tell whether the frame carries per-scene HDR metadata."""
    return any(side_data_of(frame, kind) is not None for kind in DYNAMIC)


def _mastering_text(raw: bytes) -> str:
    """Turn `AVMasteringDisplayMetadata` (ten rationals, two flags) into x265's `master-display` text."""
    numbers = struct.unpack_from("=20i2i", raw)
    ratio = [numbers[2 * i] / numbers[2 * i + 1] if numbers[2 * i + 1] else 0.0 for i in range(10)]
    has_primaries, has_luminance = numbers[20], numbers[21]
    if not has_primaries and not has_luminance:
        return ""
    red, green, blue, white = (
        f"({round(ratio[i] * _CHROMATICITY_UNIT)},{round(ratio[i + 1] * _CHROMATICITY_UNIT)})" for i in (0, 2, 4, 6)
    )
    least, most = round(ratio[8] * _LUMINANCE_UNIT), round(ratio[9] * _LUMINANCE_UNIT)
    return f"G{green}B{blue}R{red}WP{white}L({most},{least})"


def in_decimals(mastering: str) -> str:
    """Turn the integer text into SVT-AV1's decimal one."""
    import re  # noqa: PLC0415 - only AV1 output needs it

    def scaled(match: re.Match[str]) -> str:
        unit = _LUMINANCE_UNIT if match[1] == "L" else _CHROMATICITY_UNIT
        return f"{match[1]}({int(match[2]) / unit:.6f},{int(match[3]) / unit:.6f})"

    return re.sub(r"(WP|[GBRL])\((\d+),(\d+)\)", scaled, mastering)
