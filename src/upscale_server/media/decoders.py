"""Which decoders there are of those that sources need.

It decodes one frame to see that anything does; the work is done by `decode`.
"""

from __future__ import annotations

from pathlib import Path

import av
import av.error
from av.codec import Codec

COMMON = (
    "h264", "hevc", "av1", "vp9", "vp8", "mpeg4", "mpeg2video", "mpeg1video", "vc1", "wmv3", "prores", "dnxhd",
    "mjpeg", "dvvideo", "theora", "ffv1", "rawvideo",
)  # fmt: skip
"""What cameras, discs, broadcasts, browsers and editors write, by FFmpeg's names of the formats."""


def decoder_exists(codec: str) -> bool:
    """Tell whether this FFmpeg has a decoder of a format; many open only with a stream's own header."""
    try:
        Codec(codec, "r")
    except (av.error.FFmpegError, ValueError):
        return False
    return True


def decodes(path: Path) -> bool:
    """Tell whether the first picture of a video comes out."""
    try:
        with av.open(str(path)) as file:
            return next(file.decode(video=0), None) is not None
    except (av.error.FFmpegError, OSError):
        return False
