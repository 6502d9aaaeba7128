"""Small questions to PyAV's streams and frames, asked in one place because its type stubs answer some of them wrongly.

It reads properties only; opening and decoding belong elsewhere.
"""

from __future__ import annotations

from fractions import Fraction
from typing import cast

import numpy as np
from av.codec.context import CodecContext
from av.frame import Frame
from av.packet import Packet
from av.sidedata.sidedata import SideData, Type
from av.stream import Disposition, Stream
from av.video.frame import VideoFrame
from av.video.plane import VideoPlane

from upscale_server.media.types import Plane


def context_of(stream: Stream) -> CodecContext | None:
    """Return a stream's codec context; None for data, attachments and codecs without a decoder (the stubs deny it)."""
    return cast("CodecContext | None", stream.codec_context)


def codec_of(stream: Stream) -> str:
    """Return the name of a stream's codec as FFmpeg's descriptors have it, `none` where there is no decoder."""
    context = context_of(stream)
    return context.codec.canonical_name if context is not None else "none"


def kind_of(stream: Stream) -> str:
    """Return video, audio, subtitle, data, attachment or unknown."""
    return str(stream.type or "unknown")


def is_cover(stream: Stream) -> bool:
    """Tell whether a video stream is a single attached picture."""
    return bool(Disposition(stream.disposition) & Disposition.attached_pic)


def side_data_of(frame: VideoFrame, kind: Type) -> SideData | None:
    """Return a frame's side data of one kind (iterating gives entries with PyAV 18 and keys with 19)."""
    found: SideData | None = frame.side_data.get(kind)  # type: ignore[call-overload]  # the stubs say names
    return found


def rational(value: object) -> Fraction | None:
    """Return a ratio of FFmpeg's as a fraction: PyAV 18 has fractions and None, 19 its own type, 0/1 for unknown."""
    numerator, denominator = getattr(value, "numerator", 0), getattr(value, "denominator", 0)
    return Fraction(numerator, denominator) if numerator and denominator else None


def seconds_per_tick(timed: Stream | Packet[Stream] | Frame) -> Fraction:
    """Return the time base of a stream, packet or frame; a millisecond where none is known."""
    return rational(timed.time_base) or Fraction(1, 1000)


def samples_of(plane: VideoPlane, bits: int) -> Plane:
    """Return a plane's samples as a view into its memory, `(height, width)`, without the padding of its rows."""
    dtype = np.dtype("u1") if bits == 8 else np.dtype("<u2")
    samples = np.frombuffer(cast("bytes", plane), dtype)  # a plane is a buffer, which the stubs do not say
    rows = samples.reshape(plane.height, plane.line_size // dtype.itemsize)
    return cast("Plane", rows[:, : plane.width])
