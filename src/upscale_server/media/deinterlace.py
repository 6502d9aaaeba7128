"""Interlaced frames made whole, one for each, at their own times.

bwdif leaves frames alone that are not flagged as interlaced, so a stream that only may be interlaced passes through.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from av.filter import Graph
from av.video.frame import VideoFrame

from upscale_server.media.streams import seconds_per_tick
from upscale_server.media.types import Tally, VideoInfo


def deinterlaced(frames: Iterator[VideoFrame], info: VideoInfo, tally: Tally) -> Iterator[VideoFrame]:
    """Pass frames through bwdif: one frame out per frame in, progressive ones untouched.

    bwdif halves the time base to leave room for fields; frames get their own time back.
    """
    graph: Graph | None = None
    shape: tuple[object, ...] = ()
    for frame in frames:
        if graph is None and not (info.may_interlace or frame.interlaced_frame):
            yield frame  # a stream may change in the middle; until then nothing stands in its way
            continue
        if graph is not None and shape != _shape(frame):
            graph.push(None)  # bwdif would go on in memory of the old size: the new pictures get one of their own
            yield from _pulled(graph, info.time_base)
            graph = None
        if graph is None:
            graph, shape = _bwdif(frame, info.time_base), _shape(frame)
        tally.frames_deinterlaced += frame.interlaced_frame
        frame.time_base = info.time_base
        graph.push(frame)
        yield from _pulled(graph, info.time_base)
    if graph is not None:
        graph.push(None)
        yield from _pulled(graph, info.time_base)


def _shape(frame: VideoFrame) -> tuple[object, ...]:
    return frame.width, frame.height, frame.format.name


def _bwdif(frame: VideoFrame, time_base: Fraction) -> Graph:
    graph = Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, name="in", time_base=time_base
    )
    graph.link_nodes(
        source, graph.add("bwdif", "mode=send_frame:parity=auto:deint=interlaced"), graph.add("buffersink")
    ).configure()
    return graph


def _pulled(graph: Graph, time_base: Fraction) -> Iterator[VideoFrame]:
    while True:
        try:
            frame = graph.pull()
        except (BlockingIOError, EOFError):
            return
        assert isinstance(frame, VideoFrame)  # noqa: S101 - a video sink gives video frames
        if frame.pts is not None:
            frame.pts = round(frame.pts * seconds_per_tick(frame) / time_base)
            frame.time_base = time_base
        yield frame
