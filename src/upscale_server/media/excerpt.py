"""A few seconds of a video as a file of its own that is exact: cut, made smaller or converted, and never lossy.

Which part of which video is wanted is decided by `preview`; enlarging it is the pipeline's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
from av.container import OutputContainer
from av.video.stream import VideoStream

from upscale_server.disk import check_room, naming_write_faults
from upscale_server.errors import SourceCorrupt
from upscale_server.events import FramesDone, Observer, PhaseStarted, ignore
from upscale_server.media.convert import converted
from upscale_server.media.decode import decode_segment
from upscale_server.media.fit import chroma_offset, resample_bicubic
from upscale_server.media.formats import bits_of, subsampling_of
from upscale_server.media.streams import samples_of
from upscale_server.media.types import LIMITED, Colour, Frame, Plane, Segment, Size, Tally, VideoInfo


@dataclass(frozen=True, slots=True)
class Area:
    """A part of a picture, 1:1; left and top are even, so that chroma is cut where luma is."""

    left: int
    top: int
    size: Size


@dataclass(frozen=True, slots=True)
class Excerpt:
    """What is written: frames of a segment, the area of each, in a pixel format, `shrink` times smaller.

    An 8-bit excerpt of a deeper source, or any with `shrink` over 1, is in limited range, as its pixel format says.
    """

    info: VideoInfo
    segment: Segment
    area: Area
    pixel_format: str
    shrink: int = 1


def write_excerpt(excerpt: Excerpt, path: Path, observer: Observer = ignore) -> None:
    """Write an excerpt as FFV1 in MP4: every sample, time and colour tag exact; its first frame is at zero.

    Making smaller is antialiased bicubic (see `fit.resample_bicubic`) with the siting of chroma kept. The area's sides
    must be multiples of `shrink`, and what comes out even.

    Raises:
        SourceError and its kinds: the source cannot be decoded, or nothing of it is inside the segment.
        DiskFull, StorageError: it cannot be written.
    """
    observer(PhaseStarted("excerpt", 0))
    colour = _colour_of(excerpt)
    count = 0
    with naming_write_faults(path), av.open(str(path), "w", format="mp4", options=_OPTIONS) as out:
        stream: VideoStream | None = None
        start = 0
        with closing(decode_segment(excerpt.info, excerpt.segment, Tally())) as frames:
            for frame in _made(frames, excerpt, colour):
                check_room(path.parent)
                if stream is None:
                    stream, start = _opened(out, excerpt, colour), frame.pts
                out.mux(stream.encode(_picture(frame, excerpt, start)))
                count += 1
                observer(FramesDone(1))
        if stream is not None:
            out.mux(stream.encode(None))
    if not count:
        path.unlink(missing_ok=True)
        raise SourceCorrupt(f"no frame of the excerpt of {excerpt.info.path} decodes")


_OPTIONS = {"strict": "experimental", "fflags": "+bitexact"}
"""MP4 is the one container here that holds FFV1 with exact times, aspect, rotation and colour tags; Matroska rounds
times to milliseconds and NUT loses the tags."""


def _colour_of(excerpt: Excerpt) -> Colour:
    colour = excerpt.info.colour
    return colour if excerpt.pixel_format == excerpt.info.pixel_format else replace(colour, range=LIMITED)


def _made(frames: Iterator[Frame], excerpt: Excerpt, colour: Colour) -> Iterator[Frame]:
    for frame in frames:
        cut = replace(frame, planes=_cut(frame, excerpt.area))
        yield _shrunk(converted(cut, excerpt.pixel_format, excerpt.info.colour, colour), excerpt.shrink, colour)


def _cut(frame: Frame, area: Area) -> tuple[Plane, ...]:
    across, down = subsampling_of(frame.pixel_format)
    shares = [(1, 1)] + [(across, down)] * (len(frame.planes) - 1)
    return tuple(
        plane[
            area.top // y : area.top // y - (-area.size.height // y),
            area.left // x : area.left // x - (-area.size.width // x),
        ]
        for plane, (x, y) in zip(frame.planes, shares, strict=True)
    )


def _shrunk(frame: Frame, by: int, colour: Colour) -> Frame:
    if by == 1:
        return frame
    bits, subsampling = bits_of(frame.pixel_format), subsampling_of(frame.pixel_format)
    scale = (1 / by, 1 / by)
    offset = chroma_offset(colour.chroma_location, subsampling, *scale)
    luma, *chroma = frame.planes
    planes = (
        resample_bicubic(luma, _divided(luma, by), bits=bits, scale=scale),
        *(resample_bicubic(one, _divided(one, by), bits=bits, offset=offset, scale=scale) for one in chroma),
    )
    return replace(frame, planes=planes)


def _divided(plane: Plane, by: int) -> Size:
    return Size(plane.shape[1] // by, plane.shape[0] // by)


def _opened(out: OutputContainer, excerpt: Excerpt, colour: Colour) -> VideoStream:
    info, size = excerpt.info, excerpt.area.size
    stream = out.add_stream("ffv1", rate=info.average_rate)
    assert isinstance(stream, VideoStream)  # noqa: S101 - FFV1 is a video codec
    context = stream.codec_context
    context.width, context.height = size.width // excerpt.shrink, size.height // excerpt.shrink
    context.pix_fmt = excerpt.pixel_format
    context.time_base = Fraction(1, info.time_base.denominator)
    context.color_primaries, context.color_trc = colour.primaries, colour.transfer
    context.colorspace, context.color_range = colour.matrix, colour.range
    if info.sample_aspect_ratio:
        context.sample_aspect_ratio = info.sample_aspect_ratio
    if info.display_matrix:
        stream.set_display_matrix(info.display_matrix)
    return stream


def _picture(frame: Frame, excerpt: Excerpt, start: int) -> av.VideoFrame:
    height, width = frame.planes[0].shape
    picture = av.VideoFrame(width, height, frame.pixel_format)
    for plane, samples in zip(picture.planes, frame.planes, strict=True):
        samples_of(plane, bits_of(frame.pixel_format))[:] = samples
    picture.pts = (frame.pts - start) * excerpt.info.time_base.numerator
    picture.time_base = Fraction(1, excerpt.info.time_base.denominator)
    return picture
