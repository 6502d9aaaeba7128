"""An excerpt is exact: its frames, times and tags are the source's, and what is made smaller is the textbook's."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tests.support.clip_spec import BT709, BT709_FULL, BT2020_PQ, Clip, Picture
from tests.support.clip_writer import write_clip
from tests.support.inspect_media import contents_of
from tests.support.kernels import resampled
from upscale_server import disk
from upscale_server.errors import DiskFull, SourceCorrupt
from upscale_server.media.excerpt import Area, Excerpt, write_excerpt
from upscale_server.media.probe import probe
from upscale_server.media.types import Segment, Size

UNEVEN = (0, 33, 67, 100, 450, 455, 460, 900)


def _lumas(path: Path) -> list[np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]:
    with av.open(str(path)) as file:
        return [frame.to_ndarray()[: frame.height, : frame.width] for frame in file.decode(video=0)]


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p", "yuv420p10le"])
def test_cut_frames_keep_every_sample_and_time(pixel_format: str, tmp_path: Path) -> None:
    """The middle of some frames comes out bit for bit, uneven times included, counted from the first."""
    picture = Picture(pixel_format=pixel_format, times=UNEVEN, time_base=Fraction(1, 1000), options={"bf": "2"})
    source = write_clip(Clip(suffix=".mkv", pictures=(picture,)), tmp_path / "clip.mkv")
    info = probe(source)
    area = Area(8, 4, Size(64, 48))

    write_excerpt(Excerpt(info, Segment(0, 67, 900, None), area, pixel_format), tmp_path / "excerpt.mp4")

    kept = contents_of(tmp_path / "excerpt.mp4").shown
    whole = contents_of(source).shown[2:7]
    assert [Fraction(one - 67, 1000) for one in UNEVEN[2:7]] == [one.time for one in kept]
    for before, after in zip(whole, kept, strict=True):
        assert np.array_equal(before.planes[0][4:52, 8:72], after.planes[0])
        across, down = 2, 2 if "420" in pixel_format else 1
        cut = before.planes[1][4 // down : 52 // down, 8 // across : 72 // across]
        assert np.array_equal(cut, after.planes[1])


@pytest.mark.slow
def test_tags_rotation_and_aspect_are_kept(tmp_path: Path) -> None:
    """What is worked on next is shown as the source is."""
    picture = Picture(
        codec="libx265", pixel_format="yuv420p10le", colour=BT2020_PQ, rotation=90,
        sample_aspect_ratio=Fraction(16, 15), options={"x265-params": "log-level=none"},
    )  # fmt: skip
    info = probe(write_clip(Clip(pictures=(picture,)), tmp_path / "clip.mp4"))
    whole = Area(0, 0, info.size)

    write_excerpt(Excerpt(info, Segment(0, None, None, None), whole, info.pixel_format), tmp_path / "excerpt.mp4")

    found = probe(tmp_path / "excerpt.mp4")
    assert info.colour.transfer == found.colour.transfer == 16
    assert info.colour.range == found.colour.range
    assert info.sample_aspect_ratio == found.sample_aspect_ratio
    assert info.display_matrix == found.display_matrix


def test_made_smaller_by_the_textbook_and_in_limited_range(tmp_path: Path) -> None:
    """Half the size is the exact antialiased bicubic of the reference that is written beside it."""
    picture = Picture(pixel_format="yuvj420p", colour=BT709_FULL, codec="mjpeg", frame_count=3)
    info = probe(write_clip(Clip(suffix=".avi", pictures=(picture,)), tmp_path / "clip.avi"))
    whole = Excerpt(info, Segment(0, None, None, None), Area(0, 0, info.size), "yuv420p")

    write_excerpt(whole, tmp_path / "reference.mp4")
    write_excerpt(replace(whole, shrink=2), tmp_path / "smaller.mp4")

    assert probe(tmp_path / "reference.mp4").size == info.size
    for large, small in zip(_lumas(tmp_path / "reference.mp4"), _lumas(tmp_path / "smaller.mp4"), strict=True):
        expected = resampled(large, 48, 32)
        # A sum that ends near a half is rounded to either side.
        assert np.abs(expected.astype(int) - small).max() <= 1
        assert np.mean(expected != small) < 0.01


def test_an_excerpt_leaves_the_disk_its_reserve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The room is looked at for each frame: without loss they are large."""
    info = probe(write_clip(Clip(pictures=(Picture(colour=BT709),)), tmp_path / "clip.mp4"))
    excerpt = Excerpt(info, Segment(0, None, None, None), Area(0, 0, info.size), "yuv420p")
    monkeypatch.setattr(disk, "SPARE_BYTES", 1 << 60)

    with pytest.raises(DiskFull, match="are free"):
        write_excerpt(excerpt, tmp_path / "excerpt.mp4")


def test_a_segment_without_frames_is_said_and_leaves_no_file(tmp_path: Path) -> None:
    """Nothing is not an excerpt."""
    info = probe(write_clip(Clip(pictures=(Picture(colour=BT709),)), tmp_path / "clip.mp4"))
    nothing = Excerpt(info, Segment(0, 10**9, None, None), Area(0, 0, info.size), "yuv420p")

    with pytest.raises(SourceCorrupt, match="no frame of the excerpt"):
        write_excerpt(nothing, tmp_path / "excerpt.mp4")

    assert not (tmp_path / "excerpt.mp4").exists()
