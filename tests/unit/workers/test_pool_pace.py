"""A server's plans have the lanes that its lane processes loaded, and their engine where it runs the model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from tests.support.clip_spec import Clip, Picture
from tests.support.clip_writer import write_clip
from upscale_server.errors import Canceled, Draining, OutOfMemory, UpscaleError
from upscale_server.models.catalogue import BUILTIN, family
from upscale_server.models.choices import Candidate, Choices
from upscale_server.models.pace import Pace
from upscale_server.plan import Plan, make_plan
from upscale_server.wish import Wish
from upscale_server.workers import worker
from upscale_server.workers.crew import Crew
from upscale_server.workers.messages import Settled
from upscale_server.workers.needs import PoolNeeds
from upscale_server.workers.pool import Pool, at_pace_of


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """Give a plan without anything measured."""
    source = write_clip(Clip(pictures=(Picture(),)), tmp_path_factory.mktemp("clip") / "clip.mp4")
    return make_plan(source, Wish(model="fast", scale=2, engine="openvino", precision="f32", threads=1))


def test_a_plan_gets_the_measured_lanes_and_as_many_pixels_in_a_call(plan: Plan) -> None:
    """No byte depends on it: the digest, under which unfinished work is found, stays."""
    settled = Settled((plan.passes[0].card,), Candidate("openvino", "f32"), Pace(2, 4))

    found = at_pace_of(settled, plan)

    expected = 4 * worker.WARM_SIZE.pixels // plan.source.size.pixels
    assert (1, 2, expected) == (plan.lanes, found.lanes, found.batch)
    assert plan.digest == found.digest


@pytest.mark.parametrize("pace", [None, Pace(2, 4)])
def test_a_plan_for_something_else_stays_as_it_is(plan: Plan, pace: Pace | None) -> None:
    """Another model or engine was not measured."""
    other = replace(plan.passes[0].card, name="other")

    assert plan == at_pace_of(Settled((other,), Candidate("openvino", "f32"), pace), plan)
    assert plan == at_pace_of(Settled((plan.passes[0].card,), Candidate("cuda", "f32"), pace), plan)


def test_a_server_measures_with_the_threads_of_a_lane(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plan: Plan
) -> None:
    """Two streams pay on eight cores and not on one: what is measured is what a lane has."""
    asked: list[tuple[object, int]] = []

    def remember(_upscaler: object, size: object, _choices: object, options: worker.EngineOptions) -> Pace:
        asked.append((size, options.threads))
        return Pace(2, 4)

    monkeypatch.setattr("upscale_server.models.pace.remember_pace", remember)
    settled = Settled((plan.passes[0].card,), Candidate("openvino", "f32"))

    assert Pace(2, 4) == worker.find_pace(settled, 1, Choices(tmp_path / "choices.json"))
    assert [(worker.WARM_SIZE, 1)] == asked


@pytest.mark.parametrize(
    ("lanes_on", "model", "engine"),
    [
        ("openvino", "/state/models/esrgan.safetensors", "auto"),
        ("cuda", "/state/models/esrgan.safetensors", "auto"),
        ("torch-cuda", "/state/models/esrgan.safetensors", "torch-cuda"),
        ("torch", "/state/models/network.onnx", "auto"),
        ("torch", "balanced", "torch"),
        ("torch", str(BUILTIN / "balanced-x2.onnx"), "torch"),
        ("openvino", "/state/models/network.onnx", "openvino"),
    ],
)
def test_another_model_gets_the_engine_of_the_lanes_where_that_runs_it(lanes_on: str, model: str, engine: str) -> None:
    """A checkpoint runs on torch alone, and a stranger's network on anything else; nothing is settled for either."""
    settled = Settled((), Candidate(lanes_on, "bf16"))

    completed = Pool(PoolNeeds(lanes=1))._completed(Wish(model=model), settled, lanes=1)

    assert (model, engine, "auto", False) == (completed.model, completed.engine, completed.precision, completed.settled)


def test_the_lanes_own_model_is_as_settled_when_it_is_named() -> None:
    """Who names the built-in model gets the network that is loaded, and not a second one beside it."""
    settled = Settled(tuple(family("fast").values()), Candidate("openvino", "bf16"))

    completed = Pool(PoolNeeds(lanes=1))._completed(Wish(model="fast"), settled, lanes=1)

    assert ("fast", "openvino", "bf16", True) == (
        completed.model, completed.engine, completed.precision, completed.settled,
    )  # fmt: skip


class _Desk:
    """Fails whatever it is asked for."""

    def __init__(self, fault: UpscaleError) -> None:
        self._fault = fault

    def do(self, *_: object) -> object:
        """Fail."""
        raise self._fault


def test_a_pace_that_cannot_be_measured_does_not_keep_a_server_from_starting(tmp_path: Path) -> None:
    """It would only have been faster. Whoever stops the server is still obeyed."""
    settled = Settled((), Candidate("cuda", "f32"))
    pool = Pool(PoolNeeds(lanes=1, choices=tmp_path / "choices.json"))

    def found(fault: UpscaleError) -> Pace | None:
        pool._desk = cast("Crew", _Desk(fault))
        return pool._pace_of(settled, 1)

    assert found(OutOfMemory("the device is full")) is None
    assert found(UpscaleError("two worker processes died")) is None
    for fault in (Canceled("closing"), Draining("the server is stopping")):
        with pytest.raises(type(fault)):
            found(fault)
