"""A part of a video, and a size other than twice: the right frames at the right times in the right box.

Sizes as formulas are property-tested elsewhere; here real files are read back.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from tests.support.cli_runner import run_here
from tests.support.clip_spec import BT709, Chapter, Clip, Picture, Sound
from tests.support.clip_writer import write_clip
from tests.support.inspect_media import contents_of

QUICK = ("--model", "lanczos", "--preset", "ultrafast")
TICK = Fraction(1, 25)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Give two seconds with B-frames, one keyframe, sound and chapters."""
    picture = Picture(frame_count=50, options={"bf": "3", "g": "999", "x264-params": "scenecut=0"}, colour=BT709)
    chapters = (Chapter(0.0, 0.9, "first"), Chapter(0.9, 2.0, "second"))
    return write_clip(Clip(pictures=(picture,), sounds=(Sound(seconds=2.0),), chapters=chapters), tmp_path / "clip.mp4")


@pytest.mark.parametrize(
    ("options", "first", "last"),
    [
        (("--start", "1"), 25, 49),
        (("--duration", "0.4"), 0, 9),
        (("--start", "0.4", "--duration", "0.32"), 10, 17),
        (("--start", "0.41", "--duration", "0.04"), 11, 11),
        (("--start", "1.96"), 49, 49),
    ],
    ids=str,
)
def test_trim_keeps_exactly_the_frames_asked_for(
    options: tuple[str, ...], first: int, last: int, clip: Path, tmp_path: Path
) -> None:
    """Frames whose times lie in the stretch are there, in order, counted from zero, wherever the keyframes are."""
    output = tmp_path / "out.mp4"

    ran = run_here("video", clip, "-o", output, "--scale", "2", "--segment-seconds", "0.2", *QUICK, *options)

    assert ran.exit_code == 0, ran.stderr
    shown = contents_of(output).shown
    assert list(range(first, last + 1)) == [picture.number for picture in shown]
    assert [TICK * place for place in range(last - first + 1)] == [picture.time for picture in shown]


def test_trim_takes_the_sound_and_the_chapters_along(clip: Path, tmp_path: Path) -> None:
    """Sound starts with the picture to within one of its packets, and chapters move with it."""
    output = tmp_path / "out.mp4"

    ran = run_here("video", clip, "-o", output, "--scale", "2", *QUICK, "--start", "0.4", "--duration", "0.8")

    assert ran.exit_code == 0, ran.stderr
    contents = contents_of(output)
    packet_seconds = Fraction(1024, 16000)
    assert abs(contents.tracks[0].times[0]) <= packet_seconds
    assert Fraction(4, 5) - packet_seconds <= contents.tracks[0].times[-1] < Fraction(4, 5)
    assert ["first", "second"] == [chapter[2] for chapter in contents.chapters]
    assert abs(contents.chapters[1][0] - Fraction(1, 2)) <= Fraction(1, 1000)


@pytest.mark.parametrize(
    ("source", "options", "expected"),
    [
        ((96, 64), ("--scale", "4"), (384, 256)),
        ((96, 64), ("--scale", "3"), (288, 192)),
        ((160, 90), ("--to", "320x180"), (320, 180)),
        ((160, 120), ("--to", "320x180"), (240, 180)),
        ((160, 120), ("--to", "320x180", "--fit", "exact"), (320, 180)),
        ((90, 160), ("--task", "SD2HD"), (1080, 1920)),
        ((160, 90), ("--task", "SD2HD"), (1920, 1080)),
    ],
    ids=str,
)
def test_output_has_the_size_asked_for(
    source: tuple[int, int], options: tuple[str, ...], expected: tuple[int, int], tmp_path: Path
) -> None:
    """Scale, box and task give the documented size, and no frame is lost on the way."""
    width, height = source
    clip = write_clip(Clip(pictures=(Picture(width=width, height=height, frame_count=5),)), tmp_path / "clip.mp4")
    output = tmp_path / "out.mp4"

    ran = run_here("video", clip, "-o", output, *QUICK, *options)

    assert ran.exit_code == 0, ran.stderr
    contents = contents_of(output)
    assert expected == contents.looks.size
    assert len(contents.shown) == 5
    assert contents.looks.sample_aspect_ratio == 1
