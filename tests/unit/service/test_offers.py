"""The models that are offered: ours, the kernels and those that were added, with speeds that were measured or none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pytest

from tests.support.served import IdlePool, settings_in
from upscale_server.models.choices import Candidate, Choices
from upscale_server.service.offers import Offer, Offers
from upscale_server.web.models_routes import _view
from upscale_server.workers.pool import Pool
from upscale_server.workers.status import LaneStatus, PoolStatus


def offered(folder: Path, status: PoolStatus | None = None, **settings: Any) -> dict[str, Offer]:  # noqa: ANN401
    """Return the models of a server by name."""
    pool = IdlePool(status or PoolStatus(ready=False, fault=None, lanes=()))
    return {one.name: one for one in Offers(settings_in(folder, **settings), cast("Pool", pool)).models()}


def measured(engine: str, seconds: float, precision: str = "f32", fault: str = "") -> dict[str, object]:
    """Return what a measurement of 20 000 pixels leaves."""
    return {"engine": engine, "precision": precision, "seconds": seconds, "pixels": 20_000, "fault": fault}


def remember(folder: Path, chosen: Candidate, *found: dict[str, object], scale: int = 2, key: str = "a") -> None:
    """Leave a measurement of `fast`."""
    facts = {"model": "fast", "scale": scale, "measured": list(found)}
    Choices(folder / "choices.json").remember(key, chosen, facts)


def test_models_are_told_with_what_their_cards_say(tmp_path: Path) -> None:
    """Every family once, with its scales; one is the default; nothing is said of a speed that nobody measured."""
    found = offered(tmp_path)

    fast = found["fast"]
    assert {"fast", "fast-clean", "balanced", "lanczos", "bicubic"} == set(found)
    assert ((2, 4), "compressed", "luma", True) == (fast.scales, fast.for_sources, fast.domain, fast.default)
    assert fast.summary
    assert fast.licence
    assert 10_000 < fast.parameters
    assert ["fast"] == [one.name for one in found.values() if one.default]
    assert {None} == {one.seconds_per_megapixel for one in found.values()}
    assert (None, "lanczos") == (fast.engine, found["lanczos"].engine)


def test_a_measured_model_tells_its_engine_and_speed(tmp_path: Path) -> None:
    """Of the ways that were tried the chosen one speaks, of the scales the smallest that was measured."""
    remember(tmp_path, Candidate("openvino", "f32"), measured("openvino", 0.01), measured("torch", 0.02))
    remember(tmp_path, Candidate("openvino", "f32"), measured("openvino", 0.03), scale=4, key="b")

    fast = offered(tmp_path)["fast"]

    assert ("openvino", 0.5) == (fast.engine, fast.seconds_per_megapixel)
    assert {"854x480": 4.88, "1920x1080": 0.96} == fast.frames_per_second
    assert 0.5 == _view(fast).seconds_per_megapixel


def test_what_the_lanes_run_speaks_for_the_default_model(tmp_path: Path) -> None:
    """Not what was chosen once for another size, or is faster and not in use."""
    lane = LaneStatus(0, 1, "ready", "openvino", "CPU", "bf16", "fast")
    remember(tmp_path, Candidate("torch", "f32"), measured("torch", 0.001), measured("openvino", 0.004, "bf16"))

    fast = offered(tmp_path, PoolStatus(ready=True, fault=None, lanes=(lane,)))["fast"]

    assert ("openvino", 0.2) == (fast.engine, fast.seconds_per_megapixel)


def test_lanes_that_were_not_measured_tell_their_engine_alone(tmp_path: Path) -> None:
    """A speed is never made up."""
    lane = LaneStatus(0, 1, "ready", "openvino", "CPU", "f32", "fast")

    fast = offered(tmp_path, PoolStatus(ready=True, fault=None, lanes=(lane,)))["fast"]

    assert ("openvino", None, None) == (fast.engine, fast.seconds_per_megapixel, fast.frames_per_second)


def test_a_way_that_failed_is_no_speed(tmp_path: Path) -> None:
    """A fault has no time that means anything."""
    remember(tmp_path, Candidate("cuda", "f32"), measured("cuda", 0.001, fault="out of memory"))

    assert offered(tmp_path)["fast"].seconds_per_megapixel is None


def test_added_models_are_told_by_their_cards(tmp_path: Path) -> None:
    """Nothing of their files is opened; one without a card that can be read is named all the same."""
    folder = tmp_path / "models"
    folder.mkdir()
    for name in ("mine", "bare", "broken"):
        (folder / f"{name}.onnx").write_bytes(b"weights")
    card = {"name": "mine", "scale": 4, "domain": "rgb", "parameters": 7, "licence": "MIT", "summary": "sharp"}
    (folder / "mine.json").write_text(json.dumps(card))
    (folder / "broken.json").write_text("{")

    found = offered(tmp_path)

    assert Offer("mine", (4,), "sharp", "any", "MIT", 7, "rgb") == found["mine"]
    assert [(), ()] == [found[name].scales for name in ("bare", "broken")]
    assert [_view(one).name for one in found.values()] == list(found)


@pytest.mark.parametrize(
    ("asked", "default"), [("fast-clean", "fast-clean"), ("fast-clean-x2", "fast-clean"), ("lanczos", "lanczos")]
)
def test_the_servers_own_model_is_the_default(tmp_path: Path, asked: str, default: str) -> None:
    """What an operator set is what a job without a wish gets."""
    assert [default] == [one.name for one in offered(tmp_path, model_path=asked).values() if one.default]


@pytest.mark.parametrize(
    "found",
    [
        "a text",
        {"openvino": 1},
        ["a text"],
        [{}],
        [measured("openvino", 0.1) | {"seconds": "x"}],
        [measured("openvino", 0.1) | {"seconds": float("inf")}],
        [measured("openvino", 0.1) | {"pixels": 0}],
        [measured("openvino", 0.1) | {"pixels": None}],
    ],
    ids=["text", "one record", "list of texts", "empty record", "text for time", "infinite", "no pixels", "no number"],
)
def test_a_damaged_measurement_is_passed_over(tmp_path: Path, found: object) -> None:
    """The file may have been written by anybody; models are offered without a speed then."""
    facts = {"model": "fast", "scale": 2, "measured": found}
    Choices(tmp_path / "choices.json").remember("a", Candidate("openvino", "f32"), facts)

    assert offered(tmp_path)["fast"].seconds_per_megapixel is None
