"""What a packet says without how its container wraps it, so that a copied track compares equal across containers.

MP4 and Matroska store bare AAC and length-prefixed NAL units; transport streams store ADTS headers and start codes.
"""

from __future__ import annotations

import re

_START_CODE = re.compile(rb"\x00\x00\x00?\x01")
_LENGTH_BYTES = 4


def bare_payload(codec: str, content: bytes) -> bytes:
    """Return the payload in one form for all containers."""
    if codec in ("h264", "hevc"):
        return b"\0\0\1".join(_nal_units(content))
    if codec == "aac":
        return _without_adts(content)
    return content


def _without_adts(content: bytes) -> bytes:
    """Return an AAC frame without its ADTS header (ISO/IEC 13818-7 6.2)."""
    is_adts = len(content) > 9 and content[0] == 0xFF and content[1] & 0xF6 == 0xF0
    if not is_adts:
        return content
    return content[7 if content[1] & 1 else 9 :]


def _nal_units(content: bytes) -> list[bytes]:
    if content.startswith((b"\0\0\0\1", b"\0\0\1")):
        return [unit.rstrip(b"\0") for unit in _START_CODE.split(content) if unit]
    units = []
    while len(content) > _LENGTH_BYTES:
        length = int.from_bytes(content[:_LENGTH_BYTES], "big")
        units.append(content[_LENGTH_BYTES : _LENGTH_BYTES + length].rstrip(b"\0"))
        content = content[_LENGTH_BYTES + length :]
    return units
