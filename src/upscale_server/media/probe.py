"""What is in a file: facts for a plan, each read from the stream itself where it can be.

It decodes a handful of frames and reads every packet's time; it changes nothing and decides nothing.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import av.error
from av.container import InputContainer
from av.sidedata.sidedata import Type
from av.stream import Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from upscale_server.errors import CodecNotAllowed, NoVideo, SourceCorrupt
from upscale_server.media.admission import MOST_PIXELS, admit, of_size
from upscale_server.media.formats import FormatFacts, facts_of
from upscale_server.media.hdr import has_dynamic_hdr, hdr_of
from upscale_server.media.headers import read_headers
from upscale_server.media.index import PacketIndex, index_packets, varies
from upscale_server.media.pulse import beating
from upscale_server.media.source import open_source
from upscale_server.media.streams import (
    codec_of,
    context_of,
    is_cover,
    kind_of,
    rational,
    seconds_per_tick,
    side_data_of,
)
from upscale_server.media.types import Colour, Size, StreamInfo, VideoInfo

_FRAMES_LOOKED_AT = 6  # enough to meet one interlaced picture behind a progressive leader
_ESTIMATE = 0.98
_SLACK_SECONDS = 0.25  # whole files of a second were seen to name 0.07 s too much: the end of the sound's last packet
_PROGRESSIVE = (0, 1)  # AVFieldOrder: unknown, progressive
_RGB_TAGS = Colour(matrix=1, range=1)  # what `decode` makes of an RGB source: BT.709, limited


@dataclass(frozen=True, slots=True)
class Probed:
    """A file's facts and the time table they were counted from."""

    info: VideoInfo
    index: PacketIndex


def probe(path: Path, most_pixels: int = MOST_PIXELS) -> VideoInfo:
    """Return the facts of a video file whose pictures have at most so many pixels.

    Raises:
        TooManyPixels: they have more.
        SourceNotFound, NotMedia, UnsupportedFormat: the file cannot be opened.
        NoVideo: no video stream, or one without a frame.
        CodecNotAllowed: no decoder, or none that is allowed, or encrypted packets.
    """
    return probe_with_index(path, most_pixels).info


def probe_with_index(path: Path, most_pixels: int = MOST_PIXELS) -> Probed:
    """Return the facts and the time table; raises as `probe` does."""
    with open_source(path, most_pixels=most_pixels) as container:
        stream = main_video(container, path)
        admit(stream, path, most_pixels)
        index = index_packets(container, stream)
        if index.encrypted:
            raise CodecNotAllowed(f"video stream {stream.index} of {path} is encrypted")
    with open_source(path, most_pixels=most_pixels) as container:
        stream = main_video(container, path)
        admit(stream, path, most_pixels)
        frames = list(of_size(_first_frames(container, stream, path), path, most_pixels))
        return Probed(_describe(path, container, stream, frames, index), index)


def main_video(container: InputContainer, path: Path) -> VideoStream:
    """Return the video stream that is upscaled: the largest that is no cover art.

    Raises:
        NoVideo: there is none.
        CodecNotAllowed: this build has no decoder for it.
    """
    pictures = [stream for stream in container.streams.video if not is_cover(stream)]
    if not pictures:
        kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "no stream at all"
        raise NoVideo(f"{path} has no video stream ({kinds})")
    stream = max(pictures, key=_area)
    if context_of(stream) is None:
        raise CodecNotAllowed(f"video stream {stream.index} of {path} has a codec that is unknown here")
    return stream


def _area(stream: VideoStream) -> int:
    return stream.codec_context.width * stream.codec_context.height if context_of(stream) is not None else 0


def _first_frames(container: InputContainer, stream: VideoStream, path: Path) -> list[VideoFrame]:
    frames: list[VideoFrame] = []
    try:
        for packet in beating(container.demux(stream)):
            try:
                frames.extend(stream.decode(packet))
            except av.error.InvalidDataError:
                continue
            if len(frames) >= _FRAMES_LOOKED_AT:
                break
    except av.error.DecoderNotFoundError as err:
        raise CodecNotAllowed(f"no decoder for video stream {stream.index} of {path}") from err
    except av.error.FFmpegError as err:
        if not frames:
            raise SourceCorrupt(f"video stream {stream.index} of {path} cannot be read: {err.strerror}") from err
    if not frames:
        raise NoVideo(f"no frame of video stream {stream.index} of {path} can be decoded")
    return frames


def _describe(
    path: Path, container: InputContainer, stream: VideoStream, frames: list[VideoFrame], index: PacketIndex
) -> VideoInfo:
    first = frames[0]
    facts = facts_of(first.format.name)
    headers = read_headers(path, stream.index)
    time_base = seconds_per_tick(stream)
    interlaced = stream.codec_context.field_order not in _PROGRESSIVE or any(f.interlaced_frame for f in frames)
    matrix = _display_matrix(first)
    part_there, truncation = _truncation(container, index, stream)
    return VideoInfo(
        path=str(path),
        container=container.format.name,
        stream_index=stream.index,
        codec=stream.codec_context.codec.canonical_name,
        size=Size(first.width, first.height),
        pixel_format=facts.working,
        pixel_format_of_source=first.format.name,
        bits=facts.bits,
        time_base=time_base,
        average_rate=_rate(stream, index, time_base),
        sample_aspect_ratio=rational(stream.sample_aspect_ratio),
        rotation=first.rotation if matrix else 0,
        display_matrix=matrix,
        colour=_colour(first, facts, headers.chroma_location),
        hdr=hdr_of(first),
        interlaced=interlaced,
        may_interlace=interlaced or headers.may_interlace,
        variable_rate=varies(index, time_base),
        timed=bool(index.pts),
        frame_count=len(index.pts) + index.untimed_first,
        frame_count_from_header=stream.frames,
        duration_seconds=_duration(index, time_base),
        byte_count=path.stat().st_size,
        modified_ns=path.stat().st_mtime_ns,
        bit_rate=container.bit_rate,
        chapter_count=len(container.chapters()),
        streams=tuple(_stream_info(other) for other in container.streams if other.index != stream.index),
        metadata=dict(container.metadata),
        warnings=(*_warnings(facts, frames, index, stream, interlaced=interlaced), *truncation),
        part_there=part_there,
    )


def _rate(stream: VideoStream, index: PacketIndex, time_base: Fraction) -> Fraction:
    """Return a nominal rate for encoders' rate control; never used to compute a time."""
    nominal = rational(stream.average_rate)
    if nominal is not None:
        return nominal
    seconds = _duration(index, time_base)
    return Fraction(len(index.pts) / seconds).limit_denominator(1001) if seconds > 0 else Fraction(25)


def _duration(index: PacketIndex, time_base: Fraction) -> float:
    if not index.pts:
        return 0.0
    return float((index.pts[-1] - index.pts[0] + index.last_duration) * time_base)


def _colour(frame: VideoFrame, facts: FormatFacts, chroma_location: str) -> Colour:
    if facts.rgb:
        return Colour(int(frame.color_primaries), int(frame.color_trc), _RGB_TAGS.matrix, _RGB_TAGS.range)
    return Colour(
        primaries=int(frame.color_primaries),
        transfer=int(frame.color_trc),
        matrix=int(frame.colorspace),
        range=2 if facts.full_range_by_name else int(frame.color_range),
        chroma_location=chroma_location if facts.working.startswith("yuv420") else "",
    )


def _display_matrix(frame: VideoFrame) -> tuple[int, ...]:
    matrix = side_data_of(frame, Type.DISPLAYMATRIX)
    return struct.unpack_from("=9i", bytes(matrix)) if matrix is not None else ()


def _stream_info(stream: Stream) -> StreamInfo:
    return StreamInfo(
        index=stream.index,
        kind=kind_of(stream),
        codec=codec_of(stream),
        language=stream.metadata.get("language", ""),
        title=stream.metadata.get("title", ""),
        attached_picture=is_cover(stream),
    )


def _warnings(
    facts: FormatFacts, frames: list[VideoFrame], index: PacketIndex, stream: VideoStream, *, interlaced: bool
) -> list[tuple[str, str]]:
    found = []
    if interlaced:
        found.append(("deinterlaced", "the source is interlaced; bwdif makes one full frame of each frame"))
    if facts.alpha or stream.metadata.get("alpha_mode") == "1":  # VP9 and VP8: a layer that this decoder skips
        found.append(("alpha_dropped", "the video's alpha channel cannot be encoded and is left out"))
    if facts.bits_of_source > 10:
        found.append(("bit_depth_reduced", f"{facts.bits_of_source} bits a sample are kept as 10"))
    if facts.rgb:
        found.append(("rgb_converted", "RGB samples are kept as Y'CbCr 4:4:4, BT.709, limited range"))
    if any(has_dynamic_hdr(frame) for frame in frames):
        found.append(("dynamic_hdr_dropped", "HDR10+ or Dolby Vision metadata is left out; the HDR10 base stays"))
    if any(side_data_of(frame, Type.A53_CC) is not None for frame in frames):
        found.append(("closed_captions_dropped", "closed captions inside the video stream are left out"))
    if not index.reliable:
        found.append(("timestamps_incomplete", "some packets have no time of their own; decoded in one piece"))
    return found


def _truncation(
    container: InputContainer, index: PacketIndex, stream: VideoStream
) -> tuple[float, list[tuple[str, str]]]:
    """Return the part that is there of what the header declares, and say so when the file ends before."""
    there = len(index.pts) + index.untimed_first + index.discarded
    # QuickTime's header lists every sample; other containers' counts are an author's estimate.
    exact = "mov" in container.format.name
    if index.ends_early or there < stream.frames * (1 if exact else _ESTIMATE):
        part = _part_there(index, stream, there, timed=exact)
        return part, [("source_truncated", f"{there} of {stream.frames} frames declared are there")]
    declared = (container.duration or 0) / av.time_base
    begin = (container.start_time or 0) / av.time_base
    if not _ends_before(index, stream, begin + declared):
        return 1.0, []
    there_seconds = _end_of_all(container) - begin
    # Matroska's header names the end and others the length; with a late start the shorter one is meant.
    whole = declared - begin if 0 < begin < declared else declared
    if there_seconds >= whole * _ESTIMATE:
        return 1.0, []
    said = f"the file ends after {there_seconds:.2f} s of the {whole:.2f} s that its header names"
    part = 1.0 if exact and stream.frames else min(1.0, (there_seconds + _SLACK_SECONDS) / whole)
    return part, [("source_truncated", said)]


def _part_there(index: PacketIndex, stream: VideoStream, there: int, *, timed: bool) -> float:
    """Return the part of the frames, or of the time where that is more: an edit list hides frames of a whole file.

    `timed` tells whether the header says how long it is; of an AVI, FFmpeg reckons that from the bytes that are there.
    """
    if not stream.frames or not index.pts:
        return 1.0
    shown = index.pts[-1] + index.last_duration - index.pts[0]
    return min(1.0, max(there / stream.frames, shown / stream.duration if timed and stream.duration else 0.0))


def _ends_before(index: PacketIndex, stream: VideoStream, moment: float) -> bool:
    return bool(index.pts) and (index.pts[-1] + index.last_duration) * seconds_per_tick(stream) < moment * _ESTIMATE


def _end_of_all(container: InputContainer) -> float:
    """Return when the last packet of any stream ends: a picture may end before its sound."""
    end = 0.0
    with open_source(Path(container.name.removeprefix("file:"))) as again:
        for packet in beating(again.demux()):
            if packet.pts is not None:
                end = max(end, float((packet.pts + (packet.duration or 0)) * seconds_per_tick(packet)))
    return end
