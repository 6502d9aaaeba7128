"""The time table of a video stream, read from its packets without decoding a picture.

It answers where segments may start and which timestamps must come out again; it does not judge the pictures.
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import av.error
from av.container import InputContainer
from av.video.stream import VideoStream

_EMPTY_PICTURE_BYTES = 8  # DivX's packed streams put an empty picture where the second of a pair belongs
_JITTER = Fraction(3, 2000)  # containers that count milliseconds round every timestamp by up to one


@dataclass(frozen=True, slots=True)
class PacketIndex:
    """Sorted presentation times of a stream's packets.

    `reliable` is false when a packet has no time or two packets share one: such a stream is decoded in one piece.
    `discarded` counts packets that an edit list hides.
    `untimed_first` counts packets before the first that has a time.
    `last_duration` is that of the last packet shown, in time base units, 0 when the container does not say.
    """

    pts: tuple[int, ...]
    keyframes: tuple[int, ...]
    reliable: bool
    last_duration: int
    untimed_first: int
    discarded: int
    encrypted: bool
    ends_early: bool

    def keyframe_before(self, pts: int, *, steps: int = 0) -> int | None:
        """Return the last keyframe at or before `pts`, or the one `steps` earlier; None when there is none."""
        place = bisect.bisect_right(self.keyframes, pts) - 1 - steps
        return self.keyframes[place] if place >= 0 else None


def index_packets(container: InputContainer, stream: VideoStream) -> PacketIndex:
    """Demux the whole stream and collect its timestamps."""
    pts: list[int] = []
    keyframes: list[int] = []
    untimed_first = discarded = 0
    unknown = encrypted = ends_early = packed = False
    last = (-(2**62), 0)
    counted = container.format.name == "avi"  # AVI's packets are counted as they are decoded; see `decode`
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.error.FFmpegError:
            ends_early = True
            break
        if packet is None:
            break
        if packet.size == 0:
            continue
        if packet.is_discard:
            discarded += 1
            continue
        encrypted = encrypted or packet.has_sidedata("encryption_info")
        if counted:
            packet.pts = packet.dts
        packed = packed or (stream.codec_context.name == "mpeg4" and packet.size <= _EMPTY_PICTURE_BYTES)
        if packet.pts is None:
            unknown = True
            untimed_first += not pts
            continue
        pts.append(packet.pts)
        last = max(last, (packet.pts, packet.duration or 0))
        if packet.is_keyframe:
            keyframes.append(packet.pts)
    reordered = counted and stream.codec_context.has_b_frames
    pts.sort()
    keyframes.sort()
    distinct = len(set(pts)) == len(pts)
    return PacketIndex(
        pts=tuple(pts),
        keyframes=tuple(keyframes),
        reliable=distinct and not unknown and not packed and bool(keyframes) and not reordered,
        last_duration=last[1],
        untimed_first=untimed_first,
        discarded=discarded,
        encrypted=encrypted,
        ends_early=ends_early,
    )


def varies(index: PacketIndex, time_base: Fraction) -> bool:
    """Tell whether the distance between pictures varies by more than a container's rounding."""
    steps = [later - earlier for earlier, later in pairwise(index.pts)]
    return bool(steps) and (max(steps) - min(steps)) * time_base > _JITTER
