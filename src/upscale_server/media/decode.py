"""Frames out of a file, each once, in order of time, including those still inside the decoder at the end.

It delivers one segment at a time; where segments begin is decided by `plan`, what happens to frames by `pipeline`.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import cast

import av.error
from av.codec.hwaccel import HWAccel
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from upscale_server.errors import SourceCorrupt, UnsupportedFormat, UpscaleError
from upscale_server.media.admission import bound_decoder, check_codec, threads_for
from upscale_server.media.deinterlace import deinterlaced
from upscale_server.media.formats import bits_of
from upscale_server.media.pulse import beating
from upscale_server.media.source import open_source
from upscale_server.media.streams import samples_of, seconds_per_tick
from upscale_server.media.times import in_order_of_time, increasing, timed
from upscale_server.media.types import LIMITED, Frame, Plane, Segment, Tally, VideoInfo

_MAX_FAILED_IN_A_ROW = 100
"""Packets in a row that may fail before the source is called corrupt: about four seconds of video."""
_OUTPUT_CORRUPT = 1 << 3  # AV_CODEC_FLAG_OUTPUT_CORRUPT: without it FFmpeg keeps damaged pictures back
_SEEK_BACK_SECONDS = (0, 2, 15, 60)
_ROOM = 4
"""Headers may cut off most of a coded picture, and growth can be named only where it is decoded."""


CPU = "cpu"
DEVICES = (CPU, "cuda")
"""What can decode; `cuda` is NVDEC."""


@dataclass(slots=True)
class _Codec:
    """How packets are decoded, and whether any of them was damaged."""

    threads: int
    device: str
    has_failed: bool = False


def decoder_opens(info: VideoInfo, device: str) -> bool:
    """Tell whether a device really decodes a source, by decoding its first picture there."""
    try:
        with open_source(Path(info.path), _hardware(device, may_fall_back=False)) as container:
            stream = container.streams[info.stream_index]
            assert isinstance(stream, VideoStream)  # noqa: S101 - as below
            check_codec(stream, info.path)
            bound_decoder(stream, _most_pixels(info))
            return any(isinstance(frame, VideoFrame) for frame in container.decode(stream))
    except (av.error.FFmpegError, UpscaleError, OSError, RuntimeError, ValueError):
        return False


def _hardware(device: str, *, may_fall_back: bool) -> HWAccel | None:
    """Return PyAV's settings for a device; a stream that changes into what it cannot decode goes on on the CPU."""
    return None if device == CPU else HWAccel(device, allow_software_fallback=may_fall_back)


def decode_segment(
    info: VideoInfo, segment: Segment, tally: Tally, *, threads: int = 0, device: str = CPU
) -> Generator[Frame, None, None]:
    """Yield the frames of a segment with strictly increasing times.

    Args:
        info: the probed source; frames come in `info.pixel_format`.
        segment: which frames.
        tally: counts what went wrong and was answered.
        threads: decoder threads; 0 lets FFmpeg choose. The pictures do not depend on it.
        device: `cpu`, or one of `DEVICES` that `decoder_opens` for this source. The pictures do not depend on it.

    Raises:
        SourceCorrupt: too many packets in a row fail, or time jumps backwards.
        UnsupportedFormat: the picture size changes.
    """
    last: int | None = None
    for frame in timed(_shown(info, segment, tally, _Codec(threads, device)), info, tally):
        pts = increasing(frame.pts, last, info, tally)
        last = pts
        tally.frames += 1
        tally.frames_damaged += frame.is_corrupt
        yield Frame(planes_of(frame, info), info.pixel_format, pts, info.time_base)


def _shown(info: VideoInfo, segment: Segment, tally: Tally, codec: _Codec) -> Iterator[VideoFrame]:
    """Yield the frames inside the segment, decoding from earlier where the first is not the one expected.

    A packet may be flagged as a keyframe and still need what came before: with periodic intra refresh, pictures are
    whole only after a whole refresh.
    """
    failed = tally.packets_failed
    for from_pts in _places_to_start(segment, info):
        frames = _inside(info, replace(segment, decode_from_pts=from_pts), tally, codec)
        first = next(frames, None)
        if from_pts is None or (first is not None and first.pts == segment.start_pts and not first.is_corrupt):
            yield from chain([first] if first is not None else [], frames)
            return
        frames.close()
        tally.packets_failed, tally.frames_deinterlaced = failed, 0


def _places_to_start(segment: Segment, info: VideoInfo) -> Iterator[int | None]:
    if segment.decode_from_pts is not None:
        for seconds in _SEEK_BACK_SECONDS:
            yield segment.decode_from_pts - int(seconds / info.time_base)
    yield None


def _inside(info: VideoInfo, segment: Segment, tally: Tally, codec: _Codec) -> Generator[VideoFrame, None, None]:
    """Yield decoded (and deinterlaced) frames that lie inside the segment."""
    frames = _of_one_size(_always_same(info, segment, tally, codec), info, segment)
    if info.container == "avi" or info.codec == "mpeg4":
        frames = in_order_of_time(frames)
    for frame in deinterlaced(frames, info, tally):
        if frame.pts is not None and segment.end_pts is not None and frame.pts >= segment.end_pts:
            return
        if frame.pts is None or segment.start_pts is None or frame.pts >= segment.start_pts:
            yield frame


def _of_one_size(frames: Iterator[VideoFrame], info: VideoInfo, segment: Segment) -> Iterator[VideoFrame]:
    """Yield frames as long as their size is the source's: nothing behind, filters least of all, meets another one."""
    for frame in frames:
        if frame.width != info.size.width or frame.height != info.size.height:
            if frame.pts is not None and segment.end_pts is not None and frame.pts >= segment.end_pts:
                return
            raise UnsupportedFormat(
                f"the picture changes from {info.size} to {frame.width}x{frame.height} at pts {frame.pts}; "
                "one size is expected"
            )
        yield frame


def _most_pixels(info: VideoInfo) -> int:
    """Return the largest picture that the decoder takes memory for; one that is larger at all is refused here."""
    return _ROOM * info.size.pixels


def _always_same(info: VideoInfo, segment: Segment, tally: Tally, codec: _Codec) -> Iterator[VideoFrame]:
    """Yield decoded frames; from the first sign of damage on by one thread.

    What FFmpeg fills the gap of a damaged H.264 picture with depends on how far its other threads are (seen in 4 of 100
    runs), and a picture has to be the same each time it is decoded: again after a crash, and in the audit.
    """
    failed, shown = tally.packets_failed, 0
    with closing(_decoded(info, segment, tally, codec)) as frames:
        for frame in frames:
            if (codec.has_failed or frame.is_corrupt) and codec.threads != 1 and codec.device == CPU:
                break
            shown += 1
            yield frame
        else:
            return
    tally.packets_failed = failed
    yield from islice(_decoded(info, segment, tally, _Codec(1, CPU)), shown, None)


def _decoded(info: VideoInfo, segment: Segment, tally: Tally, codec: _Codec) -> Generator[VideoFrame, None, None]:
    """Yield frames from the segment's keyframe on, the damaged ones too; what fails inside the segment is counted."""
    with open_source(Path(info.path), _hardware(codec.device, may_fall_back=True)) as container:
        stream = container.streams[info.stream_index]
        assert isinstance(stream, VideoStream)  # noqa: S101 - the probe chose it among the video streams
        check_codec(stream, info.path)
        bound_decoder(stream, _most_pixels(info))
        stream.thread_type = "AUTO"
        stream.thread_count = threads_for(info.size.pixels, codec.threads)
        stream.codec_context.flags |= _OUTPUT_CORRUPT
        packets = _packets_from(container, stream, segment.decode_from_pts)
        if packets is None:
            yield from _decoded(info, replace(segment, decode_from_pts=None), tally, codec)
            return
        if info.container == "avi":
            packets = _counted(packets)
        frames = _through_decoder(packets, stream, segment, tally, codec)
        yield from _from_first_whole(frames) if segment.decode_from_pts is None else frames


def _through_decoder(
    packets: Iterator[Packet[VideoStream]], stream: VideoStream, segment: Segment, tally: Tally, codec: _Codec
) -> Iterator[VideoFrame]:
    failed_in_a_row = 0
    for packet in packets:
        codec.has_failed |= packet.is_corrupt
        try:
            frames = stream.decode(packet)
        except av.error.EOFError:
            return
        except av.error.FFmpegError as err:
            codec.has_failed = True
            tally.packets_failed += packet.pts is None or segment.holds(packet.pts)
            failed_in_a_row += 1
            if failed_in_a_row > _MAX_FAILED_IN_A_ROW:
                raise SourceCorrupt(
                    f"{failed_in_a_row} packets in a row do not decode near pts {packet.pts}; "
                    f"at most {_MAX_FAILED_IN_A_ROW} are passed over"
                ) from err
            continue
        failed_in_a_row = 0 if frames else failed_in_a_row
        yield from frames


def _from_first_whole(frames: Iterator[VideoFrame]) -> Iterator[VideoFrame]:
    """Leave out damaged frames before the first whole one: a recording that starts inside a GOP shows only gray."""
    for frame in frames:
        if not frame.is_corrupt:
            yield frame
            break
    yield from frames


def _counted(packets: Iterator[Packet[VideoStream]]) -> Iterator[Packet[VideoStream]]:
    """Give AVI's packets their decoding times: AVI only counts frames, and presentation times are a wrong guess."""
    for packet in packets:
        packet.pts = packet.dts
        yield packet


def _packets_from(
    container: InputContainer, stream: VideoStream, from_pts: int | None
) -> Iterator[Packet[VideoStream]] | None:
    """Return packets from the keyframe at `from_pts` on, or None where the container cannot seek there.

    Containers index decoding times or byte positions, so landing right is checked, never assumed: one that
    lands behind the keyframe is asked again for an earlier place.
    """
    if from_pts is None:
        return _until_broken(beating(container.demux(stream)))
    for seconds in _SEEK_BACK_SECONDS:
        try:
            container.seek(from_pts - int(seconds / seconds_per_tick(stream)), stream=stream, backward=True)
        except av.error.FFmpegError:
            return None
        packets = _until_broken(beating(container.demux(stream)))
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


def planes_of(frame: VideoFrame, info: VideoInfo) -> tuple[Plane, ...]:
    """Return a frame's planes in the working format, as views into its memory where it has that format.

    Conversions name the range on both sides: left to itself, swscale takes some formats for full range and others not.
    """
    if frame.format.name.replace("yuvj", "yuv") != info.pixel_format:
        if frame.format.is_rgb or frame.format.has_palette:
            frame = frame.reformat(format=info.pixel_format, dst_colorspace="ITU709", dst_color_range=LIMITED)
        else:
            same = info.colour.range or LIMITED
            frame = frame.reformat(format=info.pixel_format, src_color_range=same, dst_color_range=same)
    return tuple(samples_of(plane, bits_of(info.pixel_format)) for plane in frame.planes)
