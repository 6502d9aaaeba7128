"""The one door through which FFmpeg opens files: local paths, allowed demuxers, named errors.

It never follows a reference to another file or to the network; reading streams belongs to `probe` and `decode`.
"""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import av
import av.error
from av.codec.hwaccel import HWAccel
from av.container import InputContainer

from upscale_server.errors import NotMedia, SourceNotFound, UnsupportedFormat
from upscale_server.media.admission import MOST_PIXELS, padded
from upscale_server.media.allowed import decoders

ALLOWED_DEMUXERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,gif,mxf,nut,ivf,h264,hevc,"
    "av1,obu,yuv4mpegpipe,dv"
)
"""Demuxers for files that hold their own media; playlists (hls, concat, dash, sdp) stay out."""

MOST_STREAMS = 500
"""A film with forty languages and three hundred fonts has fewer; each stream takes a decoder's memory."""

_OPTIONS = {
    "protocol_whitelist": "file",
    "format_whitelist": ALLOWED_DEMUXERS,
    "enable_drefs": "0",
    "max_streams": str(MOST_STREAMS + 1),
}

_PART = "try it in a player; an MP4 that was not downloaded to its end opens in none: fetch it again, whole"
"""The commonest case by far: the index of most MP4s stands at their end, and without it nothing of them can be read."""

_METADATA: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
"""PyAV 18 stops at tags that are no UTF-8 unless told otherwise; 19 replaces what it cannot read by itself."""


def _is_readable(path: Path) -> None:
    try:
        facts = path.stat()
    except FileNotFoundError as err:
        raise SourceNotFound(f"source {path} does not exist") from err
    except (OSError, ValueError) as err:  # a name that is too long, a folder that may not be entered, a null byte
        raise SourceNotFound(f"source {path} cannot be looked at: {err}") from err
    if not stat.S_ISREG(facts.st_mode):
        raise SourceNotFound(f"source {path} is not a file")
    if facts.st_size == 0:
        raise NotMedia(f"source {path} is empty")


def open_source(path: Path, hardware: HWAccel | None = None, *, most_pixels: int = MOST_PIXELS) -> InputContainer:
    """Open a media file for reading, with a device to decode on if there is one.

    FFmpeg decodes some pictures by itself to learn what the container does not say; none larger than `most_pixels`.

    Raises:
        SourceNotFound: no such file, or a directory.
        NotMedia: an empty file, or bytes that no demuxer knows.
        UnsupportedFormat: a playlist or a container outside the allow-list.
    """
    _is_readable(path)
    try:
        container: InputContainer = av.open(
            f"file:{path.absolute()}",
            options={"max_pixels": str(padded(most_pixels))},
            container_options=_OPTIONS | {"codec_whitelist": decoders()},
            hwaccel=hardware,
            **_METADATA,
        )
    except av.error.InvalidDataError as err:
        raise NotMedia(f"source {path} is no media file that can be read, or only a part of one", hint=_PART) from err
    except av.error.ArgumentError as err:
        raise UnsupportedFormat(
            f"source {path} is of a kind that is not opened (a playlist or a format outside the allow-list)"
        ) from err
    except PermissionError as err:
        raise SourceNotFound(f"source {path} cannot be read: permission denied") from err
    except av.error.FFmpegError as err:
        raise NotMedia(f"source {path} cannot be opened: {err.strerror}", hint=_PART) from err
    if len(container.streams) > MOST_STREAMS:
        container.close()
        raise UnsupportedFormat(f"source {path} has more than {MOST_STREAMS} streams")
    return container
