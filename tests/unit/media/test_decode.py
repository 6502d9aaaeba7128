"""Tests for upscale_server.media.decode."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import bent_clips
from upscale_server.media.decode import decode_segment
from upscale_server.media.probe import probe
from upscale_server.media.types import Segment, Tally, VideoInfo

WHOLE = Segment(0, None, None, None)
AGAIN = 80
"""Threads that filled a gap by what was there at the moment made another picture in 2 to 7 of 100 runs."""


def pictures_of(info: VideoInfo, threads: int) -> tuple[list[tuple[int, str]], Tally]:
    """Decode a source; return each picture's time and hash, and what was counted."""
    tally = Tally()
    frames = decode_segment(info, WHOLE, tally, threads=threads)
    found = [(frame.pts, hashlib.sha256(b"".join(p.tobytes() for p in frame.planes)).hexdigest()) for frame in frames]
    return found, tally


@pytest.mark.parametrize(
    ("write", "suffix"), [(bent_clips.corrupt_transport_stream, ".ts"), (bent_clips.corrupt_packets, ".mkv")]
)
def test_damaged_pictures_are_the_same_each_time(write: Callable[[Path], Path], suffix: str, tmp_path: Path) -> None:
    """However many threads decode, and however often, a damaged source gives the same pictures and the same counts."""
    info = probe(write(tmp_path / f"damaged{suffix}"))
    expected = pictures_of(info, threads=1)
    assert expected[1].frames_damaged + expected[1].packets_failed

    for threads in (2, 4):
        for _ in range(AGAIN):
            assert expected == pictures_of(info, threads=threads)
