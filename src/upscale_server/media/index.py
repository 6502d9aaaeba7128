"""The time table of a video stream, read from its packets without decoding a picture.

It answers where segments may start and which timestamps must come out again; it does not judge the pictures.
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise

import av.error
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from upscale_server.media.pulse import beating

_EMPTY_PICTURE_BYTES = 8  # DivX's packed streams put an empty picture where the second of a pair belongs
_JITTER = Fraction(3, 2000)  # containers that count milliseconds round every timestamp by up to one


@dataclass(frozen=True, slots=True)
class PacketIndex:
    """Sorted presentation times of a stream's packets.

    `reliable` is false when a packet has no time or two packets share one: such a stream is decoded in one piece.
    `byte_count` is the size of all packets; `discarded` counts packets that an edit list hides.
    `untimed_first` counts packets before the first that has a time. `sizes` are the bytes of the packets of `pts`.
    `last_duration` is that of the last packet shown, in time base units, 0 when the container does not say.
    """

    pts: tuple[int, ...]
    keyframes: tuple[int, ...]
    reliable: bool
    last_duration: int
    untimed_first: int
    discarded: int
    byte_count: int
    encrypted: bool
    ends_early: bool
    sizes: tuple[int, ...] = ()

    def keyframe_before(self, pts: int, *, steps: int = 0) -> int | None:
        """Return the last keyframe at or before `pts`, or the one `steps` earlier; None when there is none."""
        place = bisect.bisect_right(self.keyframes, pts) - 1 - steps
        return self.keyframes[place] if place >= 0 else None


def index_packets(container: InputContainer, stream: VideoStream) -> PacketIndex:
    """Demux the whole stream and collect its timestamps."""
    counted = container.format.name == "avi"  # AVI's packets are counted as they are decoded; see `decode`
    table = _Table(may_be_packed=stream.codec_context.name == "mpeg4")
    try:
        for packet in beating(container.demux(stream)):
            table.add(packet, packet.dts if counted else packet.pts)
    except av.error.FFmpegError:
        table.ends_early = True
    return table.sorted(reordered=counted and stream.codec_context.has_b_frames)


@dataclass(slots=True)
class _Table:
    """What has been seen of a stream's packets so far."""

    may_be_packed: bool
    pts: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    keyframes: list[int] = field(default_factory=list)
    last: tuple[int, int] = (-(2**62), 0)
    untimed_first: int = 0
    discarded: int = 0
    byte_count: int = 0
    unknown: bool = False
    encrypted: bool = False
    packed: bool = False
    ends_early: bool = False

    def add(self, packet: Packet[VideoStream], pts: int | None) -> None:
        """Note a packet; an empty one only says that the stream has ended."""
        if packet.size == 0:
            return
        self.byte_count += packet.size
        if packet.is_discard:
            self.discarded += 1
            return
        self.encrypted = self.encrypted or packet.has_sidedata("encryption_info")
        self.packed = self.packed or (self.may_be_packed and packet.size <= _EMPTY_PICTURE_BYTES)
        if pts is None:
            self.unknown = True
            self.untimed_first += not self.pts
            return
        self.pts.append(pts)
        self.sizes.append(packet.size)
        self.last = max(self.last, (pts, packet.duration or 0))
        if packet.is_keyframe:
            self.keyframes.append(pts)

    def sorted(self, *, reordered: bool) -> PacketIndex:
        """Return the table in order of presentation."""
        distinct = len(set(self.pts)) == len(self.pts)
        return PacketIndex(
            pts=tuple(sorted(self.pts)),
            keyframes=tuple(sorted(self.keyframes)),
            reliable=distinct and not (self.unknown or self.packed or reordered) and bool(self.keyframes),
            last_duration=self.last[1],
            untimed_first=self.untimed_first,
            discarded=self.discarded,
            byte_count=self.byte_count,
            encrypted=self.encrypted,
            ends_early=self.ends_early,
            sizes=tuple(size for _, size in sorted(zip(self.pts, self.sizes, strict=True))),
        )


def varies(index: PacketIndex, time_base: Fraction) -> bool:
    """Tell whether the distance between pictures varies by more than a container's rounding."""
    steps = [later - earlier for earlier, later in pairwise(index.pts)]
    return bool(steps) and (max(steps) - min(steps)) * time_base > _JITTER
