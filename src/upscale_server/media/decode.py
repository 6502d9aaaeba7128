"""Frames out of a file, each once, in order of time, including those still inside the decoder at the end.

It delivers one segment at a time; where segments begin is decided by `plan`, what happens to frames by `pipeline`.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import cast

import av.error
from av.container import InputContainer
from av.filter import Graph
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from upscale_server.errors import SourceCorrupt, UnsupportedFormat
from upscale_server.media.formats import bits_of
from upscale_server.media.source import open_source
from upscale_server.media.streams import samples_of, seconds_per_tick
from upscale_server.media.types import Frame, Plane, Segment, VideoInfo

_MAX_FAILED_IN_A_ROW = 100
"""Packets in a row that may fail before the source is called corrupt: about four seconds of video."""
_SEEK_BACK_SECONDS = (0, 2, 15, 60)
_MAX_STEP_BACK_SECONDS = 1
_PACKED_DEPTH = 3  # MPEG-4 part 2 reorders by one picture; packing moves times by one more


@dataclass(slots=True)
class Tally:
    """What decoding met on the way; filled while the frames are drawn."""

    frames: int = 0
    packets_failed: int = 0
    frames_damaged: int = 0
    frames_deinterlaced: int = 0
    times_repaired: int = 0


def decode_segment(
    info: VideoInfo, segment: Segment, tally: Tally, *, threads: int = 0
) -> Generator[Frame, None, None]:
    """Yield the frames of a segment with strictly increasing times.

    Args:
        info: the probed source; frames come in `info.pixel_format`.
        segment: which frames.
        tally: counts what went wrong and was answered.
        threads: decoder threads; 0 lets FFmpeg choose. The pictures do not depend on it.

    Raises:
        SourceCorrupt: too many packets in a row fail, or time jumps backwards.
        UnsupportedFormat: the picture size changes.
    """
    last: int | None = None
    for frame in _timed(_shown(info, segment, tally, threads), info, tally):
        if frame.width != info.size.width or frame.height != info.size.height:
            raise UnsupportedFormat(
                f"the picture changes from {info.size} to {frame.width}x{frame.height} at pts {frame.pts}; "
                "one size is expected"
            )
        pts = _increasing(frame.pts, last, info, tally)
        last = pts
        tally.frames += 1
        tally.frames_damaged += frame.is_corrupt
        yield Frame(planes_of(frame, info), info.pixel_format, pts, info.time_base)


def _timed(frames: Iterator[VideoFrame], info: VideoInfo, tally: Tally) -> Iterator[VideoFrame]:
    """Give leading frames without a time the times just before the first frame that has one."""
    if not info.frame_count:  # no packet has a time (an elementary stream): there is none to wait for
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


def _step(info: VideoInfo) -> int:
    """Return the nominal distance of two frames in ticks; for frames only that have no time of their own."""
    return max(1, round(1 / (info.average_rate * info.time_base)))


def _shown(info: VideoInfo, segment: Segment, tally: Tally, threads: int) -> Iterator[VideoFrame]:
    """Yield decoded (and deinterlaced) frames that lie inside the segment."""
    frames = _decoded(info, segment.decode_from_pts, tally, threads)
    if info.codec == "mpeg4":
        frames = _in_order_of_time(frames)
    if info.interlaced:
        frames = _deinterlaced(frames, info, tally)
    for frame in frames:
        if frame.pts is not None and segment.end_pts is not None and frame.pts >= segment.end_pts:
            return
        if frame.pts is None or segment.start_pts is None or frame.pts >= segment.start_pts:
            yield frame


def _in_order_of_time(frames: Iterator[VideoFrame]) -> Iterator[VideoFrame]:
    """Give the n-th frame the n-th of the times.

    DivX packs two pictures into one packet and leaves the next one empty, so that pictures come out in the right order
    with their neighbours' times. Nothing changes where times increase already.
    """
    waiting: deque[VideoFrame] = deque()
    times: list[int] = []
    for frame in frames:
        waiting.append(frame)
        if frame.pts is not None:
            heapq.heappush(times, frame.pts)
        if len(waiting) > _PACKED_DEPTH:
            yield _retimed(waiting.popleft(), times)
    while waiting:
        yield _retimed(waiting.popleft(), times)


def _retimed(frame: VideoFrame, times: list[int]) -> VideoFrame:
    if frame.pts is not None:
        frame.pts = heapq.heappop(times)
    return frame


def _decoded(info: VideoInfo, from_pts: int | None, tally: Tally, threads: int) -> Iterator[VideoFrame]:
    with open_source(Path(info.path)) as container:
        stream = container.streams[info.stream_index]
        assert isinstance(stream, VideoStream)  # noqa: S101 - the probe chose it among the video streams
        stream.thread_type = "AUTO"
        stream.thread_count = threads
        failed_in_a_row = 0
        packets = _packets_from(container, stream, from_pts)
        if packets is None:
            yield from _decoded(info, None, tally, threads)
            return
        for packet in packets:
            try:
                frames = stream.decode(packet)
            except av.error.EOFError:
                return
            except av.error.FFmpegError as err:
                tally.packets_failed += 1
                failed_in_a_row += 1
                if failed_in_a_row > _MAX_FAILED_IN_A_ROW:
                    raise SourceCorrupt(
                        f"{failed_in_a_row} packets in a row do not decode near pts {packet.pts} of {info.path}; "
                        f"at most {_MAX_FAILED_IN_A_ROW} are passed over"
                    ) from err
                continue
            failed_in_a_row = 0 if frames else failed_in_a_row
            yield from frames


def _packets_from(
    container: InputContainer, stream: VideoStream, from_pts: int | None
) -> Iterator[Packet[VideoStream]] | None:
    """Return packets from the keyframe at `from_pts` on, or None where the container cannot seek there.

    Containers index decoding times or byte positions, so landing right is checked, never assumed: one that
    lands behind the keyframe is asked again for an earlier place.
    """
    if from_pts is None:
        return _until_broken(container.demux(stream))
    for seconds in _SEEK_BACK_SECONDS:
        try:
            container.seek(from_pts - int(seconds / seconds_per_tick(stream)), stream=stream, backward=True)
        except av.error.FFmpegError:
            return None
        packets = _until_broken(container.demux(stream))
        first = next((packet for packet in packets if packet.is_keyframe and packet.pts is not None), None)
        if first is not None and first.pts is not None and first.pts <= from_pts:
            return chain([first], packets)
    return None


def _until_broken(packets: Iterator[Packet[VideoStream]]) -> Iterator[Packet[VideoStream]]:
    """Yield packets; a container that breaks off ends the stream, and what came before is kept."""
    while True:
        try:
            packet = next(packets, None)
        except av.error.FFmpegError:
            yield cast("Packet[VideoStream]", Packet())  # an empty packet flushes the decoder
            return
        if packet is None:
            return
        yield packet


def _deinterlaced(frames: Iterator[VideoFrame], info: VideoInfo, tally: Tally) -> Iterator[VideoFrame]:
    """Pass frames through bwdif: one frame out per frame in, progressive ones untouched.

    bwdif halves the time base to leave room for fields; frames get their own time back.
    """
    graph: Graph | None = None
    for frame in frames:
        if graph is None:
            graph = _bwdif(frame, info.time_base)
        tally.frames_deinterlaced += frame.interlaced_frame
        frame.time_base = info.time_base
        graph.push(frame)
        yield from _pulled(graph, info.time_base)
    if graph is not None:
        graph.push(None)
        yield from _pulled(graph, info.time_base)


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


def _increasing(pts: int | None, last: int | None, info: VideoInfo, tally: Tally) -> int:
    """Return a time after `last`: the frame's own wherever it has one."""
    if pts is not None and (last is None or pts > last):
        return pts
    if pts is not None and last is not None and (last - pts) * info.time_base > _MAX_STEP_BACK_SECONDS:
        raise SourceCorrupt(f"time jumps back from pts {last} to {pts}; timestamps must increase")
    tally.times_repaired += 1
    if last is None:
        return 0
    return last + (_step(info) if pts is None else 1)


def planes_of(frame: VideoFrame, info: VideoInfo) -> tuple[Plane, ...]:
    """Return a frame's planes in the working format, as views into its memory where it has that format."""
    if frame.format.name.replace("yuvj", "yuv") != info.pixel_format:
        rgb = frame.format.is_rgb or frame.format.has_palette
        frame = (
            frame.reformat(format=info.pixel_format, dst_colorspace="ITU709", dst_color_range="MPEG")
            if rgb
            else frame.reformat(format=info.pixel_format)
        )
    return tuple(samples_of(plane, bits_of(info.pixel_format)) for plane in frame.planes)
