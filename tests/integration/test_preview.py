"""Previews of real files: every side shows the same frames at the same times, and the numbers are true."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from tests.support import tiny_models
from tests.support.cli_runner import run_here
from tests.support.clip_spec import BT709, BT2020_PQ, Clip, Picture, Sound
from tests.support.clip_writer import write_clip
from tests.support.clips import CASES
from tests.support.inspect_media import contents_of
from tests.support.kernels import resampled
from tests.support.tiny_models import Form
from upscale_server import pipeline
from upscale_server.audit import Audit, Rule
from upscale_server.checkpoint import Done
from upscale_server.cli.estimating import Estimating
from upscale_server.cli.loading import load_pass
from upscale_server.errors import AuditFailed, BadRequest, ModelMissing, SourceError, UpscaleError
from upscale_server.estimate import Bases, Estimate
from upscale_server.events import Warned, ignore
from upscale_server.jobs.preview_studio import OneAtATime, ServerStudio
from upscale_server.media.types import Segment, Size
from upscale_server.plan import Plan
from upscale_server.preview import Asked, Candidate, LocalStudio, Preview, make_preview, making, self_test
from upscale_server.quality import Quality
from upscale_server.wish import Limits, Wish
from upscale_server.workers.in_process import InProcess
from upscale_server.workers.needs import PoolNeeds
from upscale_server.workers.pool import Pool
from upscale_server.workers.resident import Patience

TICK = Fraction(1, 25)


@pytest.fixture
def studio() -> Iterator[LocalStudio]:
    """Give what works in this process."""
    with InProcess(load_pass) as executor:
        yield LocalStudio(executor, Limits())


def _models(*names: str) -> tuple[Candidate, ...]:
    return Candidate.named([(Path(name).stem, name) for name in names])


def _clip(folder: Path, **changes: object) -> Path:
    """Write two seconds with B-frames, one keyframe and sound."""
    picture = Picture(**{"frame_count": 50, "options": {"bf": "3", "g": "999"}, "colour": BT709, **changes})  # type: ignore[arg-type]
    return write_clip(Clip(pictures=(picture,), sounds=(Sound(seconds=2.0),)), folder / "clip.mp4")


def _last(asked: Asked, studio: LocalStudio, folder: Path) -> Preview:
    *_, last = make_preview(asked, studio, folder, ignore)
    return last


def _times(path: Path) -> list[tuple[float, int, int, str]]:
    with av.open(str(path)) as file:
        assert ["video"] == [stream.type for stream in file.streams]
        return [(frame.time or 0.0, frame.width, frame.height, frame.format.name) for frame in file.decode(video=0)]


def test_two_models_of_the_bundled_clip_play_in_step(bundled_clip: Path, tmp_path: Path, studio: LocalStudio) -> None:
    """Before and both models: one size, one codec, the same frames at the same times, from the middle, no sound."""
    asked = Asked(bundled_clip, Wish(scale=2), _models("fast", "fast-clean"), seconds=0.5)

    found = _last(asked, studio, tmp_path)

    sides = (found.before, *found.items)
    assert ["before", "fast", "fast-clean"] == [one.name for one in sides]
    assert {"succeeded"} == {one.state for one in sides}
    shown = [_times(tmp_path / f"{one.name}.mp4") for one in sides]
    assert shown[0] == shown[1] == shown[2]
    assert 15 == len(shown[0]) == found.frame_count
    assert [(*pair, "yuv420p") for pair in [(960, 540)] * 15] == [one[1:] for one in shown[0]]
    # QuickTime's clock has the source's own ticks, so that only the division to seconds is rounded.
    assert list(found.frame_times) == pytest.approx([one[0] for one in shown[0]], abs=1e-9)
    assert 0.0 == found.frame_times[0]
    assert (5.005 - 0.5) / 2 == pytest.approx(found.start_seconds)
    assert all(one.byte_count == (tmp_path / f"{one.name}.mp4").stat().st_size for one in sides)
    assert not (tmp_path / "work").exists()


def test_stepping_back_is_quick_and_no_beginning_is_hidden(
    bundled_clip: Path, tmp_path: Path, studio: LocalStudio
) -> None:
    """A keyframe at least every twelve frames, and every frame decodes when it is shown: no edit list is needed."""
    _last(Asked(bundled_clip, Wish(scale=2), _models("lanczos"), 0.0, 1.0), studio, tmp_path)

    with av.open(str(tmp_path / "lanczos.mp4")) as file:
        packets = [packet for packet in file.demux(video=0) if packet.size]
    places = [place for place, packet in enumerate(packets) if packet.is_keyframe]
    assert max(later - earlier for earlier, later in pairwise([*places, len(packets)])) <= 12
    assert [packet.pts for packet in packets] == [packet.dts for packet in packets]


@pytest.mark.parametrize(("start", "first"), [(0.0, 0), (0.41, 11), (1.0, 25)])
def test_every_side_starts_at_the_frame_asked_for(
    start: float, first: int, tmp_path: Path, studio: LocalStudio
) -> None:
    """Wherever the keyframes are, the first frame is the first at or after the start, and it is shown at zero."""
    asked = Asked(_clip(tmp_path), Wish(scale=2), _models("lanczos"), start, 0.2)

    found = _last(asked, studio, tmp_path / "out")

    for one in (found.before, *found.items):
        assert one.path is not None
        shown = contents_of(one.path).shown
        assert list(range(first, first + 5)) == [picture.number for picture in shown]
        assert [TICK * place for place in range(5)] == [picture.time for picture in shown]


@pytest.mark.parametrize("name", ["transport_stream_offset", "late_first_pts", "negative_first_pts", "edit_list"])
def test_a_source_whose_time_does_not_begin_at_zero_is_shown_from_zero(
    name: str, tmp_path: Path, studio: LocalStudio
) -> None:
    """Players would show nothing until the source's own first time; from the start means at once."""
    source = CASES[name].write(tmp_path / f"clip{CASES[name].suffix}")

    found = _last(Asked(source, Wish(scale=2), _models("lanczos"), 0.0, 0.2), studio, tmp_path / "out")

    for one in (found.before, *found.items):
        assert one.path is not None
        with av.open(str(one.path)) as file:
            assert 0 == file.streams.video[0].start_time
        assert contents_of(source).shown[0].number == contents_of(one.path).shown[0].number


def test_a_side_holds_a_lane_for_about_a_second_of_video(
    tmp_path: Path, studio: LocalStudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that waits gets the lane then; the server's executor has one of them on its way at a time, in order."""
    asked_for: list[list[int]] = []
    run = InProcess.run

    def noting(executor: InProcess, plan: Plan, segments: Sequence[Segment], *given: Any) -> Iterator[Done]:  # noqa: ANN401 - handed on
        asked_for.append([one.index for one in segments])
        return run(executor, plan, segments, *given)

    monkeypatch.setattr(InProcess, "run", noting)
    clip, sharing = _clip(tmp_path, frame_count=80), LocalStudio(OneAtATime(studio.executor), Limits())

    found = _last(Asked(clip, Wish(scale=2), _models("lanczos"), 0.2, 3.0), sharing, tmp_path / "made")

    plan = found.before.plan
    assert plan is not None
    ticks = [int(index * TICK / plan.source.time_base) for index in range(80)]
    assert [25, 25, 25] == [sum(one.holds(pts) for pts in ticks) for one in plan.segments]
    assert [[0], [1], [2]] * 2 == asked_for
    assert [pytest.approx(index / 25, abs=1e-6) for index in range(75)] == list(found.frame_times)


def test_too_small_a_picture_is_shown_and_not_tested(tmp_path: Path, studio: LocalStudio) -> None:
    """Made smaller, nothing would be left to restore; the preview is made all the same, and says so."""
    asked = Asked(_clip(tmp_path, width=48, height=32), Wish(), _models("lanczos"), 0.0, 0.2, self_test=True)

    found = _last(asked, studio, tmp_path / "out")

    assert (None, "succeeded") == (found.self_test, found.items[0].state)
    assert "not_tested" in dict(found.warnings)


def test_of_a_large_picture_the_middle_is_measured(
    tmp_path: Path, studio: LocalStudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bounded, with sides that halve without a rest, and said."""
    monkeypatch.setattr(self_test, "MOST", Size(66, 50))
    asked = Asked(_clip(tmp_path), Wish(scale=2), _models("lanczos"), 0.0, 0.2, self_test=True)

    found = _last(asked, studio, tmp_path / "out")

    assert found.self_test is not None
    assert Size(64, 48) == found.self_test.size
    assert "tested_in_part" in dict(found.warnings)
    assert found.before.quality is not None


def test_a_model_that_cannot_be_measured_keeps_its_picture(
    tmp_path: Path, studio: LocalStudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The self-test's fault is told; what was shown before it stays."""

    def fail(*_: object, **__: object) -> Quality:
        raise UpscaleError("libvmaf ended with code 1")

    monkeypatch.setattr("upscale_server.preview.studio.measure", fail)
    asked = Asked(_clip(tmp_path), Wish(), _models("lanczos"), 0.0, 0.2, self_test=True)

    found = _last(asked, studio, tmp_path / "out")

    assert ("succeeded", None) == (found.items[0].state, found.best)
    assert found.items[0].fault is None
    assert "libvmaf" in str(found.items[0].quality_fault)


def test_a_self_test_that_cannot_begin_takes_no_side_away(
    tmp_path: Path, studio: LocalStudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is there stays, and a warning says why nothing was measured."""

    def fail(*_: object) -> None:
        raise UpscaleError("two processes died of it")

    monkeypatch.setattr("upscale_server.preview.studio.write_excerpt", fail)
    asked = Asked(_clip(tmp_path), Wish(), _models("lanczos"), 0.0, 0.2, self_test=True)

    found = _last(asked, studio, tmp_path / "out")

    assert ["succeeded"] * 2 == [one.state for one in (found.before, *found.items)]
    assert (None, None) == (found.self_test, found.best)
    assert "two processes died of it" in dict(found.warnings)["not_tested"]
    assert ["before.mp4", "lanczos.mp4"] == sorted(one.name for one in (tmp_path / "out").iterdir())


def test_a_preview_is_held_by_its_frames_and_not_by_its_colours(
    tmp_path: Path, studio: LocalStudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How far colours are from the source's is a promise of the job; a picture to look at shows it."""
    far = Rule("chroma, a part of a frame", ok=False, expected="at most 24", found="29")
    lost = Rule("frame count", ok=False, expected="5", found="4")
    real = pipeline.audit
    for rule in (far, lost):

        def broken(*given: object, rule: Rule = rule) -> Audit:
            report = real(*given)  # type: ignore[arg-type]
            return replace(report, rules=(*report.rules, rule))

        monkeypatch.setattr(pipeline, "audit", broken)
        asked = Asked(_clip(tmp_path), Wish(), _models("lanczos"), 0.0, 0.2)
        if rule is far:
            assert "succeeded" == _last(asked, studio, tmp_path / "out").items[0].state
        else:
            with pytest.raises(AuditFailed):
                _last(asked, studio, tmp_path / "lost")


def test_warnings_are_said_by_the_preview_and_not_by_each_side(tmp_path: Path, studio: LocalStudio) -> None:
    """Of the events that go by none is a warning: three sides would say each one three times."""
    told: list[object] = []
    asked = Asked(_clip(tmp_path), Wish(scale=2), _models("lanczos"), 0.0, 0.2, self_test=True)

    *_, found = make_preview(asked, studio, tmp_path / "out", told.append)

    assert found.before.plan is not None
    assert found.before.plan.warnings, "there is something to say"
    assert [] == [one for one in told if isinstance(one, Warned)]


def test_without_models_the_one_that_the_plan_takes_is_shown(tmp_path: Path, studio: LocalStudio) -> None:
    """A compressed clip gets `fast`, named."""
    found = _last(Asked(_clip(tmp_path), Wish(), seconds=0.2), studio, tmp_path / "out")

    assert ["fast"] == [one.name for one in found.items]


def test_hdr_is_shown_in_8_bits_on_both_sides_and_said(tmp_path: Path, studio: LocalStudio) -> None:
    """The files are 8 bits with the source's own tags, and a warning says that the result is not."""
    options = {"x265-params": "log-level=none"}
    clip = _clip(tmp_path, codec="libx265", pixel_format="yuv420p10le", colour=BT2020_PQ, options=options)

    found = _last(Asked(clip, Wish(scale=2), _models("lanczos"), 0.0, 0.2), studio, tmp_path / "out")

    assert "hdr_in_8_bits" in dict(found.warnings)
    for one in (found.before, *found.items):
        assert one.path is not None
        with av.open(str(one.path)) as file:
            frame = next(file.decode(video=0))
            assert ("yuv420p", 16) == (frame.format.name, frame.color_trc)


def test_a_result_too_large_to_play_shows_its_middle(
    tmp_path: Path, studio: LocalStudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Past the bound the middle is cut out 1:1, and both sides and `crop` agree on where."""
    monkeypatch.setattr(making, "MOST", Size(96, 64))
    asked = Asked(_clip(tmp_path), Wish(scale=2), _models("lanczos"), 0.4, 0.2)

    found = _last(asked, studio, tmp_path / "out")

    assert found.crop is not None
    assert (48, 32, 96, 64) == (found.crop.x, found.crop.y, found.crop.width, found.crop.height)
    assert "cropped" in dict(found.warnings)
    whole = _last(Asked(asked.source, Wish(scale=2), (), 0.4, 0.2), studio, tmp_path / "whole")
    assert whole.size == found.size == Size(96, 64)
    sides = [_times(one.path) for one in (found.before, *found.items) if one.path is not None]
    assert sides[0] == sides[1]
    assert [(96, 64)] * 5 == [one[1:3] for one in sides[0]]


def test_a_model_that_fails_does_not_keep_the_others_up(tmp_path: Path, studio: LocalStudio) -> None:
    """It has its fault; the other model and bicubic are there."""
    asked = Asked(_clip(tmp_path), Wish(), _models("none", "lanczos"), 0.0, 0.2)

    found = _last(asked, studio, tmp_path / "out")

    assert ["failed", "succeeded"] == [one.state for one in found.items]
    assert isinstance(found.items[0].fault, ModelMissing)


def test_where_every_model_fails_the_preview_does(tmp_path: Path, studio: LocalStudio) -> None:
    """Bicubic alone is nobody's preview."""
    with pytest.raises(ModelMissing, match="'none'"):
        _last(Asked(_clip(tmp_path), Wish(), _models("none"), 0.0, 0.2), studio, tmp_path / "out")


@pytest.mark.parametrize(("start", "seconds", "match"), [(60.0, 1.0, "start is 60"), (0.0, 0.0, "more than 0")])
def test_a_time_that_is_not_there_is_refused(
    start: float, seconds: float, match: str, tmp_path: Path, studio: LocalStudio
) -> None:
    """Behind the end there is nothing to show, and nothing is no length."""
    with pytest.raises(BadRequest, match=match):
        _last(Asked(_clip(tmp_path), Wish(), _models("lanczos"), start, seconds), studio, tmp_path / "out")


def test_no_video_is_no_preview(tmp_path: Path, studio: LocalStudio) -> None:
    """The source's own fault is the preview's."""
    (tmp_path / "clip.mp4").write_bytes(b"no video at all")

    with pytest.raises(SourceError):
        _last(Asked(tmp_path / "clip.mp4", Wish(), _models("lanczos")), studio, tmp_path / "out")


def test_sides_out_of_step_are_never_shown(
    tmp_path: Path, studio: LocalStudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A side whose frames have other times fails, because a page would play it beside the others."""
    real = making.made

    def late(name: str, *rest: object) -> object:
        shown, times = real(name, *rest)  # type: ignore[arg-type]
        return shown, times if name == "before" else tuple(one + 0.01 for one in times)

    monkeypatch.setattr(making, "made", late)

    with pytest.raises(UpscaleError, match="not shown when"):
        _last(Asked(_clip(tmp_path), Wish(), _models("lanczos"), 0.0, 0.2), studio, tmp_path / "out")


def test_self_test_ranks_a_bad_model_last_and_its_psnr_is_true(
    bundled_clip: Path, tmp_path: Path, studio: LocalStudio
) -> None:
    """A network that only repeats pixels loses to bicubic, ours wins; bicubic's PSNR-Y is computed here again."""
    repeating = tiny_models.nearest(tmp_path / "repeating.onnx", Form())
    asked = Asked(bundled_clip, Wish(scale=2), _models(str(repeating), "fast-clean"), 1.0, 0.3, self_test=True)

    found = _last(asked, studio, tmp_path / "out")

    assert found.self_test is not None
    assert (2, Size(480, 268)) == (found.self_test.scale, found.self_test.size)
    scores = {one.name: one.quality for one in (found.before, *found.items)}
    assert all(scores.values())
    vmaf = {name: one.vmaf or 0.0 for name, one in scores.items() if one}
    assert ["fast-clean", "before", "repeating"] == sorted(vmaf, key=lambda name: -vmaf[name])
    assert "fast-clean" == found.best
    before = found.before.quality
    assert before is not None
    # Sums that end near a half are rounded to either side; libvmaf tells six digits.
    assert _psnr_of_bicubic(bundled_clip, found.start_seconds, len(found.frame_times)) == pytest.approx(
        before.psnr_y, abs=0.01
    )


def _psnr_of_bicubic(clip: Path, start: float, count: int) -> float:
    """Return the mean PSNR-Y in dB of frames halved and doubled again by the textbook's bicubic."""
    with av.open(str(clip)) as file:
        frames = [frame for frame in file.decode(video=0) if (frame.time or 0.0) >= start][:count]
    found = []
    for frame in frames:
        luma = frame.to_ndarray()[:268, :480]
        restored = resampled(resampled(luma, 240, 134), 480, 268)
        found.append(10 * np.log10(255**2 / np.mean((luma.astype(float) - restored) ** 2)))
    return float(np.mean(found))


def test_worker_processes_make_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planned, cut, upscaled and measured in other processes: the same preview, to the last number and byte."""
    monkeypatch.setattr(making, "MOST", Size(128, 96))
    clip = _clip(tmp_path)
    asked = Asked(clip, Wish(scale=2, threads=1), _models("lanczos"), 0.4, 0.4, self_test=True)
    with InProcess(load_pass) as executor:
        here = _last(asked, LocalStudio(executor, Limits()), tmp_path / "here")
    pool = Pool(PoolNeeds(lanes=1, model="lanczos", patience=Patience(1.0, 120.0), log_level="critical"))
    pool.start()
    try:
        *_, there = make_preview(asked, ServerStudio(pool, Limits(), lambda: ""), tmp_path / "there", ignore)
    finally:
        pool.close()

    assert here.crop == there.crop is not None
    assert here.frame_times == there.frame_times
    assert here.self_test == there.self_test
    for one, other in zip((here.before, *here.items), (there.before, *there.items), strict=True):
        assert one.path is not None
        assert other.path is not None
        assert one.path.read_bytes() == other.path.read_bytes()
        assert one.quality == other.quality is not None


def test_command_writes_files_a_strip_and_a_table(bundled_clip: Path, tmp_path: Path) -> None:
    """One MP4 for each side, the same frame of all in one labelled picture, and the facts as JSON."""
    folder = tmp_path / "shown"

    ran = run_here("preview", bundled_clip, "-o", folder, "--model", "lanczos", "--model", "bicubic", "--seconds",
                   "0.3", "--start", "1", "--json")  # fmt: skip

    assert ran.exit_code == 0, ran.stderr
    assert ["before.mp4", "bicubic.mp4", "compare.png", "lanczos.mp4"] == sorted(one.name for one in folder.iterdir())
    assert ["lanczos", "bicubic"] == [one["model"] for one in ran.report["items"]]
    assert 9 == ran.report["frames"]
    with Image.open(folder / "compare.png") as strip:
        assert (3 * 480 + 2 * 4, 480 + 28) == strip.size
        sides = [np.asarray(strip.crop((x, 28, x + 480, 508)), float) for x in (0, 484, 968)]
    # Before and the model bicubic are the same picture, up to nothing; Lanczos is another.
    assert np.array_equal(sides[0], sides[2])
    assert not np.array_equal(sides[0], sides[1])


def test_command_replaces_nothing_unasked(bundled_clip: Path, tmp_path: Path) -> None:
    """A file of one of the names that will be written stops it before any work; -y replaces it."""
    (tmp_path / "lanczos.mp4").write_text("mine")
    command = ("preview", bundled_clip, "-o", tmp_path, "--model", "lanczos", "--seconds", "0.1")

    refused = run_here(*command)

    assert 2 == refused.exit_code
    assert "exists" in refused.stderr
    assert "mine" == (tmp_path / "lanczos.mp4").read_text()
    assert 0 == run_here(*command, "-y").exit_code
    assert _times(tmp_path / "lanczos.mp4") == _times(tmp_path / "before.mp4")


def test_command_replaces_nothing_unasked_where_it_chose_the_model(bundled_clip: Path, tmp_path: Path) -> None:
    """The name of the file is known only with the plan; what has it stays, and nothing else is written."""
    (tmp_path / "fast.mp4").write_text("mine")

    refused = run_here("preview", bundled_clip, "-o", tmp_path, "--seconds", "0.1")

    assert 2 == refused.exit_code
    assert "fast.mp4 exists" in refused.stderr
    assert [("fast.mp4", "mine")] == [(one.name, one.read_text()) for one in tmp_path.iterdir()]


def test_command_takes_the_time_of_the_whole_from_what_this_machine_knows(
    bundled_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own finished jobs count more than the speed of a preview, which is all that a new machine has."""
    command = ("preview", bundled_clip, "-o", tmp_path / "out", "--model", "lanczos", "--seconds", "0.5", "-y")
    new = run_here(*command, "--json").report["items"][0]
    known = Estimate(65.0, 0.12, None, None, None, None, Bases("calibrated", "unknown"), 10)
    monkeypatch.setattr(Estimating, "of", lambda _self, plan: (plan, known))

    found = run_here(*command, "--json").report["items"][0]
    shown = run_here(*command)

    assert "preview" == new["whole_video"]["basis"]
    assert 150 / new["frames_per_second"] == pytest.approx(new["whole_video"]["seconds"])
    assert {"seconds": 65.0, "basis": "calibrated", "error": 0.12} == found["whole_video"]
    assert "1:05 ± 12% (calibrated)" in shown.stdout


def test_command_reckons_the_whole_from_the_part_that_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a picture of 96x64 a quarter is shown: all of it takes four times as long for each frame."""
    monkeypatch.setattr(making, "MOST", Size(96, 64))
    clip = _clip(tmp_path)

    new = run_here("preview", clip, "-o", tmp_path / "out", "--model", "lanczos", "--seconds", "0.5",
                   "--scale", "2", "--json").report["items"][0]  # fmt: skip

    assert "preview" == new["whole_video"]["basis"]
    assert 4 * 50 / new["frames_per_second"] == pytest.approx(new["whole_video"]["seconds"])


def test_command_shows_a_table_with_the_winner(bundled_clip: Path, tmp_path: Path) -> None:
    """With --self-test the numbers of each model stand in the table, and the best is named."""
    ran = run_here(
        "preview", bundled_clip, "-o", tmp_path / "out", "--model", "lanczos", "--seconds", "0.2", "--self-test"
    )

    assert ran.exit_code == 0, ran.stderr
    assert "VMAF" in ran.stdout
    assert "lanczos restored best: VMAF" in ran.stdout


def test_command_leaves_no_folder_when_it_fails(tmp_path: Path) -> None:
    """A source that is no video leaves nothing behind."""
    (tmp_path / "clip.mp4").write_bytes(b"no video at all")

    ran = run_here("preview", tmp_path / "clip.mp4", "--model", "lanczos")

    assert 3 == ran.exit_code
    assert ["clip.mp4"] == [one.name for one in tmp_path.iterdir()]
