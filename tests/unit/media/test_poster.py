"""One frame of a file as a small picture, whatever the file is like."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.clip_spec import BT709, BT2020_HLG, BT2020_PQ, Clip, Picture
from tests.support.clip_writer import write_clip
from tests.support.clips import CASES, DAMAGED
from upscale_server.media.poster import poster_of

BARE = {"x265-params": "log-level=none"}


def shown(path: Path) -> Image.Image:
    """Return the picture that a file gives."""
    return Image.open(io.BytesIO(poster_of(path)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("picture", "size"),
    [
        (Picture(width=96, height=64), (96, 64)),
        (Picture(width=1280, height=720), (640, 360)),
        (Picture(width=720, height=576, sample_aspect_ratio=Fraction(64, 45)), (640, 360)),
        (Picture(width=96, height=64, sample_aspect_ratio=Fraction(1, 2)), (96, 128)),
        (Picture(width=96, height=64, rotation=90), (64, 96)),
        (Picture(width=96, height=64, rotation=180), (96, 64)),
    ],
)
def test_picture_has_the_shape_that_is_shown(tmp_path: Path, picture: Picture, size: tuple[int, int]) -> None:
    """Small ones stay as they are, large ones are made to fit 640; stretched and turned as a player does."""
    path = write_clip(Clip(pictures=(picture,)), tmp_path / "clip.mp4")

    assert ("JPEG", size) == (shown(path).format, shown(path).size)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["raw_h264", "negative_first_pts", "gif", "mpeg4_packed_b_frames_avi", "truncated_ts"])
def test_odd_files_have_a_picture_too(tmp_path: Path, name: str) -> None:
    """Where seeking fails, the beginning is taken; damage is passed over."""
    case = {**CASES, **DAMAGED}[name]
    path = tmp_path / f"clip{case.suffix}"
    case.write(path)

    assert 640 >= max(shown(path).size)


@pytest.mark.slow
@pytest.mark.parametrize("colour", [BT2020_PQ, BT2020_HLG])
def test_hdr_is_shown_about_as_bright_as_the_same_picture_without(
    tmp_path: Path, colour: tuple[int, int, int, int]
) -> None:
    """Shown as it is coded, HDR is a gray fog: its light is undone first, so that black is black."""
    made = {"codec": "libx265", "pixel_format": "yuv420p10le", "options": BARE}
    usual = write_clip(Clip(pictures=(Picture(colour=BT709, **made),)), tmp_path / "usual.mp4")
    hdr = write_clip(Clip(pictures=(Picture(colour=colour, **made),)), tmp_path / "hdr.mp4")

    dark, darker = (np.percentile(np.asarray(shown(path)), 5) for path in (usual, hdr))

    assert darker <= dark
