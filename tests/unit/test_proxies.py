"""Copies for watching: they come with the segments, change no byte of the result, and fail no job."""

from __future__ import annotations

import errno
import shutil
from collections import namedtuple
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
import pytest
from structlog.testing import capture_logs

from tests.support.clip_spec import BT709_FULL, Clip, Picture
from tests.support.clip_writer import write_clip
from upscale_server.checkpoint import WorkDir
from upscale_server.errors import UpscaleError
from upscale_server.events import ignore
from upscale_server.media.proxy import ProxyWriter, Ticks
from upscale_server.media.types import Frame
from upscale_server.models.load import load
from upscale_server.models.luma import FrameUpscaler, Redone
from upscale_server.opening import Tools
from upscale_server.pipeline import Result, upscale_as_planned, upscale_segment
from upscale_server.plan import Plan, make_plan
from upscale_server.proxies import LEAST_FREE_BYTES, copy_path, picture_path, shown, ticks_of
from upscale_server.wish import Wish
from upscale_server.workers.in_process import InProcess

TIMES = tuple(40 * place + (place % 3) for place in range(60))
"""A variable rate in milliseconds that does not begin at 0."""


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """Give the plan of a clip of variable rate, from 7 ms on, in three segments."""
    times = tuple(7 + at for at in TIMES)
    picture = Picture(times=times, time_base=Fraction(1, 1000), options={"g": "20", "bf": "0"})
    source = write_clip(Clip(suffix=".mkv", pictures=(picture,)), tmp_path_factory.mktemp("clip") / "clip.mkv")
    made = make_plan(source, Wish(model="lanczos", codec="h264", preset="ultrafast", segment_seconds=0.7, threads=1))
    assert 3 == len(made.segments)
    return made


def run(plan: Plan, work: WorkDir) -> Result:
    """Do a job."""
    with InProcess(lambda _plan, one: load(one.card)) as executor:
        return upscale_as_planned(plan, executor, work, ignore)


def upscaler(plan: Plan) -> FrameUpscaler:
    """Return the upscaler of a plan."""
    return FrameUpscaler((load(plan.passes[0].card),), plan.picture, plan.target, plan.source.colour)


def work_in(folder: Path, plan: Plan, proxies: Path | None = None) -> WorkDir:
    """Return a work folder."""
    return WorkDir(folder / "work", plan.digest, proxies)


def times_of(path: Path) -> list[Fraction]:
    """Return when each picture of a file is shown, in seconds."""
    with av.open(str(path)) as file:
        return [frame.pts * frame.time_base for frame in file.decode(video=0)]


@pytest.mark.slow
def test_each_segment_has_a_copy_with_its_frames_and_times(plan: Plan, tmp_path: Path) -> None:
    """As many pictures as the segment, at the same distances, each copy from 0 on; and a picture beside it."""
    result = run(plan, work_in(tmp_path, plan, tmp_path / "proxies"))

    tick = plan.spec.time_base
    for done in result.done:
        first = ticks_of(plan, done.index).start
        assert first == min(time.pts for time in done.times)
        expected = sorted((time.pts - first) * tick for time in done.times)
        assert expected == times_of(copy_path(tmp_path / "proxies", done.index))
        assert picture_path(tmp_path / "proxies", done.index).stat().st_size
    assert 2 * len(plan.segments) == len(list((tmp_path / "proxies").iterdir())), "no part of one is left"


def test_plan_knows_where_its_segments_begin_and_end(plan: Plan) -> None:
    """From the first frame's own time to the end of the last one, without a gap."""
    ticks = [ticks_of(plan, index) for index in range(len(plan.segments))]

    assert 7 == plan.first_pts == ticks[0].start
    assert plan.end_pts == ticks[-1].end
    assert plan.end_pts is not None
    assert 7 + TIMES[-1] < plan.end_pts <= 7 + TIMES[-1] + 42
    assert [one.end for one in ticks[:-1]] == [one.start for one in ticks[1:]]


@pytest.mark.slow
def test_copy_has_the_levels_of_what_is_encoded(tmp_path: Path) -> None:
    """A profile that narrows the range narrows its copy, too: both files say and mean the same."""
    picture = Picture(frame_count=4, colour=BT709_FULL)
    source = write_clip(Clip(pictures=(picture,)), tmp_path / "clip.mp4")
    subnet = make_plan(source, Wish(model="lanczos", profile="subnet", scale=2, preset="ultrafast", threads=1))
    assert 1 == subnet.spec.colour.range

    run(subnet, work_in(tmp_path, subnet, tmp_path / "proxies"))

    work = work_in(tmp_path, subnet)
    encoded, copy = (levels_of(path) for path in (work.segment_path(0), copy_path(tmp_path / "proxies", 0)))
    # x264 moves single levels; 255 levels in place of 219 are sixteen apart at both ends
    assert list(encoded) == pytest.approx(list(copy), abs=4)


def levels_of(path: Path) -> tuple[float, float]:
    """Return how dark and how bright a file's first frame is, a hundredth of its samples aside."""
    with av.open(str(path)) as file:
        luma = next(file.decode(video=0)).to_ndarray()
    rows = luma.shape[0] * 2 // 3
    dark, bright = np.percentile(luma[:rows], (1, 99))
    return float(dark), float(bright)


@pytest.mark.slow
def test_result_has_the_same_bytes_with_and_without_copies(plan: Plan, tmp_path: Path) -> None:
    """Watching costs nothing but time."""
    with_copies = run(plan, work_in(tmp_path / "with", plan, tmp_path / "proxies"))
    without = run(plan, work_in(tmp_path / "without", plan))

    assert without.path.read_bytes() == with_copies.path.read_bytes()
    assert without.plan.digest == with_copies.plan.digest


def test_copy_is_there_before_its_segment_is_done(plan: Plan, tmp_path: Path) -> None:
    """Whoever is told that a segment is done finds its copy, also after a kill between the two."""
    work = work_in(tmp_path, plan, tmp_path / "proxies")
    seen = []

    def mark(done: object) -> None:
        del done
        seen.append(copy_path(tmp_path / "proxies", 1).exists())

    work.mark = mark  # type: ignore[method-assign]
    upscale_segment(plan, plan.segments[1], Tools(upscaler(plan)), work, ignore)

    assert [True] == seen


@pytest.mark.slow
def test_segment_that_was_done_before_gets_no_copy(plan: Plan, tmp_path: Path) -> None:
    """A job goes on from what is there; copies are not worth upscaling again."""
    run(plan, work_in(tmp_path, plan))

    again = run(plan, work_in(tmp_path, plan, tmp_path / "proxies"))

    assert len(plan.segments) == again.reused
    assert not (tmp_path / "proxies").exists()


def test_segment_that_fails_leaves_no_part_of_a_copy(plan: Plan, tmp_path: Path) -> None:
    """What is half made goes with its segment."""

    def fails(frames: Sequence[Frame]) -> tuple[list[Frame], list[Redone]]:
        if frames[0].pts > 7:
            raise UpscaleError("the device is gone")
        return upscaler(plan)(frames)

    work, folder = work_in(tmp_path, plan, tmp_path / "proxies"), tmp_path / "proxies"
    with pytest.raises(UpscaleError, match="the device is gone"):
        upscale_segment(replace(plan, batch=1), plan.segments[0], Tools(cast("FrameUpscaler", fails)), work, ignore)

    assert [] == list(folder.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["a file in the way", "a full disk", "an encoder that fails", "a full disk later"])
def test_copy_that_cannot_be_written_costs_a_warning_and_not_the_job(
    plan: Plan, tmp_path: Path, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The result is whole and audited; of the copies nothing is there, and the log says why."""
    folder = tmp_path / "proxies"
    usage = namedtuple("usage", "total used free")  # noqa: PYI024 - the standard library's own kind

    def fails(*_given: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    match fault:
        case "a file in the way":
            folder.write_text("not a folder")
        case "a full disk":
            monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage(10**12, 10**12, LEAST_FREE_BYTES - 1))
        case "an encoder that fails":
            monkeypatch.setattr(ProxyWriter, "write", fails)
        case "a full disk later":
            monkeypatch.setattr(ProxyWriter, "finish", fails)

    with capture_logs() as logs:
        result = run(plan, work_in(tmp_path, plan, folder))

    assert result.audit.ok, result.audit.faults
    warnings = [one for one in logs if one["event"] == "proxy_not_written"]
    assert [0, 1, 2] == [one["segment"] for one in warnings], "one for each segment, not one for each frame"
    assert folder.is_file() or [] == list(folder.iterdir())


def test_frame_that_no_copy_takes_ends_the_copy_alone(plan: Plan, tmp_path: Path) -> None:
    """What is shown after a fault is passed over."""
    strange = Frame((), "yuv420p", 0, plan.spec.time_base)

    with capture_logs() as logs, shown(tmp_path, plan, plan.segments[0]) as show:
        show(strange)
        show(strange)

    assert 1 == len(logs)
    assert [] == list(tmp_path.iterdir())


def test_nobody_watches_without_a_folder(plan: Plan) -> None:
    """The command line makes no copies: there is nothing to show them."""
    with shown(None, plan, plan.segments[0]) as show:
        show(Frame((), "none", 0, plan.spec.time_base))


@pytest.mark.slow
def test_stream_without_reliable_times_is_one_copy_of_unknown_length(tmp_path: Path) -> None:
    """An elementary stream has no times: its frames alone tell."""
    source = write_clip(Clip(suffix=".h264", container="h264"), tmp_path / "clip.h264")
    plan = make_plan(source, Wish(model="lanczos", codec="h264", preset="ultrafast", threads=1))

    run(plan, work_in(tmp_path, plan, tmp_path / "proxies"))

    assert (None, None) == (plan.first_pts, plan.end_pts)
    assert Ticks() == ticks_of(plan, 0)
    assert plan.frame_count == len(times_of(copy_path(tmp_path / "proxies", 0)))
