"""Times of decoded frames where the stream gives none, or those of another frame.

A frame that has its own increasing time keeps it; everything answered otherwise is counted.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator

from av.video.frame import VideoFrame

from upscale_server.errors import SourceCorrupt
from upscale_server.media.types import Tally, VideoInfo

_MAX_STEP_BACK_SECONDS = 1
_DEPTH = 17  # H.264 reorders by at most 16 pictures


def timed(frames: Iterator[VideoFrame], info: VideoInfo, tally: Tally) -> Iterator[VideoFrame]:
    """Give leading frames without a time the times just before the first frame that has one."""
    if not info.timed:  # no packet has a time (an elementary stream): there is none to wait for
        yield from frames
        return
    waiting: list[VideoFrame] = []
    for frame in frames:
        waiting.append(frame)
        if frame.pts is None:
            continue
        step = _step(info)
        for place, early in enumerate(waiting[:-1]):
            early.pts = frame.pts - (len(waiting) - 1 - place) * step
            tally.times_repaired += 1
        yield from waiting
        waiting = []
        break
    yield from waiting
    yield from frames


def in_order_of_time(frames: Iterator[VideoFrame]) -> Iterator[VideoFrame]:
    """Give the n-th frame the n-th of the times.

    AVI counts packets as they are decoded, and DivX packs two pictures into one packet and leaves the next one empty:
    in both, pictures come out in the right order with their neighbours' times. Where times increase, nothing changes.
    """
    waiting: deque[VideoFrame] = deque()
    times: list[int] = []
    for frame in frames:
        waiting.append(frame)
        if frame.pts is not None:
            heapq.heappush(times, frame.pts)
        if len(waiting) > _DEPTH:
            yield _retimed(waiting.popleft(), times)
    while waiting:
        yield _retimed(waiting.popleft(), times)


def _retimed(frame: VideoFrame, times: list[int]) -> VideoFrame:
    if frame.pts is not None:
        frame.pts = heapq.heappop(times)
    return frame


def increasing(pts: int | None, last: int | None, info: VideoInfo, tally: Tally) -> int:
    """Return a time after `last`: the frame's own wherever it has one."""
    if pts is not None and (last is None or pts > last):
        return pts
    if pts is not None and last is not None and (last - pts) * info.time_base > _MAX_STEP_BACK_SECONDS:
        raise SourceCorrupt(f"time jumps back from pts {last} to {pts}; timestamps must increase")
    tally.times_repaired += 1
    if last is None:
        return 0
    # A repeated time: half a step, so that the frame keeps a place of its own in containers that count milliseconds.
    return last + (_step(info) if pts is None else max(1, _step(info) // 2))


def _step(info: VideoInfo) -> int:
    """Return the nominal distance of two frames in ticks; for frames only that have no time of their own."""
    return max(1, round(1 / (info.average_rate * info.time_base)))
