"""What a worker process does when memory gives out: smaller steps inside the segment, and room for what follows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from tests.support.clip_spec import Clip, Picture
from tests.support.clip_writer import write_clip
from tests.support.cramped import Cramped
from upscale_server.checkpoint import Done
from upscale_server.errors import OutOfMemory
from upscale_server.events import Event, SteppedDown
from upscale_server.models.choices import Choices, Points
from upscale_server.plan import Plan, make_plan
from upscale_server.wish import Wish
from upscale_server.workers import worker
from upscale_server.workers.held_pipe import HeldPipe
from upscale_server.workers.messages import RunSegment

FRAMES = 8


class _NobodyStops:
    """Stands for the pipe to the server."""

    def check(self) -> None:
        """Let the work go on."""


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """Give the plan of a clip of one segment, in f32 with a lower precision left."""
    source = write_clip(Clip(pictures=(Picture(frame_count=FRAMES),)), tmp_path / "clip.mp4")
    made = make_plan(source, Wish(model="lanczos", codec="h264", preset="ultrafast", threads=1))
    return replace(made, precision="f32", lower_precisions=("bf16",))


def _bench(monkeypatch: pytest.MonkeyPatch, points: Points, loaded: list[Cramped]) -> worker.Bench:
    """Return a bench whose networks are those of a list, in order."""
    waiting = iter(loaded)
    monkeypatch.setattr(worker, "load_with", lambda *_: next(waiting))
    return worker.Bench(cast("HeldPipe", _NobodyStops()), 1, points)


def test_a_lane_asks_for_less_and_the_next_lane_begins_there(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch of eight that does not fit becomes one that does; another process reads it from the state folder."""
    pixels, file = plan.source.size.pixels, tmp_path / "choices.json"
    told: list[Event] = []
    again: list[Event] = []
    order = RunSegment(plan, plan.segments[0], tmp_path / "work")

    done = _bench(monkeypatch, Choices(file).points, [Cramped(most_pixels=2 * pixels)]).do(order, told.append)
    _bench(monkeypatch, Choices(file).points, [Cramped(most_pixels=2 * pixels)]).do(order, again.append)

    assert FRAMES == len(cast("Done", done).times)
    assert 2 == len([one for one in told if isinstance(one, SteppedDown)]), "eight, four, two"
    assert [] == [one for one in again if isinstance(one, SteppedDown)]


def test_networks_are_let_go_when_only_precision_is_left(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step to another precision is remembered, and the job's next plan finds the room."""
    points, small, lower = Points(), Cramped(most_pixels=10), Cramped(precision="bf16")
    bench = _bench(monkeypatch, points, [small, lower])

    with pytest.raises(OutOfMemory):
        bench.do(RunSegment(plan, plan.segments[0], tmp_path / "work"), lambda _: None)

    assert small.closed
    done = bench.do(RunSegment(plan.in_precision("bf16"), plan.segments[0], tmp_path / "work"), lambda _: None)
    assert FRAMES == len(cast("Done", done).times)
    assert not lower.closed
