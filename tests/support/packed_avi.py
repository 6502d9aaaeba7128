"""Makes the packed bitstream of old DivX files, which no encoder writes any more.

It joins existing packets; it encodes nothing. Source: ISO/IEC 14496-2 6.2.5 (VOP header), and the user data by which
FFmpeg recognises such files (`divx_packed` in mpeg4videodec.c).
"""

from __future__ import annotations

from pathlib import Path

import av

VOP_START = b"\x00\x00\x01\xb6"
DIVX_MARK = b"\x00\x00\x01\xb2DivX503b1393p\x00"
B_VOP = 2
NOT_CODED = VOP_START + bytes([0b01_0_1_0000, 0b0_1_0_01111])
"""A P-VOP with `vop_coded` 0: type (2 bits), end of modulo time, marker, time (5), marker, not coded, stuffing."""


def packed(source: Path, path: Path) -> None:
    """Write the MPEG-4 packets of `source` again: I, P and B together, an empty one, P and B together, and so on."""
    with av.open(str(source)) as content, av.open(str(path), "w") as out:
        stream = out.add_stream_from_template(content.streams.video[0], opaque=True)
        time_base = content.streams.video[0].time_base
        payloads = [bytes(packet) for packet in content.demux() if packet.size]
        for position, payload in enumerate(_joined(payloads)):
            packet = av.Packet(payload)
            packet.stream, packet.time_base = stream, time_base
            packet.dts = packet.pts = position
            packet.is_keyframe = position == 0
            out.mux(packet)


def _joined(payloads: list[bytes]) -> list[bytes]:
    place = payloads[0].index(VOP_START)
    result = [payloads[0][:place] + DIVX_MARK + payloads[0][place:]]
    rest = payloads[1:]
    while rest:
        if len(rest) > 1 and _kind(rest[1]) == B_VOP:
            result += [rest[0] + rest[1], NOT_CODED]
            rest = rest[2:]
        else:
            result.append(rest.pop(0))
    return result


def _kind(payload: bytes) -> int:
    """Return the coding type of the first picture: 0 I, 1 P, 2 B."""
    return payload[payload.index(VOP_START) + 4] >> 6
