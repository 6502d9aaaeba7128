"""What a stream's own headers say and PyAV does not show: where chroma samples sit, whether pictures may be interlaced.

FFmpeg's `trace_headers` filter spells the headers out as log lines; nothing is decoded. The trap: FFmpeg has one log
for the whole process, and PyAV takes the interpreter's lock for every line while somebody listens. Where another thread
closes an encoder meanwhile, which waits for the encoder's own threads with that lock held, one of these may wait for
the lock to write a line, for ever. So a process that probes does not encode at the same time: the servers' desk does
the one, the lanes the other.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import av.error
import av.logging
from av.bitstream import BitStreamFilterContext

from upscale_server.media.pulse import beating
from upscale_server.media.source import open_source
from upscale_server.media.streams import codec_of

_PACKETS_LOOKED_AT = 60  # a broadcast recording may begin in the middle of a GOP, up to two seconds before its headers
_LOCATIONS = ("left", "center", "topleft", "top", "bottomleft", "bottom")
_AV1_LOCATIONS = {1: "left", 2: "topleft"}
_SHOWN_ONCE = {
    "h264": "frame_mbs_only_flag",
    "hevc": "vui_parameters_present_flag",
    "av1": "seq_profile",
    "mpeg2video": "progressive_sequence",
}
"""A field by which each codec's sequence header is known to have been met."""
_FRAMES_ONLY = {"h264": "frame_mbs_only_flag", "mpeg2video": "progressive_sequence"}
_MAY_INTERLACE = ("mpeg4", "vc1", "dvvideo")
"""Codecs whose frames are flagged one by one and whose headers `trace_headers` does not read."""


@dataclass(frozen=True, slots=True)
class Headers:
    """`chroma_location` is empty where the headers do not say."""

    chroma_location: str = ""
    may_interlace: bool = False


def read_headers(path: Path, stream_index: int) -> Headers:
    """Read the sequence headers of a video stream."""
    with open_source(path) as container:
        codec = codec_of(container.streams[stream_index])
    if codec not in _SHOWN_ONCE:
        return Headers(may_interlace=codec in _MAY_INTERLACE)
    fields = _fields(path, stream_index, _SHOWN_ONCE[codec])
    frames_only = fields.get(_FRAMES_ONLY.get(codec, ""), 1)
    return Headers(_location(fields), may_interlace=not frames_only)


def _location(fields: dict[str, int]) -> str:
    if "chroma_sample_position" in fields:
        return _AV1_LOCATIONS.get(fields["chroma_sample_position"], "")
    value = fields.get("chroma_sample_loc_type_top_field", len(_LOCATIONS))
    return _LOCATIONS[value] if value < len(_LOCATIONS) else ""


def _fields(path: Path, stream_index: int, until: str) -> dict[str, int]:
    """Return the named numbers of the first headers, up to the packet in which the field `until` is met."""
    fields: dict[str, int] = {}
    # A stream whose headers cannot be read says nothing, which is an answer.
    with suppress(av.error.FFmpegError, ValueError):
        for line in _trace(path, stream_index):
            found = re.search(r"(\w+)\s+[01]+ = (\d+)\s*$", line)
            if found is not None:
                fields.setdefault(found[1], int(found[2]))
            elif line == _END_OF_PACKET and until in fields:
                break
    return fields


_END_OF_PACKET = ""
_one_at_a_time = threading.Lock()


@contextmanager
def _listening() -> Iterator[None]:
    """Have FFmpeg's log written while this lasts; one thread at a time, or one would restore what another has set.

    For as short as can be: whatever other threads' codecs say meanwhile is listened to, too.
    """
    with _one_at_a_time:
        level = av.logging.get_level()
        av.logging.set_level(av.logging.INFO)
        try:
            yield
        finally:
            av.logging.set_level(level)


def _trace(path: Path, stream_index: int) -> Iterator[str]:
    """Yield log lines, and an empty one after each packet."""
    with open_source(path) as container:
        stream = container.streams[stream_index]
        with av.logging.Capture() as lines:
            reader = BitStreamFilterContext("trace_headers", stream)
            for packet in islice(beating(container.demux(stream)), _PACKETS_LOOKED_AT):
                with _listening():
                    reader.filter(packet)
                yield from (line[2] for line in lines)
                lines.clear()
                yield _END_OF_PACKET
