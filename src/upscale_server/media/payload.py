"""The part of a packet that means something, whatever the container wraps around it.

MPEG-TS puts an ADTS header before each AAC packet and start codes before each NAL unit; QuickTime and Matroska have
neither. Comparing payloads tells a lost byte from a change of wrapping.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from av.packet import Packet
from av.stream import Stream

from upscale_server.media.streams import codec_of, context_of

_NAL_CODECS = ("h264", "hevc")
_START_CODE = re.compile(rb"\x00\x00\x01")


def payload(packet: Packet[Stream], stream: Stream) -> bytes:
    """Return a packet's bytes without what belongs to the container."""
    content = bytes(packet)
    context, codec = context_of(stream), codec_of(stream)
    if codec == "aac":
        return _without_adts(content)
    if codec in _NAL_CODECS and context is not None:
        units = _prefixed_units(content, codec, context.extradata or b"")
        return b"".join(unit for unit in units if not _is_delimiter(unit, codec))
    return content


def _without_adts(content: bytes) -> bytes:
    """Take an ADTS header off: 7 bytes, 9 with a checksum (ISO/IEC 13818-7, 6.2)."""
    if len(content) > 7 and content[0] == 0xFF and content[1] & 0xF6 == 0xF0:
        return content[7 if content[1] & 1 else 9 :]
    return content


def _prefixed_units(content: bytes, codec: str, extradata: bytes) -> Iterator[bytes]:
    """Yield NAL units from either form; a configuration record (first byte 1) announces length prefixes."""
    if not extradata.startswith(b"\x01"):
        parts = _START_CODE.split(content)
        yield from (part.rstrip(b"\x00") for part in parts[1:])
        return
    width = (extradata[4 if codec == "h264" else 21] & 3) + 1
    place = 0
    while place + width <= len(content):
        length = int.from_bytes(content[place : place + width], "big")
        yield content[place + width : place + width + length].rstrip(b"\x00")
        place += width + length


def _is_delimiter(unit: bytes, codec: str) -> bool:
    """Tell whether a unit only marks where a picture begins; muxers add and drop these."""
    if not unit:
        return True
    kind = unit[0] & 0x1F if codec == "h264" else unit[0] >> 1 & 0x3F
    return kind == (9 if codec == "h264" else 35)
