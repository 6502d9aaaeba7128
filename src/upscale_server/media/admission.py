"""What a picture stream must be before a decoder meets it: an allowed codec, a size within the limit, few threads.

It opens and decodes nothing. The trap: PyAV takes any option and says nothing of those that do not apply, so that
`max_pixels` bounds its decoders only as an option of the stream's own codec context, set before the first packet.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from upscale_server.errors import CodecNotAllowed, TooManyPixels
from upscale_server.media.allowed import VIDEO
from upscale_server.media.streams import codec_of
from upscale_server.media.types import Size

MOST_PIXELS = 16_384 * 16_384
"""Where nobody says less: the largest side that encoders hold, squared; FFmpeg's own bound is about the same."""

_PADDED = Fraction(9, 8)
_PADDING_PIXELS = 128 * 8192
"""Decoders count whole blocks of up to 128 samples a side, and what a header cuts off; ours counts what is shown."""
_PIXELS_AT_ONCE = 1 << 27
_MOST_THREADS, _FEW_THREADS = 16, 4
"""FFmpeg takes no more than sixteen by itself. Each holds a picture of its own: of 8K, with 0.1 GB each, four do."""


def admit(stream: VideoStream, path: Path | str, most_pixels: int = MOST_PIXELS) -> None:
    """Let a stream's decoder have packets, within bounds.

    Args:
        stream: not decoded yet.
        path: what it is called in messages.
        most_pixels: of a picture.

    Raises:
        CodecNotAllowed: the codec is none that is decoded here.
        TooManyPixels: the header names a larger picture.
    """
    check_codec(stream, path)
    check_pixels(Size(stream.codec_context.width, stream.codec_context.height), path, most_pixels)
    bound_decoder(stream, most_pixels)


def check_codec(stream: VideoStream, path: Path | str) -> None:
    """Refuse what is decoded by none of the allowed decoders.

    Raises:
        CodecNotAllowed: so it is.
    """
    codec = codec_of(stream)
    if codec not in VIDEO:
        raise CodecNotAllowed(
            f"video stream {stream.index} of {path} is {codec}, which is not among the codecs that are decoded here",
            hint="convert it to one of these first, on a machine where a broken file can do no harm",
        )


def bound_decoder(stream: VideoStream, most_pixels: int) -> None:
    """Have the decoder itself refuse larger pictures, before it takes memory for them."""
    stream.codec_context.options = {"max_pixels": str(padded(most_pixels))}


def padded(most_pixels: int) -> int:
    """Return what decoders may count where so many pixels are shown."""
    return min(int(most_pixels * _PADDED) + _PADDING_PIXELS, 2**31 - 1)


def threads_for(pixels: int, asked: int) -> int:
    """Return how many threads a decoder may have; 0 leaves it to FFmpeg, which looks at the cores."""
    most = max(_FEW_THREADS, min(_MOST_THREADS, _PIXELS_AT_ONCE // max(1, pixels)))
    if asked:
        return min(asked, most)
    return 0 if most == _MOST_THREADS else min(len(os.sched_getaffinity(0)), most)


def check_pixels(size: Size, path: Path | str, most_pixels: int) -> None:
    """Refuse a picture that is larger than the limit.

    Raises:
        TooManyPixels: with the limit and its setting.
    """
    if size.pixels > most_pixels:
        raise TooManyPixels(
            f"source {path} is {size} ({size.pixels / 1e6:.1f} MP); the limit is {most_pixels / 1e6:.1f} MP, "
            "see UPSCALE_LIMITS__MAX_PIXELS"
        )


def of_size(frames: Iterable[VideoFrame], path: Path | str, most_pixels: int) -> Iterator[VideoFrame]:
    """Yield frames, each looked at: a stream may grow at any of them.

    Raises:
        TooManyPixels: one is larger than the limit.
    """
    for frame in frames:
        check_pixels(Size(frame.width, frame.height), path, most_pixels)
        yield frame
