"""A source looked at for a person: the probe's facts, and what its time table says beside them.

It reads packets and a handful of frames, as `probe` does; what the findings mean to somebody is worded elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import av

from upscale_server.media.admission import MOST_PIXELS
from upscale_server.media.probe import probe_with_index
from upscale_server.media.source import open_source
from upscale_server.media.types import VideoInfo


@dataclass(frozen=True, slots=True)
class Looked:
    """What was found in a file.

    `late_seconds` is how long after the file's beginning its first picture is shown; `hidden_frames` are those that an
    edit list hides.
    """

    info: VideoInfo
    late_seconds: float
    hidden_frames: int


def look_at(path: Path, most_pixels: int = MOST_PIXELS) -> Looked:
    """Return what is in a video file.

    Raises:
        SourceError and its kinds: as `probe`.
    """
    probed = probe_with_index(path, most_pixels)
    with open_source(path) as container:
        begin = (container.start_time or 0) / av.time_base
    first = float(probed.index.pts[0] * probed.info.time_base) if probed.index.pts else begin
    return Looked(probed.info, max(0.0, first - begin), probed.index.discarded)
