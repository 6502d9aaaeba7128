"""The main path on a small clip: order, errors with their frame, redone frames, reuse, nothing left behind."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import pytest

from tests.support import tiny_models
from tests.support.clip_spec import BT709, Clip, Picture
from tests.support.clip_writer import write_clip
from tests.support.cramped import Cramped
from upscale_server import disk
from upscale_server.checkpoint import Done, WorkDir
from upscale_server.errors import AuditFailed, DiskFull, OutOfMemory, UpscaleError
from upscale_server.events import Event, FrameRedone, FramesDone, Observer, SegmentDone, SegmentReused, SteppedDown
from upscale_server.media.types import Frame, Segment
from upscale_server.models.base import Pixels, Upscaled, Working
from upscale_server.models.card import ModelCard
from upscale_server.models.catalogue import LANCZOS, classical_card
from upscale_server.models.load import load
from upscale_server.models.luma import FrameUpscaler, Redone
from upscale_server.opening import Tools
from upscale_server.pipeline import Result, upscale_segment, upscale_video
from upscale_server.plan import Plan, make_plan
from upscale_server.wish import Wish
from upscale_server.workers.in_process import InProcess

FRAMES = 24


@dataclass
class Recorder:
    """An observer that remembers."""

    events: list[Event] = field(default_factory=list)

    def __call__(self, event: Event) -> None:
        """Remember an event."""
        self.events.append(event)

    def of(self, kind: type) -> list[Event]:
        """Return the events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]


class Spoiling:
    """Lanczos that spoils the frame with the given number, counted over all calls."""

    def __init__(self, spoil: str, number: int, *, always: bool = False) -> None:
        self._inner = load(classical_card(LANCZOS, 2))
        self._spoil, self._number, self._always = spoil, number, always
        self._seen = 0

    @property
    def card(self) -> ModelCard:
        """Return lanczos' card."""
        return self._inner.card

    @property
    def working(self) -> Working:
        """Return lanczos' facts."""
        return self._inner.working

    def upscale(self, lr: Pixels, *, bits: int = 8, exact: bool = False) -> Upscaled:
        """Upscale, and spoil one frame unless it is computed again exactly."""
        good = self._inner.upscale(lr, bits=bits)
        if exact:
            return good if not self._always else Upscaled(np.zeros_like(good.pixels), good.finite)
        place = self._number - self._seen
        self._seen += len(lr)
        if not 0 <= place < len(lr):
            return good
        if self._spoil == "error":
            message = "the device is gone"
            raise UpscaleError(message)
        pixels, finite = good.pixels.copy(), good.finite.copy()
        if self._spoil == "black":
            pixels[place] = 0
        if self._spoil == "nan":
            finite[place] = False
        return Upscaled(pixels, finite)

    def close(self) -> None:
        """Do nothing."""


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """Give the plan of a clip of 24 frames in four segments."""
    clip = Clip(pictures=(Picture(frame_count=FRAMES),))
    source = write_clip(clip, tmp_path_factory.mktemp("clip") / "clip.mp4")
    return make_plan(source, Wish(model="lanczos", codec="h264", preset="ultrafast", segment_seconds=0.24, threads=1))


@pytest.fixture
def observer() -> Recorder:
    """Give a recorder."""
    return Recorder()


def _run(plan: Plan, work_dir: Path, observer: Recorder, upscaler: object = None) -> Result:
    with InProcess(lambda _plan, one: upscaler or load(one.card)) as executor:
        return upscale_video(plan, executor, work_dir, observer)


@pytest.mark.slow
def test_every_frame_is_written_once_and_audited(plan: Plan, tmp_path: Path, observer: Recorder) -> None:
    """All frames arrive, in segments, and each rule of the audit holds."""
    result = _run(plan, tmp_path, observer)

    assert FRAMES == result.frame_count
    assert len(plan.segments) == len(observer.of(SegmentDone)) == 4
    assert result.audit.ok, result.audit.faults


@pytest.mark.slow
def test_progress_counts_real_frames(plan: Plan, tmp_path: Path, observer: Recorder) -> None:
    """Frames are counted once while upscaling and once while auditing."""
    _run(plan, tmp_path, observer)

    assert 2 * FRAMES == sum(event.count for event in observer.of(FramesDone) if isinstance(event, FramesDone))


@pytest.mark.slow
def test_a_second_run_does_nothing_again_and_gives_the_same_bytes(
    plan: Plan, tmp_path: Path, observer: Recorder
) -> None:
    """Finished segments are found, and the joined file is the same."""
    first = _run(plan, tmp_path, Recorder()).path.read_bytes()

    again = _run(plan, tmp_path, observer, Spoiling("error", 0))

    assert len(plan.segments) == again.reused == len(observer.of(SegmentReused))
    assert first == again.path.read_bytes()


def test_the_network_never_waits_for_what_follows_it(plan: Plan, tmp_path: Path, observer: Recorder) -> None:
    """With one lane a second batch is in the stage while the first is still on its way through chroma and size."""
    both, one = threading.Barrier(2), plan.passes[0]
    upscale = FrameUpscaler((load(one.card),), plan.picture, plan.target, plan.source.colour)

    def met(frames: Sequence[Frame]) -> tuple[list[Frame], list[Redone]]:
        both.wait(30)  # alone it would wait in vain, and fail; a segment has six frames, so that all come in pairs
        return upscale(frames)

    work = WorkDir(tmp_path, plan.digest)
    tools = Tools(cast("FrameUpscaler", met))
    done = upscale_segment(replace(plan, batch=1, lanes=1), plan.segments[0], tools, work, observer)

    assert FRAMES // len(plan.segments) == len(done.times)


@pytest.mark.slow
def test_x264_cuts_no_picture_into_slices(plan: Plan, tmp_path: Path, observer: Recorder) -> None:
    """Its threads take a picture each; slices would cost bits, the more the more cores there are."""
    several = replace(plan, encoder=replace(plan.encoder, threads=4))

    said = _run(several, tmp_path, observer).path.read_bytes()

    assert b" threads=4 " in said
    assert b" sliced_threads=0 " in said


class Usage(NamedTuple):
    """What `shutil.disk_usage` says."""

    free: int


def test_a_segment_is_not_begun_without_the_reserve(
    plan: Plan, tmp_path: Path, observer: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The jobs' database lies on that disk."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: Usage(disk.SPARE_BYTES - 1))

    with pytest.raises(DiskFull, match=f"; {disk.SPARE_BYTES - 1} are free"):
        _run(plan, tmp_path, observer, Spoiling("error", 0))


def test_a_segment_that_takes_the_reserve_is_given_up(
    plan: Plan, tmp_path: Path, observer: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be a whole film in one piece: the disk is looked at while it grows, and its part goes."""
    free = iter([disk.SPARE_BYTES, *[disk.SPARE_BYTES - 1] * FRAMES])
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: Usage(next(free)))

    with pytest.raises(DiskFull, match="are free"):
        _run(plan, tmp_path, observer)

    assert [] == list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_join_that_does_not_fit_is_not_begun(
    plan: Plan, tmp_path: Path, observer: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It needs as much again as the segments have."""
    done = _run(plan, tmp_path, Recorder()).done
    (tmp_path / "joined.mp4").unlink()
    needed = sum(one.byte_count for one in done) + disk.SPARE_BYTES
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: Usage(needed - 1))

    with pytest.raises(DiskFull, match=f"needs {needed} bytes"):
        _run(plan, tmp_path, observer)
    assert not (tmp_path / "joined.mp4").exists()

    monkeypatch.setattr(shutil, "disk_usage", lambda _path: Usage(needed))
    assert done == _run(plan, tmp_path, observer).done


def test_an_error_names_its_frames_and_leaves_no_part(plan: Plan, tmp_path: Path, observer: Recorder) -> None:
    """A failure at frame 20 says where it happened; finished segments stay, no half one does."""
    with pytest.raises(UpscaleError, match=r"the device is gone \(frames with pts"):
        _run(plan, tmp_path, observer, Spoiling("error", 20))

    assert not [path for path in tmp_path.iterdir() if ".part" in path.name]
    assert len(observer.of(SegmentDone)) == 3


@pytest.mark.slow
@pytest.mark.parametrize("spoil", ["black", "nan"])
def test_a_spoilt_frame_is_redone_and_counted(plan: Plan, tmp_path: Path, observer: Recorder, spoil: str) -> None:
    """The guard finds the frame, computes it exactly and tells; the output is as if nothing had happened."""
    good = _run(plan, tmp_path / "good", Recorder()).path.read_bytes()

    result = _run(plan, tmp_path / "spoilt", observer, Spoiling(spoil, 9))

    assert [1] == [done.frames_redone for done in result.done if done.frames_redone]
    assert len(observer.of(FrameRedone)) == 1
    assert good == result.path.read_bytes()


def test_a_frame_that_stays_wrong_fails_the_job(plan: Plan, tmp_path: Path, observer: Recorder) -> None:
    """Nothing wrong is written when even f32 cannot make the frame."""
    with pytest.raises(UpscaleError, match="wrong even in f32"):
        _run(plan, tmp_path, observer, Spoiling("black", 9, always=True))


@pytest.mark.slow
def test_a_lost_segment_is_made_again(plan: Plan, tmp_path: Path, observer: Recorder) -> None:
    """Only the segment that is gone is redone."""
    _run(plan, tmp_path, Recorder())
    (tmp_path / "segment-00002.mkv").unlink()

    result = _run(plan, tmp_path, observer)

    assert [2] == [event.index for event in observer.of(SegmentDone) if isinstance(event, SegmentDone)]
    assert result.audit.ok


class _RepeatsTheFirst(InProcess):
    """An executor that gives the first segment's pictures for the last one's."""

    def run(self, plan: Plan, segments: Sequence[Segment], work: WorkDir, observer: Observer) -> Iterator[Done]:
        """Run everything, then swap a file."""
        first, *middle, last = super().run(plan, segments, work, observer)
        shutil.copy(work.segment_path(first.index), work.segment_path(last.index))
        yield from (first, *middle, last)


@pytest.mark.slow
def test_a_wrong_segment_is_found_by_the_audit(plan: Plan, tmp_path: Path, observer: Recorder) -> None:
    """An output with the right times and the wrong pictures fails the job."""
    with (
        _RepeatsTheFirst(lambda _plan, one: load(one.card)) as executor,
        pytest.raises(AuditFailed, match=r"frame order|luma|detail"),
    ):
        upscale_video(plan, executor, tmp_path, observer)


@pytest.mark.slow
@pytest.mark.parametrize(("pixel_format", "codec"), [("yuv420p", "libx264"), ("yuv422p10le", "libx264")])
def test_an_rgb_model_keeps_the_colours(tmp_path: Path, observer: Recorder, pixel_format: str, codec: str) -> None:
    """Y'CbCr to RGB and back with one matrix: the luma of the result is the source's, to a level or two."""
    picture = Picture(codec=codec, pixel_format=pixel_format, frame_count=6, colour=BT709)
    source = write_clip(Clip(pictures=(picture,)), tmp_path / "clip.mp4")
    network = tiny_models.nearest(tmp_path / "nearest.onnx", tiny_models.Form(scale=2, channels=3))
    plan = make_plan(source, Wish(model=str(network), codec="h264", crf=0, preset="ultrafast", threads=1))

    result = _run(plan, tmp_path / "work", observer)

    assert plan.passes[0].card.domain == "rgb"
    assert result.audit.ok, result.audit.faults
    worst = next(rule.found for rule in result.audit.rules if rule.name == "luma, mean of a frame")
    # Painted colours partly lie outside the RGB cube and are clipped, which moves the mean by a level or so.
    assert float(worst) < 2.0


@pytest.mark.slow
def test_a_lower_precision_takes_the_whole_job(plan: Plan, tmp_path: Path, observer: Recorder) -> None:
    """Memory gives out in the second segment; the output has no segment of the first precision, and says so."""
    begun = replace(plan, precision="f32", lower_precisions=("bf16",))
    made: list[Cramped] = []

    def loaded(one: Plan, _pass: object) -> Cramped:
        made.append(_Shrinking() if one.precision == "f32" else Cramped(precision="bf16"))
        return made[-1]

    with InProcess(loaded) as executor:
        result = upscale_video(begun, executor, tmp_path, observer)

    assert "bf16" == result.plan.precision
    assert begun.digest != result.plan.digest
    # A batch of eight is halved three times before precision is given up; these frames are too small for tiles.
    assert (0, 4, FRAMES) == (result.reused, result.memory_steps, result.frame_count)
    assert 5 == len(observer.of(SegmentDone)), "one in f32, then all four again"
    assert [True, True] == [one.closed for one in made]
    assert 4 == len(observer.of(SteppedDown))


def test_without_a_lower_precision_the_job_fails(plan: Plan, tmp_path: Path, observer: Recorder) -> None:
    """An explicit precision is kept or refused."""
    with pytest.raises(OutOfMemory):
        _run(plan, tmp_path, observer, Cramped(most_pixels=10))


class _Shrinking(Cramped):
    """A device whose memory is taken by somebody else after the first segment."""

    def upscale(self, lr: Pixels, *, bits: int = 8, exact: bool = False) -> Upscaled:
        """Upscale six frames, then refuse."""
        self.most_seen += len(lr)
        if self.most_seen > FRAMES // 4:
            self.most_pixels = 10
        return super().upscale(lr, bits=bits, exact=exact)
