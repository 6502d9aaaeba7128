"""What an inmate says of a file is held against the order: it may have been taken over by then."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.support.clip_spec import Clip, Picture
from tests.support.clip_writer import write_clip
from upscale_server.audit import Audit
from upscale_server.cage import Bounds, Cage, InmateDied
from upscale_server.checkpoint import Done
from upscale_server.errors import SourceTooLarge
from upscale_server.events import ignore
from upscale_server.media.excerpt import Area, Excerpt
from upscale_server.media.look import look_at
from upscale_server.media.probe import probe_with_index
from upscale_server.media.types import Segment
from upscale_server.pipeline import Finished
from upscale_server.plan import make_plan
from upscale_server.wish import Limits, Wish
from upscale_server.workers.caged import Caged, CagedOpener, do_caged
from upscale_server.workers.messages import FinishVideo, MakePoster, ProbeSource, WriteExcerpt


@dataclass(slots=True)
class Says:
    """A cage whose inmate says what it is told to."""

    value: Any

    def call(self, *_arguments: Any, **_more: Any) -> Any:  # noqa: ANN401 - as a cage's
        """Say it."""
        return self.value


def _saying(value: object) -> Cage:
    return cast("Cage", Says(value))


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Give a clip."""
    return write_clip(Clip(pictures=(Picture(frame_count=2),)), tmp_path / "clip.mp4")


def test_facts_of_another_file_are_refused(clip: Path) -> None:
    """Later orders open the file that the facts name: it would be another customer's source."""
    looked = look_at(clip)
    probed = probe_with_index(clip)
    lie = replace(looked.info, path="/jobs/of-somebody-else/source")

    assert looked == do_caged(ProbeSource(clip), _saying(looked), ignore)
    with pytest.raises(InmateDied, match="told of '/jobs/of-somebody-else/source'"):
        do_caged(ProbeSource(clip), _saying(replace(looked, info=lie)), ignore)
    with pytest.raises(InmateDied, match="told of '/jobs/of-somebody-else/source'"):
        CagedOpener(_saying(replace(probed, info=lie))).probe(clip, 1 << 20)


def test_source_that_is_too_long_is_refused_when_it_is_looked_at(clip: Path) -> None:
    """Before anybody keeps it."""
    looked = look_at(clip)

    with pytest.raises(SourceTooLarge, match="UPSCALE_LIMITS__MAX_FRAMES"):
        do_caged(ProbeSource(clip, Limits(max_frames=1)), _saying(looked), ignore)


def test_device_that_was_not_asked_for_is_refused(clip: Path) -> None:
    """It becomes part of the plan."""
    with pytest.raises(InmateDied, match="chose the device"):
        CagedOpener(_saying(("vulkan:0,evil", ()))).decoder(look_at(clip).info, "cuda")


def _a_link(secret: Path, result: Path) -> None:
    result.symlink_to(secret)


def _a_second_name(secret: Path, result: Path) -> None:
    result.hardlink_to(secret)


def _a_folder(_secret: Path, result: Path) -> None:
    result.mkdir()


def _nothing(_secret: Path, _result: Path) -> None:
    return


@pytest.mark.parametrize("how", [_a_link, _a_second_name, _a_folder, _nothing])
def test_result_that_is_no_file_of_the_job_is_refused(
    clip: Path, tmp_path: Path, how: Callable[[Path, Path], None]
) -> None:
    """What is at that place is stored, and given to who asked."""
    secret, work = tmp_path / "server.env", tmp_path / "work"
    secret.write_text("canary")
    work.mkdir()
    plan = make_plan(clip, Wish(scale=2, model="lanczos"))
    how(secret, work / "joined.mp4")

    with pytest.raises(InmateDied, match="told of"):
        do_caged(FinishVideo(plan, (), work), _saying(_finished(work / "joined.mp4")), ignore)


def test_result_at_another_place_is_refused(clip: Path, tmp_path: Path) -> None:
    """Only the one place that the server knows is taken, and a file there is."""
    plan, secret = make_plan(clip, Wish(scale=2, model="lanczos")), tmp_path / "server.env"
    secret.write_text("canary")
    (tmp_path / "joined.mp4").write_bytes(b"a video")
    order = FinishVideo(plan, (), tmp_path)

    with pytest.raises(InmateDied, match=r"told of .*server\.env"):
        do_caged(order, _saying(_finished(secret)), ignore)
    assert _finished(tmp_path / "joined.mp4") == do_caged(order, _saying(_finished(tmp_path / "joined.mp4")), ignore)


@dataclass(slots=True)
class Notes:
    """A cage that only notes what an inmate would be bound to."""

    given: list[Bounds] = field(default_factory=list)

    def call(self, *_arguments: object, bounds: Bounds, **_more: object) -> None:
        """Note it."""
        self.given.append(bounds)


def _bounds_of(order: Caged, look_seconds: float = 120.0) -> Bounds:
    notes = Notes()
    with suppress(AttributeError):  # nothing was found
        do_caged(order, cast("Cage", notes), ignore, look_seconds)
    return notes.given[0]


@pytest.mark.parametrize("order", [ProbeSource, MakePoster])
def test_a_look_has_a_time_that_grows_with_the_file(order: Callable[[Path], Caged], tmp_path: Path) -> None:
    """A few KB never keep the desk for long; 2 GiB from a disk that gives 10 MB a second are read three times."""
    small, large = tmp_path / "small", tmp_path / "large"
    for path, size in ((small, 4000), (large, 2 << 30)):
        with path.open("wb") as file:
            file.truncate(size)

    assert 120.004 == _bounds_of(order(small)).seconds
    assert 30.004 == _bounds_of(order(small), look_seconds=30.0).seconds
    assert 3 * (2 << 30) / 10_000_000 < _bounds_of(order(large)).seconds < 3600
    assert 120 == _bounds_of(order(tmp_path / "missing")).seconds


def test_planning_and_excerpts_have_their_time_too(clip: Path, tmp_path: Path) -> None:
    """Whatever the desk does with a stranger's file, but for a job's own end."""
    probed, notes = probe_with_index(clip), Notes()
    info, length = probed.info, clip.stat().st_size
    opener = CagedOpener(cast("Cage", notes), 50.0)
    with suppress(AttributeError):
        opener.probe(clip, 1 << 20)
    opener.kept(probed, Wish())
    with suppress(TypeError):
        opener.decoder(info, "cuda")
    excerpt = Excerpt(info, Segment(0, None, None, None), Area(0, 0, info.size), "yuv420p")
    plan = make_plan(clip, Wish(scale=2, model="lanczos"))

    assert [50 + length / 1e6] * 3 == [one.seconds for one in notes.given]
    assert notes.given[2].devices
    assert 1500 + length / 2e4 == _bounds_of(WriteExcerpt(excerpt, tmp_path / "a.mp4"), 50.0).seconds
    assert math.inf == _bounds_of(FinishVideo(plan, (), tmp_path)).seconds


def test_what_a_join_may_write_follows_from_what_is_joined(clip: Path, tmp_path: Path) -> None:
    """An inmate that was taken over writes no file that fills the disk."""
    plan, given = make_plan(clip, Wish(scale=2, model="lanczos")), list[Any]()
    (tmp_path / "joined.mp4").write_bytes(b"a video")

    def call(*_arguments: object, **more: object) -> Finished:
        given.append(more["bounds"])
        return _finished(tmp_path / "joined.mp4")

    done = Done(0, (), 10 << 20, "")
    do_caged(FinishVideo(plan, (done,), tmp_path), cast("Cage", SimpleNamespace(call=call)), ignore)

    assert 40 << 20 < given[0].file_bytes < 1 << 30
    assert (tmp_path,) == given[0].writes


def _finished(path: Path) -> Finished:
    return Finished(path, Audit(()))
