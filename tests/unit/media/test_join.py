"""Packets that are copied beside the picture: what they lack is filled in so that no container loses one."""

from __future__ import annotations

import io
from fractions import Fraction

import av
import pytest
from av.packet import Packet

from upscale_server.media.join import lasting


@pytest.mark.parametrize(("codec", "expected"), [("pcm_s16le", [0, 20, 30]), ("subrip", [0, 0, 0])])
def test_sound_without_durations_lasts_until_the_next(codec: str, expected: list[int]) -> None:
    """An MP4's edit list would cut off the last packet; a subtitle without a duration stays until it is told to go."""
    with av.open(io.BytesIO(), "w", "matroska") as out:
        stream = out.add_stream(codec)
        packets = []
        for dts in (0, 20, 50):
            packet = Packet(b"x")
            packet.stream, packet.dts, packet.pts = stream, dts, dts
            packets.append((Fraction(dts), packet, (1, len(packets))))

        assert expected == [packet.duration or 0 for _, packet, _ in lasting(iter(packets))]


def test_sound_that_says_how_long_it_is_is_left_alone() -> None:
    """Pauses between packets are no sound."""
    with av.open(io.BytesIO(), "w", "matroska") as out:
        packet = Packet(b"x")
        packet.stream, packet.dts, packet.duration = out.add_stream("pcm_s16le"), 90, 5

        assert 5 == next(lasting(iter([(Fraction(0), packet, (1, 0))])))[1].duration
