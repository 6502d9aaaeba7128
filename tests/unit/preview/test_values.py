"""What a preview says of itself: names, speed, and which model restored best."""

from __future__ import annotations

from dataclasses import replace

import pytest

from upscale_server.errors import BadRequest
from upscale_server.events import FramesDone, PhaseStarted, SegmentDone
from upscale_server.media.types import Size
from upscale_server.preview.pace import Pace
from upscale_server.preview.self_test import ranking_of
from upscale_server.preview.values import BEFORE, Candidate, Preview, SelfTest, Shown
from upscale_server.quality import Quality

NONE = Quality(30.0, 0.9, None, None, None, 3, 3)


def _preview(**scores: Quality | None) -> Preview:
    items = tuple(Shown(name.replace("_", "-"), quality=quality) for name, quality in scores.items())
    return Preview(Size(8, 8), 0.0, 1.0, 3, 9, Shown(BEFORE, quality=NONE), items, self_test=SelfTest(2, Size(8, 8)))


def _vmaf(preview: Preview, *scores: float) -> Preview:
    """Return the preview with VMAF scores of all sides, bicubic's first."""
    sides = [replace(one, quality=replace(NONE, vmaf=score)) for one, score in zip(
        (preview.before, *preview.items), scores, strict=True)]  # fmt: skip
    return replace(preview, before=sides[0], items=tuple(sides[1:]))


@pytest.mark.parametrize(
    ("names", "match"),
    [
        (["fast", "fast"], "two models are called 'fast'"),
        (["before"], "called 'before'"),
        (["../up"], "expected letters"),
        ([""], "expected letters"),
    ],
)
def test_names_that_cannot_be_files_are_refused(names: list[str], match: str) -> None:
    """Each model has a file of its own, inside the folder."""
    with pytest.raises(BadRequest, match=match):
        Candidate.named([(name, name) for name in names])


def test_vmaf_decides_where_every_side_has_it() -> None:
    """The higher VMAF wins, and the sentence says by how much."""
    found = ranking_of(_vmaf(_preview(fast=NONE, quality=NONE), 70.0, 90.0, 93.5))

    assert found is not None
    assert ("quality", "VMAF", 3.5, ()) == (found.best, found.by, found.margin, found.tied)
    assert "quality restored best: VMAF 93.50, 3.50 above fast" == found.text


def test_psnr_decides_where_one_side_has_no_vmaf() -> None:
    """Numbers of two kinds are not compared."""
    scores = {"fast": replace(NONE, psnr_y=33.0, vmaf=10.0), "quality": replace(NONE, psnr_y=34.0)}

    found = ranking_of(_preview(**scores))

    assert found is not None
    assert ("quality", "PSNR-Y", 1.0) == (found.best, found.by, found.margin)
    assert "1.00 dB above fast" in found.text


def test_what_nobody_sees_is_called_a_tie() -> None:
    """Within a point of VMAF no winner is made out of the first."""
    found = ranking_of(_vmaf(_preview(fast=NONE, fast_clean=NONE), 70.0, 90.4, 90.0))

    assert found is not None
    assert ("fast", ("fast-clean",)) == (found.best, found.tied)
    assert "fast-clean within 1 of it, which nobody sees" in found.text


def test_bicubic_may_win() -> None:
    """A model that is worse than no model is not called the best."""
    found = ranking_of(_vmaf(_preview(fast=NONE), 80.0, 60.0))

    assert found is not None
    assert found.best == BEFORE


def test_nothing_measured_is_no_ranking() -> None:
    """Without numbers nobody is best."""
    assert ranking_of(replace(_preview(fast=None), before=Shown(BEFORE))) is None


def test_speed_leaves_the_first_frames_out() -> None:
    """Loading takes two seconds here and is not counted; frames of the audit are none of the model's."""
    now = iter([0.0, 2.0, 3.0, 4.0])
    pace = Pace(lambda: next(now))

    pace(PhaseStarted("upscale", 30))
    for _ in range(3):
        pace(FramesDone(10))
    pace(PhaseStarted("audit", 30))
    pace(FramesDone(30))

    assert 10.0 == pace.frames_per_second
    assert 4.0 == pace.seconds


def test_speed_is_that_of_the_try_that_was_carried_out() -> None:
    """Ten seconds of a try that memory ended, and loading again, are none of the 10 frames a second that it makes."""
    now = iter([0.0, 2.0, 10.0, 13.0, 14.0, 15.0])
    pace = Pace(lambda: next(now))

    for _ in range(2):
        pace(PhaseStarted("upscale", 30))
        for _ in range(2):
            pace(FramesDone(10))
    pace(FramesDone(10))

    assert 10.0 == pace.frames_per_second
    assert 15.0 == pace.seconds


def test_waiting_for_the_lane_between_segments_is_no_slowness() -> None:
    """Ten frames a second, with a minute of a job's work between two segments."""
    now = iter([0.0, 2.0, 3.0, 63.0, 64.0])
    pace = Pace(lambda: next(now))

    pace(PhaseStarted("upscale", 40))
    for index in range(2):
        for _ in range(2):
            pace(FramesDone(10))
        pace(SegmentDone(index, 20, 1, {}))

    assert 10.0 == pace.frames_per_second
    assert 64.0 == pace.seconds


def test_speed_of_segments_of_one_batch_is_that_of_all() -> None:
    """Nothing is behind a segment's first frames then; what was waited is in the figure."""
    now = iter([0.0, 2.0, 4.0, 6.0])
    pace = Pace(lambda: next(now))

    pace(PhaseStarted("upscale", 30))
    for index in range(3):
        pace(FramesDone(10))
        pace(SegmentDone(index, 10, 1, {}))

    assert 5.0 == pace.frames_per_second


def test_speed_of_one_batch_is_not_known() -> None:
    """Where loading and working cannot be told apart, no figure is made up."""
    now = iter([0.0, 2.0])
    pace = Pace(lambda: next(now))

    pace(PhaseStarted("upscale", 10))
    pace(FramesDone(10))

    assert pace.frames_per_second is None
