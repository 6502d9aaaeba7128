"""Where a video is cut into segments: arithmetic on its time table, without opening the file.

A segment is the unit of work and of what a crash can cost; the pictures do not depend on where the cuts are.
"""

from __future__ import annotations

import bisect
from fractions import Fraction

from upscale_server.media.index import PacketIndex
from upscale_server.media.tracks import Window
from upscale_server.media.types import Segment, VideoInfo

_LATE_KEYFRAME = 0.5
"""A segment may grow by this part of its length to end on a keyframe."""
_SHORTEST_REST = 0.2
"""A rest shorter than this part of a segment joins the one before."""


def cut(index: PacketIndex, info: VideoInfo, window: Window, seconds: float) -> tuple[Segment, ...]:
    """Cut the kept time into segments of about `seconds`, on keyframes where one is near.

    A stream without reliable times is one segment.
    """
    first = _ticks(window.start, info.time_base)
    last = _ticks(window.end, info.time_base)
    if not index.reliable:
        return (Segment(0, first, last, None),)
    kept = [index.pts[place] for place in kept_times(index, info, window)]
    starts: list[int | None] = [first, *_cuts(kept, index.keyframes, float(seconds / info.time_base))]
    ends = [*starts[1:], last]
    return tuple(
        Segment(place, start, end, None if start is None else decoded_from(start, index, info))
        for place, (start, end) in enumerate(zip(starts, ends, strict=True))
    )


def decoded_from(start: int, index: PacketIndex, info: VideoInfo) -> int | None:
    """Return the keyframe from which a piece of the video that starts at `start` is decoded; None for the beginning."""
    return index.keyframe_before(start, steps=1 if info.may_interlace or "mpegts" in info.container else 0)


def kept_times(index: PacketIndex, info: VideoInfo, window: Window) -> range:
    """Return the places in the index of the frames that are kept."""
    first, last = _ticks(window.start, info.time_base), _ticks(window.end, info.time_base)
    start = 0 if first is None else bisect.bisect_left(index.pts, first)
    return range(start, len(index.pts) if last is None else max(start, bisect.bisect_left(index.pts, last)))


def _ticks(seconds: Fraction | None, time_base: Fraction) -> int | None:
    """Return the first tick at or after a moment."""
    return None if seconds is None else -int(-seconds // time_base)


def _cuts(kept: list[int], keyframes: tuple[int, ...], length: float) -> list[int]:
    """Return where the second and later segments start."""
    cuts: list[int] = []
    start = kept[0] if kept else 0
    for pts in kept:
        if pts - start < length or kept[-1] - pts < length * _SHORTEST_REST:
            continue
        place = bisect.bisect_left(keyframes, pts)
        late = keyframes[place] if place < len(keyframes) else None
        near = late is not None and late - start <= length * (1 + _LATE_KEYFRAME)
        if near and late is not None and late != pts:
            continue  # the loop comes to the keyframe by itself
        cuts.append(pts)
        start = pts
    return cuts
