"""Which seconds of a video stand for the whole of it, when its time and size are to be known before the work.

It chooses by the time table, without opening the file; making and measuring the pieces belongs to `pieces`.
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass
from itertools import pairwise

from upscale_server.cutting import decoded_from, kept_times
from upscale_server.media.index import PacketIndex
from upscale_server.media.tracks import Window
from upscale_server.media.types import Segment, VideoInfo

PIECE_SECONDS = 1.0
_PLACES = (1 / 6, 1 / 2, 5 / 6)
"""Middles of the pieces as parts of the video: each stands for its third."""
_SHORT_SECONDS = 4.0
"""Three pieces of a shorter clip are nearly all of it; one tells as much for a third of the time."""
_LEAST_FRAMES = 12
"""At a few frames a second, a second would show little but a keyframe."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A second of the video and what the source spends on it.

    `source_bytes` are those of its frames that are no keyframes: how much happens in it, by the source's own encoder.
    """

    segment: Segment
    frame_count: int
    source_bytes: int


@dataclass(frozen=True, slots=True)
class Samples:
    """The pieces that stand for a video, and what they are held against.

    `source_bytes` are those of all frames kept that are no keyframes; `other_bytes` of what is carried over.
    """

    pieces: tuple[Piece, ...] = ()
    source_bytes: int = 0
    other_bytes: int = 0


def sample(index: PacketIndex, info: VideoInfo, window: Window, other_bytes: int = 0) -> Samples:
    """Choose the pieces: three of a second, one of a short clip, none where the times are not reliable."""
    kept = kept_times(index, info, window)
    if not index.reliable or not kept:
        return Samples(other_bytes=other_bytes)
    spent = _Spent(index)
    pieces = tuple(
        Piece(_segment(place, part, index, info), len(part), spent.on(part))
        for place, part in enumerate(_parts(index, info, kept))
    )
    return Samples(pieces, spent.on(kept), other_bytes)


def _segment(place: int, part: range, index: PacketIndex, info: VideoInfo) -> Segment:
    start = index.pts[part.start]
    end = index.pts[part.stop] if part.stop < len(index.pts) else None
    return Segment(place, start, end, decoded_from(start, index, info))


class _Spent:
    """Bytes of the source's frames without its keyframes, which come where its encoder wanted and not where we cut."""

    def __init__(self, index: PacketIndex) -> None:
        self._index = index
        self._keyframes = frozenset(index.keyframes)

    def on(self, part: range) -> int:
        """Return the bytes of some frames."""
        pts, sizes = self._index.pts, self._index.sizes
        return sum(sizes[place] for place in part if pts[place] not in self._keyframes) if sizes else 0


def _parts(index: PacketIndex, info: VideoInfo, kept: range) -> list[range]:
    """Return the places of each piece's frames, apart from each other."""
    first, last = index.pts[kept.start], index.pts[kept.stop - 1]
    places = _PLACES if (last - first) * info.time_base >= _SHORT_SECONDS else (1 / 2,)
    length = PIECE_SECONDS / float(info.time_base)
    parts = [_around(index, kept, first + (last - first) * place, length) for place in places]
    if any(before.stop > after.start for before, after in pairwise(parts)):  # few frames, far apart
        return parts[1:2]
    return parts


def _around(index: PacketIndex, kept: range, middle: float, length: float) -> range:
    start = bisect.bisect_left(index.pts, middle - length / 2, kept.start, kept.stop - 1)
    end = bisect.bisect_left(index.pts, index.pts[start] + length, start, kept.stop)
    if end - start < _LEAST_FRAMES:
        start = max(kept.start, min(start, kept.stop - _LEAST_FRAMES))
        end = min(kept.stop, start + _LEAST_FRAMES)
    return range(start, end)
