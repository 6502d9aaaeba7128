"""Writes small films with every trait that a header can name; equal requests give equal bytes with one PyAV.

The shared clips of `clip_writer` are for what must come out well; these are for what may not.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import cast

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

_SOUND_CODECS = {
    "webm": "libopus", "mp3": "libmp3lame", "avi": "mp2", "mpegts": "mp2", "mpeg": "mp2", "wav": "pcm_s16le",
    "ogg": "libopus",
}  # fmt: skip
_CODEC_OPTIONS = {
    "libx264": {"preset": "ultrafast", "x264-params": "threads=1"},
    "libx265": {"preset": "ultrafast", "x265-params": "log-level=none:pools=1:frame-threads=1"},
    "libsvtav1": {"preset": "12", "svtav1-params": "lp=1"},
}
_BIT_EXACT = 0x00800000
_HERTZ = 48_000


@dataclass(frozen=True, slots=True)
class Film:
    """What is written; `pts` are in `time_base`, `colour` is primaries, transfer, matrix and range."""

    container: str = "mp4"
    codec: str = "libx264"
    width: int = 64
    height: int = 48
    count: int = 10
    rate: Fraction = Fraction(10)
    pixel_format: str = "yuv420p"
    options: Mapping[str, str] = field(default_factory=dict)
    container_options: Mapping[str, str] = field(default_factory=dict)
    pts: tuple[int, ...] = ()
    time_base: Fraction | None = None
    sample_aspect_ratio: Fraction | None = None
    colour: tuple[int, int, int, int] | None = None
    sounds: int = 0
    pictures: int = 1


def film(wanted: Film) -> bytes:
    """Return the file."""
    written = io.BytesIO()
    options = {"fflags": "+bitexact", **wanted.container_options}
    with av.open(written, "w", format=wanted.container, container_options=options) as out:
        pictures = [_picture(out, wanted) for _ in range(wanted.pictures)]
        sounds = [_sound(out, wanted) for _ in range(wanted.sounds)]
        for sound in sounds:
            _encode_sound(out, sound, wanted)
        for number in range(wanted.count):
            for picture in pictures:
                out.mux(picture.encode(_frame(number, wanted)))
        for picture in pictures:
            out.mux(picture.encode(None))
    return written.getvalue()


def pattern(number: int, width: int, height: int) -> np.ndarray:
    """Return a moving gradient, `(H, W, 3)` of uint8."""
    y, x = np.mgrid[0:height, 0:width]
    channels = [(x * 4 + number * 7) % 256, (y * 5 + number * 3) % 256, ((x + y) * 2 + number * 11) % 256]
    return np.stack(channels, -1).astype(np.uint8)


def _picture(out: OutputContainer, wanted: Film) -> VideoStream:
    stream = cast("VideoStream", out.add_stream(wanted.codec, rate=wanted.rate))
    stream.width, stream.height, stream.pix_fmt = wanted.width, wanted.height, wanted.pixel_format
    context = stream.codec_context
    context.options = {"threads": "1", **_CODEC_OPTIONS.get(wanted.codec, {}), **wanted.options}
    context.flags |= _BIT_EXACT
    if wanted.time_base is not None:
        context.time_base = wanted.time_base
    if wanted.sample_aspect_ratio is not None:
        context.sample_aspect_ratio = wanted.sample_aspect_ratio
    if wanted.colour is not None:
        context.color_primaries, context.color_trc, context.colorspace, context.color_range = wanted.colour
    return stream


def _sound(out: OutputContainer, wanted: Film) -> AudioStream:
    stream = cast("AudioStream", out.add_stream(_SOUND_CODECS.get(wanted.container, "aac"), rate=_HERTZ))
    stream.layout = "mono"
    return stream


def _encode_sound(out: OutputContainer, stream: AudioStream, wanted: Film) -> None:
    """Write a tone as long as the picture."""
    times = np.arange(_HERTZ * max(1, wanted.count) // max(1, int(wanted.rate))) / _HERTZ
    tone = (np.sin(2 * np.pi * 440 * times) * 8000).astype(np.int16)[None, :]
    frame = AudioFrame.from_ndarray(tone, format="s16", layout="mono")
    frame.sample_rate, frame.pts = _HERTZ, 0
    context = stream.codec_context
    resampler = AudioResampler(context.format, "mono", _HERTZ, frame_size=context.frame_size or 1024)
    for part in [*resampler.resample(frame), *resampler.resample(None)]:
        out.mux(stream.encode(part))
    out.mux(stream.encode(None))


def _frame(number: int, wanted: Film) -> VideoFrame:
    rgb = pattern(number, wanted.width, wanted.height)
    if wanted.pixel_format in ("rgba", "argb", "bgra") or "yuva" in wanted.pixel_format:
        alpha = np.linspace(0, 255, wanted.width).astype(np.uint8)
        frame = VideoFrame.from_ndarray(np.dstack([rgb, np.tile(alpha, (wanted.height, 1))]), "rgba")
    else:
        frame = VideoFrame.from_ndarray(rgb, "rgb24")
    if frame.format.name != wanted.pixel_format:
        frame = frame.reformat(format=wanted.pixel_format)
    frame.pts = wanted.pts[number] if wanted.pts else number
    if wanted.time_base is not None:
        frame.time_base = wanted.time_base
        frame.pts = wanted.pts[number] if wanted.pts else int(number / wanted.rate / wanted.time_base)
    return frame
