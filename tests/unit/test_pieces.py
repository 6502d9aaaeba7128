"""Pieces of a real clip through model and encoder: what they weigh, that nothing is left, that a stop is obeyed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from upscale_server import bystanders
from upscale_server.bystanders import Spent
from upscale_server.checkpoint import Done, WorkDir
from upscale_server.errors import Canceled, OutOfMemory
from upscale_server.events import Event, FramesDone, Observer, PhaseStarted, ignore
from upscale_server.media.types import Segment
from upscale_server.models.load import load
from upscale_server.pieces import measure_pieces
from upscale_server.plan import Plan, make_plan
from upscale_server.sampling import Samples
from upscale_server.wish import Wish
from upscale_server.workers.in_process import InProcess


@pytest.fixture(scope="module")
def plan(bundled_clip: Path) -> Plan:
    """Give a quick plan of the bundled clip: five seconds of 30 frames."""
    return make_plan(bundled_clip, Wish(scale=2, model="lanczos", preset="ultrafast"))


class Here(InProcess):
    """The executor of the command line, with a hook before each segment."""

    def __init__(self, *, alone: bool = True) -> None:
        super().__init__(lambda _plan, one: load(one.card))
        self._alone = alone
        self.plans: list[Plan] = []

    @property
    def alone(self) -> bool:
        """Tell what the test wants to be told."""
        return self._alone

    def run(self, plan: Plan, segments: Sequence[Segment], work: WorkDir, observer: Observer) -> Iterator[Done]:
        """Run, and remember the plan."""
        self.plans.append(plan)
        yield from super().run(plan, segments, work, observer)


@pytest.mark.slow
def test_three_seconds_are_made_and_weighed(plan: Plan, tmp_path: Path) -> None:
    """Three pieces of a second, each with its keyframe, its other packets and its time."""
    with Here() as executor:
        _, measured = measure_pieces(plan, executor, tmp_path, ignore)

    assert measured is not None
    assert [30, 30, 30] == [one.frame_count for one in measured.pieces]
    assert all(0 < one.lead_bytes < one.byte_count for one in measured.pieces)
    assert [one.source_bytes for one in plan.samples.pieces] == [one.source_bytes for one in measured.pieces]
    assert (measured.seconds_per_frame or 0) > 0


@pytest.mark.slow
def test_nothing_is_left_and_what_was_there_stays(plan: Plan, tmp_path: Path) -> None:
    """The folder is the caller's."""
    (tmp_path / "theirs").touch()

    with Here() as executor:
        measure_pieces(plan, executor, tmp_path, ignore)

    assert [tmp_path / "theirs"] == list(tmp_path.iterdir())


@pytest.mark.slow
def test_progress_is_told(plan: Plan, tmp_path: Path) -> None:
    """A phase with as many frames as the pieces have, and each frame once."""
    events: list[Event] = []

    with Here() as executor:
        measure_pieces(plan, executor, tmp_path, events.append)

    assert PhaseStarted("measure", 90) == events[0]
    assert 90 == sum(one.count for one in events if isinstance(one, FramesDone))


@pytest.mark.slow
def test_pieces_made_beside_other_work_have_no_time(plan: Plan, tmp_path: Path) -> None:
    """Their size is as right as ever."""
    with Here(alone=False) as executor:
        _, measured = measure_pieces(plan, executor, tmp_path, ignore)

    assert measured is not None
    assert measured.seconds_per_frame is None
    assert all(one.byte_count for one in measured.pieces)


@pytest.mark.slow
def test_pieces_made_on_a_busy_machine_have_no_time(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other programs, which no executor knows of, took the processor meanwhile."""
    looks = itertools.count(step=1000)
    monkeypatch.setattr(bystanders, "spent_now", lambda: Spent(0.0, float(next(looks)), 1))

    with Here() as executor:
        _, measured = measure_pieces(plan, executor, tmp_path, ignore)

    assert measured is not None
    assert measured.seconds_per_frame is None


@pytest.mark.slow
def test_a_stop_ends_the_measuring_and_leaves_nothing(plan: Plan, tmp_path: Path) -> None:
    """Whoever asked has gone."""

    def stop(event: Event) -> None:
        if isinstance(event, FramesDone):
            raise Canceled("gone")

    with Here() as executor, pytest.raises(Canceled):
        measure_pieces(plan, executor, tmp_path, stop)

    assert [] == list(tmp_path.iterdir())


def test_a_source_that_cannot_be_cut_is_not_measured(plan: Plan, tmp_path: Path) -> None:
    """None, and the estimate says rough."""
    with Here() as executor:
        assert measure_pieces(replace(plan, samples=Samples()), executor, tmp_path, ignore)[1] is None

    assert [] == executor.plans


@pytest.mark.slow
def test_memory_that_does_not_suffice_is_answered_as_the_job_would(plan: Plan, tmp_path: Path) -> None:
    """The pieces are made in the precision that the job ends up in."""

    class Short(Here):
        def run(self, plan: Plan, segments: Sequence[Segment], work: WorkDir, observer: Observer) -> Iterator[Done]:
            if plan.lower_precisions:
                self.plans.append(plan)
                raise OutOfMemory("too little")
            yield from super().run(plan, segments, work, observer)

    with Short() as executor:
        worked, measured = measure_pieces(replace(plan, lower_precisions=("integer",)), executor, tmp_path, ignore)

    assert measured is not None
    assert ("integer", ()) == (worked.precision, worked.lower_precisions)
    assert [1, 0, 0, 0] == [len(one.lower_precisions) for one in executor.plans]
