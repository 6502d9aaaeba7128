"""Send frames through real video encoders and back, in memory.

It does not choose what to film or how to degrade: see `training.clips`.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import av
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation

DECODER_OF = {"libx264": "h264", "libx265": "hevc", "libsvtav1": "libdav1d"}
FRAMES_PER_SECOND = 30


@dataclass(frozen=True, slots=True)
class Coding:
    """One encoder setting."""

    codec: str
    preset: str
    crf: int


SUBNET = Coding("libx264", "ultrafast", 23)
"""The setting that most degraded sources in the target use have (MODELS research, section 3.1)."""


def reduced(frame: VideoFrame, scale: int) -> VideoFrame:
    """Reduce a frame as `ffmpeg -vf scale=iw/SCALE:ih/SCALE` does: swscale, bicubic."""
    width, height = frame.width // scale, frame.height // scale
    return frame.reformat(width, height, "yuv420p", interpolation=Interpolation.BICUBIC)


def coded(frames: list[VideoFrame], coding: Coding) -> list[VideoFrame]:
    """Encode frames (yuv420p, equal size) and return what a decoder makes of them, in order.

    Raises:
        RuntimeError: the decoder returned another number of frames.
    """
    encoder = _encoder(frames[0], coding)
    decoder = _context(DECODER_OF[coding.codec], "r")
    found: list[VideoFrame] = []
    for index, frame in enumerate(frames):
        frame.pts, frame.time_base = index, encoder.time_base
        for packet in encoder.encode(frame):
            found += decoder.decode(packet)
    for packet in encoder.encode(None):
        found += decoder.decode(packet)
    found += decoder.decode(None)
    if len(found) != len(frames):
        message = f"{coding} returned {len(found)} frames of {len(frames)}"
        raise RuntimeError(message)
    return sorted(found, key=lambda frame: frame.pts or 0)


def _encoder(like: VideoFrame, coding: Coding) -> VideoCodecContext:
    encoder = _context(coding.codec, "w")
    encoder.width, encoder.height, encoder.pix_fmt = like.width, like.height, "yuv420p"
    encoder.time_base = Fraction(1, FRAMES_PER_SECOND)
    encoder.framerate = Fraction(FRAMES_PER_SECOND)
    encoder.thread_count = 1
    encoder.options = {"preset": coding.preset, "crf": str(coding.crf)}
    if coding.codec == "libx265":
        encoder.options |= {"x265-params": "log-level=error:pools=1:frame-threads=1"}
    if coding.codec == "libsvtav1":
        encoder.options |= {"svtav1-params": "lp=1"}
    return encoder


def _context(codec: str, mode: Literal["r", "w"]) -> VideoCodecContext:
    context = av.CodecContext.create(codec, mode)
    assert isinstance(context, VideoCodecContext)
    return context
