"""What a worker process does when memory gives out: smaller steps inside the segment, and room for what follows."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from tests.support import substitute_engines, tiny_models
from tests.support.clip_spec import Clip, Picture
from tests.support.clip_writer import write_clip
from tests.support.cramped import Cramped
from tests.support.tiny_models import Form
from upscale_server.cage import Bounds, Cage
from upscale_server.checkpoint import Done
from upscale_server.errors import Canceled, OutOfMemory
from upscale_server.events import Event, SteppedDown, ignore
from upscale_server.models import select, ways
from upscale_server.models.base import EngineOptions, Pixels, Upscaled, Upscaler
from upscale_server.models.card import ModelCard
from upscale_server.models.choices import Candidate
from upscale_server.models.engine_cache import EngineCache
from upscale_server.models.load import load_with
from upscale_server.models.pace import Pace
from upscale_server.plan import Plan, make_plan
from upscale_server.wish import Limits, Wish
from upscale_server.workers import worker
from upscale_server.workers.held_pipe import HeldPipe
from upscale_server.workers.messages import LoadModels, MakePlan, Order, ProbeSource, RunSegment, Settled

FRAMES = 8


class _NobodyStops:
    """Stands for the pipe to the server."""

    def check(self) -> None:
        """Let the work go on."""


CAGE = Cage()


@pytest.fixture(autouse=True, scope="module")
def _one_cage() -> Iterator[None]:
    """Close the cage of all benches at the end."""
    yield
    CAGE.close()


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """Give the plan of a clip of one segment, in f32 with a lower precision left."""
    source = write_clip(Clip(pictures=(Picture(frame_count=FRAMES),)), tmp_path / "clip.mp4")
    made = make_plan(source, Wish(model="lanczos", codec="h264", preset="ultrafast", threads=1))
    return replace(made, precision="f32", lower_precisions=("bf16",))


def _bench(monkeypatch: pytest.MonkeyPatch, choices: Path | None, loaded: list[Cramped]) -> worker.Bench:
    """Return a bench whose networks are those of a list, in order."""
    waiting = iter(loaded)
    monkeypatch.setattr(worker, "load_with", lambda *_: next(waiting))
    return worker.Bench(cast("HeldPipe", _NobodyStops()), 1, choices, CAGE)


@pytest.mark.slow
def test_a_lane_asks_for_less_and_the_next_lane_begins_there(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch of eight that does not fit becomes one that does; another process reads it from the state folder."""
    pixels, file = plan.source.size.pixels, tmp_path / "choices.json"
    told: list[Event] = []
    again: list[Event] = []
    order = RunSegment(plan, plan.segments[0], tmp_path / "work")

    done = _bench(monkeypatch, file, [Cramped(most_pixels=2 * pixels)]).do(order, told.append)
    _bench(monkeypatch, file, [Cramped(most_pixels=2 * pixels)]).do(order, again.append)

    assert FRAMES == len(cast("Done", done).times)
    assert 2 == len([one for one in told if isinstance(one, SteppedDown)]), "eight, four, two"
    assert [] == [one for one in again if isinstance(one, SteppedDown)]


def test_networks_are_let_go_when_only_precision_is_left(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step to another precision is remembered, and the job's next plan finds the room."""
    small, lower = Cramped(most_pixels=10), Cramped(precision="bf16")
    bench = _bench(monkeypatch, None, [small, lower])

    with pytest.raises(OutOfMemory):
        bench.do(RunSegment(plan, plan.segments[0], tmp_path / "work"), lambda _: None)

    assert small.closed
    done = bench.do(RunSegment(plan.in_precision("bf16"), plan.segments[0], tmp_path / "work"), lambda _: None)
    assert FRAMES == len(cast("Done", done).times)
    assert not lower.closed


class _Counting(Cramped):
    """Notes the shapes that it was run on."""

    def __init__(self, *, most_pixels: int = 1 << 40, precision: str = "f32") -> None:
        super().__init__(most_pixels=most_pixels, precision=precision)
        self.shapes: list[tuple[int, ...]] = []

    def upscale(self, lr: Pixels, *, bits: int = 8, exact: bool = False) -> Upscaled:
        """Upscale, or refuse."""
        self.shapes.append(lr.shape)
        return super().upscale(lr, bits=bits, exact=exact)


def test_a_lane_is_warm_in_the_lower_precision_before_its_next_segment(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the job goes on with is loaded and has run at its size when the failed order is answered."""
    size, lower = plan.source.size, _Counting(precision="bf16")
    bench = _bench(monkeypatch, None, [Cramped(most_pixels=10), lower])

    with pytest.raises(OutOfMemory):
        bench.do(RunSegment(plan, plan.segments[0], tmp_path / "work"), lambda _: None)

    assert [(1, size.height, size.width)] == lower.shapes


def test_a_lane_without_a_lower_precision_is_warm_with_its_own_networks(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that is lost to memory does not leave the lane cold for the next one."""
    own, again = _Counting(), _Counting()
    bench = _bench(monkeypatch, None, [own, Cramped(most_pixels=10), again])
    bench.do(LoadModels(Settled((own.card,), Candidate("auto", "auto"))), lambda _: None)

    with pytest.raises(OutOfMemory):
        bench.do(RunSegment(replace(plan, lower_precisions=()), plan.segments[0], tmp_path / "work"), lambda _: None)

    assert own.closed
    assert own.shapes == again.shapes == [(1, worker.WARM_SIZE.height, worker.WARM_SIZE.width)]
    assert not again.closed


def test_a_network_that_does_not_fit_beside_others_gets_their_room(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another lane's step of precision reaches a lane that still holds the old one."""
    old, new = Cramped(), Cramped(precision="bf16")
    bench = _bench(monkeypatch, None, [old])
    bench.do(RunSegment(plan, plan.segments[0], tmp_path / "work"), lambda _: None)

    def load_where_room(*_: object) -> Cramped:
        if not old.closed:
            raise OutOfMemory("no room for another copy")
        return new

    monkeypatch.setattr(worker, "load_with", load_where_room)
    done = bench.do(RunSegment(plan.in_precision("bf16"), plan.segments[0], tmp_path / "lower"), lambda _: None)

    assert FRAMES == len(cast("Done", done).times)


def test_a_lane_that_must_ask_for_less_is_ready_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a job would run with smaller tiles is no reason to be without lanes; the next one begins there."""
    file, most = tmp_path / "choices.json", worker.WARM_SIZE.pixels // 2
    small = Cramped(most_pixels=most)
    told: list[Event] = []
    again: list[Event] = []
    order = LoadModels(Settled((small.card,), Candidate("auto", "auto")))

    working = _bench(monkeypatch, file, [small]).do(order, told.append)
    _bench(monkeypatch, file, [Cramped(most_pixels=most)]).do(order, again.append)

    assert small.working == working
    assert {SteppedDown} == {type(one) for one in told}
    assert [] == again


def test_a_lane_loads_its_own_networks_with_the_lanes_that_were_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was found out at the desk is what the lane's engine is made for."""
    asked: list[EngineOptions] = []

    def load(_card: object, _engine: str, options: EngineOptions) -> Cramped:
        asked.append(options)
        return Cramped()

    bench = _bench(monkeypatch, None, [])
    monkeypatch.setattr(worker, "load_with", load)

    bench.do(LoadModels(Settled((Cramped().card,), Candidate("auto", "auto"), Pace(2, 4))), lambda _: None)

    assert [(2, 1)] == [(one.lanes, one.threads) for one in asked]


@pytest.mark.slow
def test_an_engine_built_in_a_servers_background_runs_in_a_lane(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The desk begins the build, serves CUDA meanwhile and plans TensorRT afterwards; a lane opens what was built."""
    pytest.importorskip("onnxruntime", reason="the extra [onnxruntime] is not installed")
    from upscale_server.models.engines.onnxruntime import session, tensorrt  # noqa: PLC0415 - an extra

    network = tiny_models.convolutional(tmp_path / "conv.onnx", Form())
    wish = Wish(model=str(network), scale=2, engine="cuda", precision="f32", settled=True, codec="h264", threads=1)
    order = MakePlan(Path(plan.source.path), wish, Limits(), tmp_path / "state" / "choices.json")
    desk = _bench(monkeypatch, order.choices, [])
    real = load_with

    def load(card: ModelCard, engine: str, options: EngineOptions) -> Upscaler:
        if engine != "tensorrt":
            return _Named(real(card, "openvino", replace(options, precision="f32")), "cuda", slow=True)
        found = EngineCache(Path(options.engines)).find(tensorrt.key_of(card, options))
        assert found is not None, "opened before it was built, or for other frames"
        return _Named(substitute_engines.open_on_cpu(card, options, found), "tensorrt", slow=False)

    # A daemon may have no children by multiprocessing: the workers are daemons.
    monkeypatch.setitem(multiprocessing.current_process()._config, "daemon", 1)  # type: ignore[attr-defined]
    in_a_process = tensorrt.in_a_process
    monkeypatch.setattr(
        tensorrt, "in_a_process", lambda card, options: in_a_process(card, options, substitute_engines.open_on_cpu)
    )
    monkeypatch.setattr(session, "available_engines", lambda: ("onnxruntime", "cuda", "tensorrt"))
    for module in (select, ways, worker):
        monkeypatch.setattr(module, "load_with", load)

    before = cast("Plan", desk.do(order, lambda _: None))
    assert desk._builds is not None
    desk._builds.wait()
    after = cast("Plan", desk.do(order, lambda _: None))
    lane = worker.Bench(cast("HeldPipe", _NobodyStops()), 1, order.choices, CAGE)
    done = lane.do(RunSegment(after, after.segments[0], tmp_path / "work"), lambda _: None)

    assert ["cuda", "tensorrt"] == [before.engine, after.engine]
    assert FRAMES == len(cast("Done", done).times)


class _Named:
    """An upscaler under another engine's name; a slow one does the work many times."""

    def __init__(self, inner: Upscaler, engine: str, *, slow: bool) -> None:
        self._inner, self._times = inner, 30 if slow else 1
        self.card, self.working = inner.card, replace(inner.working, engine=engine)

    def upscale(self, lr: Pixels, *, bits: int = 8, exact: bool = False) -> Upscaled:
        """Upscale."""
        for _ in range(self._times - 1):
            self._inner.upscale(lr, bits=bits, exact=exact)
        return self._inner.upscale(lr, bits=bits, exact=exact)

    def close(self) -> None:
        """Release what is inside."""
        self._inner.close()


@pytest.mark.parametrize("asked", [ProbeSource, lambda path: MakePlan(path, Wish(), Limits(), None)])
def test_the_time_for_a_look_bounds_what_is_opened(asked: Callable[[Path], Order], tmp_path: Path) -> None:
    """A desk process gives it to whatever it looks at, for a plan as well."""
    seconds = list[float]()

    def call(*_arguments: object, bounds: Bounds, **_more: object) -> None:
        seconds.append(bounds.seconds)
        raise Canceled("enough")

    cage = cast("Cage", SimpleNamespace(call=call))
    desk = worker.Bench(cast("HeldPipe", _NobodyStops()), 1, None, cage, look_seconds=7.0)

    with pytest.raises(Canceled):
        desk.do(asked(tmp_path / "missing"), ignore)
    assert [7.0] == seconds
