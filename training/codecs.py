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

DECODER_OF = {
    "libx264": "h264",
    "libx265": "hevc",
    "libsvtav1": "libdav1d",
    "libvpx-vp9": "vp9",
    "mpeg2video": "mpeg2video",
}
FRAMES_PER_SECOND = 30


@dataclass(frozen=True, slots=True)
class Coding:
    """One encoder setting: for libvpx `preset` is its `cpu-used`; MPEG-2 has none, and `crf` is its fixed quantizer."""

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
    return coded_and_weighed(frames, coding)[0]


def coded_and_weighed(frames: list[VideoFrame], coding: Coding) -> tuple[list[VideoFrame], int]:
    """As `coded`; also return the bytes that the encoder spent.

    Raises:
        RuntimeError: as `coded`.
    """
    encoder = _encoder(frames[0], coding)
    decoder = _context(DECODER_OF[coding.codec], "r")
    packets = []
    for index, frame in enumerate(frames):
        frame.pts, frame.time_base = index, encoder.time_base
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    found = [frame for packet in packets for frame in decoder.decode(packet)] + decoder.decode(None)
    if len(found) != len(frames):
        message = f"{coding} returned {len(found)} frames of {len(frames)}"
        raise RuntimeError(message)
    return sorted(found, key=lambda frame: frame.pts or 0), sum(packet.size for packet in packets)


def _encoder(like: VideoFrame, coding: Coding) -> VideoCodecContext:
    encoder = _context(coding.codec, "w")
    encoder.width, encoder.height, encoder.pix_fmt = like.width, like.height, "yuv420p"
    encoder.time_base = Fraction(1, FRAMES_PER_SECOND)
    encoder.framerate = Fraction(FRAMES_PER_SECOND)
    encoder.thread_count = 1
    encoder.options = _options(coding)
    return encoder


def _options(coding: Coding) -> dict[str, str]:
    quality = str(coding.crf)
    if coding.codec == "mpeg2video":
        return {"qmin": quality, "qmax": quality}
    if coding.codec == "libvpx-vp9":
        return {"cpu-used": coding.preset, "crf": quality, "b": "0"}
    options = {"preset": coding.preset, "crf": quality}
    if coding.codec == "libx265":
        options |= {"x265-params": "log-level=error:pools=1:frame-threads=1"}
    if coding.codec == "libsvtav1":
        options |= {"svtav1-params": "lp=1"}
    return options


def _context(codec: str, mode: Literal["r", "w"]) -> VideoCodecContext:
    context = av.CodecContext.create(codec, mode)
    assert isinstance(context, VideoCodecContext)
    return context
