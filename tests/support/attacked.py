"""What tests of the guards around media need: the files that attack, and what an inmate of a cage tries.

It attacks nothing itself, and is imported behind the cage's door.
"""

from __future__ import annotations

import io
from pathlib import Path

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream

from tests.support.corpus.films import Film, film


def many_streams(count: int) -> bytes:
    """Return a Matroska file with so many sounds, of which one has a packet."""
    written = io.BytesIO()
    with av.open(written, "w", format="matroska") as out:
        streams = [out.add_stream("pcm_u8", rate=8000) for _ in range(count)]
        for stream in streams:
            assert isinstance(stream, AudioStream)
            stream.layout = "mono"
        frame = AudioFrame.from_ndarray(np.zeros((1, 80), np.uint8), "u8", "mono")
        frame.sample_rate, frame.pts = 8000, 0
        out.mux(streams[0].encode(frame))
    return written.getvalue()


def raw(width: int, height: int) -> bytes:
    """Return an elementary stream of five pictures of a size."""
    return film(Film("h264", width=width, height=height, count=5))


def takes(count: int) -> int:
    """Take so much memory, and say how much."""
    return len(bytes(count))


def writes(path: Path) -> int:
    """Write a file, and say how large it became."""
    path.write_bytes(bytes(5000))
    return path.stat().st_size
