"""What a picture stream must be before a decoder meets it, and that what archives hold is let in."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.corpus.films import Film, film
from upscale_server.errors import CodecNotAllowed, TooManyPixels
from upscale_server.media import admission
from upscale_server.media.admission import padded, threads_for
from upscale_server.media.allowed import VIDEO, decoders
from upscale_server.media.decoders import COMMON
from upscale_server.media.deinterlace import deinterlaced
from upscale_server.media.look import look_at
from upscale_server.media.poster import poster_of
from upscale_server.media.probe import probe
from upscale_server.media.source import open_source
from upscale_server.media.types import Tally

_8K = 8192 * 4320


def test_all_that_is_common_is_let_in() -> None:
    """What `upscale doctor` looks for is decoded; FFmpeg's names of two formats differ from ours."""
    assert [] == [name for name in COMMON if name not in VIDEO]
    assert {"h264", "hevc", "libdav1d", "aac", "mp3float", "srt", "pgssub"} <= set(decoders().split(","))


@pytest.mark.parametrize("codec", ["apac", "dxv", "exr", "flic", "hap", "magicyuv", "snow", "h264_cuvid"])
def test_what_nobody_needs_and_what_a_driver_parses_is_not(codec: str) -> None:
    """Most memory errors are found in these; a device's decoder is asked for by device, never by a file."""
    assert codec not in decoders().split(",")


@pytest.mark.parametrize("look", [probe, look_at, poster_of], ids=lambda look: look.__name__)
def test_every_way_into_a_file_is_bounded(look: object, tmp_path: Path) -> None:
    """Probe, look and poster refuse a picture over the limit and a codec outside the list, by name."""
    assert callable(look)
    small, rare = tmp_path / "a.mp4", tmp_path / "b.avi"
    small.write_bytes(film(Film(count=2)))
    rare.write_bytes(film(Film("avi", "asv1", count=2)))

    look(small, 64 * 48)
    with pytest.raises(TooManyPixels, match="64x48"):
        look(small, 64 * 48 - 1)
    with pytest.raises(CodecNotAllowed, match="asv1"):
        look(rare)


def test_sound_that_is_not_decoded_is_carried_all_the_same(tmp_path: Path) -> None:
    """A codec outside the list is refused for pictures alone: other tracks are only copied."""
    path = tmp_path / "a.mkv"
    path.write_bytes(film(Film("matroska", count=2, sounds=2)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("upscale_server.media.source.decoders", lambda: "h264")
        with open_source(path) as opened:
            packets = [packet.size for packet in opened.demux(opened.streams.audio[0])]

    assert len(packets) > 2


@pytest.mark.parametrize(
    ("threads", "pixels", "asked"),
    [(0, 1920 * 1080, 0), (8, 1920 * 1080, 8), (16, 640 * 480, 64), (4, _8K, 32), (2, _8K, 2), (0, 0, 0)],
)
def test_large_pictures_get_few_threads(threads: int, pixels: int, asked: int) -> None:
    """Each thread holds a picture; small ones are left to FFmpeg."""
    assert threads == threads_for(pixels, asked)


def test_threads_of_large_pictures_are_no_more_than_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody asks for a number, two cores get two."""
    monkeypatch.setattr(admission.os, "sched_getaffinity", lambda _: {0, 1})

    assert 2 == threads_for(_8K, 0)


def test_decoders_may_count_what_a_header_cuts_off() -> None:
    """A coded picture is larger than what is shown; FFmpeg's number has 31 bits."""
    assert _8K < padded(_8K) < _8K * 5 // 4
    assert 2**31 - 1 == padded(2**31)


def test_interlaced_pictures_that_change_their_format_get_a_filter_of_their_own(tmp_path: Path) -> None:
    """The filter holds memory for one format: after a change, the frames before and behind it all come out."""
    path, fields = tmp_path / "a.h264", {"x264-params": "tff=1:threads=1"}
    parts = [
        film(Film("h264", height=64, count=4, pixel_format=pixel_format, options=fields))
        for pixel_format in ("yuv420p", "yuv422p")
    ]
    path.write_bytes(b"".join(parts))
    info, tally = probe(path), Tally()

    with open_source(path) as opened:
        formats = [frame.format.name for frame in deinterlaced(opened.decode(video=0), info, tally)]

    assert ["yuv420p"] * 4 + ["yuv422p"] * 4 == formats
    assert 8 == tally.frames_deinterlaced
