"""One frame of a source as a small JPEG, so that a person knows the file again.

It is turned and stretched as players show it; colours of HDR are brought to what a screen shows, roughly.
"""

from __future__ import annotations

import io
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av.error
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace
from av.video.stream import VideoStream
from numpy.typing import NDArray
from PIL import Image

from upscale_server.errors import NoVideo
from upscale_server.media.admission import MOST_PIXELS, admit, check_pixels
from upscale_server.media.probe import main_video
from upscale_server.media.pulse import beating
from upscale_server.media.source import open_source
from upscale_server.media.streams import rational, seconds_per_tick
from upscale_server.media.types import Size

LONGEST_SIDE = 640
_PLACE = 0.1
"""Of the whole: titles are over by then, and few films have ended."""
_FRAMES_TRIED = 60
_QUALITY = 85
_PQ, _HLG = 16, 18
_MATRICES = {1: Colorspace.ITU709, 5: Colorspace.ITU601, 6: Colorspace.ITU601, 7: Colorspace.SMPTE240M}
_BT2020_TO_BT709 = np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]])
"""Of linear light (ITU-R BT.2087)."""
_WHITE_NITS = 203.0
"""The level of a white sheet in HDR (ITU-R BT.2408)."""


def poster_of(path: Path, most_pixels: int = MOST_PIXELS) -> bytes:
    """Return a frame from about a tenth of the way as a JPEG with sides of at most `LONGEST_SIDE`.

    Raises:
        SourceError and its kinds: the file cannot be opened, or no frame of it decodes.
    """
    for place in (_PLACE, None):
        with open_source(path, most_pixels=most_pixels) as container:
            stream = main_video(container, path)
            admit(stream, path, most_pixels)
            frame = _frame_at(container, stream, place)
            if frame is not None:
                check_pixels(Size(frame.width, frame.height), path, most_pixels)
                return _jpeg(frame, rational(stream.sample_aspect_ratio) or Fraction(1))
    raise NoVideo(f"no frame of {path} can be shown")


def _frame_at(container: InputContainer, stream: VideoStream, place: float | None) -> VideoFrame | None:
    """Return the first whole frame from the keyframe before a place on; None is the beginning, found without seeking.

    An elementary stream, for one, has no times to seek by.
    """
    try:
        if place is not None:
            tick = seconds_per_tick(stream)
            length = stream.duration or (container.duration or 0) / av.time_base / tick
            container.seek(int((stream.start_time or 0) + length * place), stream=stream, backward=True)
        frames = islice(beating(container.decode(stream)), _FRAMES_TRIED)
        return next((frame for frame in frames if not frame.is_corrupt), None)
    except av.error.FFmpegError:
        return None


def _jpeg(frame: VideoFrame, sample_aspect: Fraction) -> bytes:
    width, height = frame.width * max(Fraction(1), sample_aspect), frame.height / min(Fraction(1), sample_aspect)
    shrink = min(Fraction(1), Fraction(LONGEST_SIDE) / max(width, height))
    size = max(2, round(width * shrink)), max(2, round(height * shrink))
    matrix = _MATRICES.get(int(frame.colorspace), Colorspace.ITU601)
    small = frame.reformat(*size, format="rgb48le", src_colorspace=matrix, dst_color_range=ColorRange.JPEG)
    pixels = small.to_ndarray().astype(np.float64) / 65_535
    if int(frame.color_trc) in (_PQ, _HLG):
        pixels = _shown(pixels, is_pq=int(frame.color_trc) == _PQ)
    image = Image.fromarray(np.round(pixels * 255).astype(np.uint8)).rotate(frame.rotation, expand=True)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()


def _shown(pixels: NDArray[np.float64], *, is_pq: bool) -> NDArray[np.float64]:
    """Return HDR of BT.2020 as a usual screen may show it: bright parts are pressed together, hues stay about right."""
    linear = (_light_of_pq(pixels) if is_pq else _light_of_hlg(pixels)) @ _BT2020_TO_BT709.T
    pressed = np.clip(linear, 0, None)
    pressed = pressed * (1 + pressed / 16) / (1 + pressed)  # Reinhard's curve; white is sixteen times the middle
    shown: NDArray[np.float64] = np.clip(1.5 * pressed, 0, 1) ** (1 / 2.2)
    return shown


def _light_of_pq(coded: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return light in units of white (SMPTE ST 2084)."""
    root = coded ** (1 / 78.84375)
    light: NDArray[np.float64] = np.clip(root - 0.8359375, 0, None) / (18.8515625 - 18.6875 * root)
    return 10_000 / _WHITE_NITS * light ** (1 / 0.1593017578125)


def _light_of_hlg(coded: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return light in units of white (ARIB STD-B67), as a screen of a thousand candela would show it."""
    scene = np.where(coded <= 0.5, coded**2 / 3, (np.exp((coded - 0.55991073) / 0.17883277) + 0.28466892) / 12)
    luma = (scene @ np.array([0.2627, 0.6780, 0.0593]))[..., None]
    light: NDArray[np.float64] = 1000 / _WHITE_NITS * scene * np.maximum(luma, 1e-6) ** 0.2
    return light
