"""The fastest right way to run a model is chosen by measurement, once, and remembered."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support import tiny_models
from tests.support.tiny_models import Form
from upscale_server.errors import BadRequest, OutOfMemory
from upscale_server.media.types import Size
from upscale_server.models import catalogue, extras, pace, select, versions, ways
from upscale_server.models.base import EngineOptions, Pixels, Upscaled, Working
from upscale_server.models.card import ModelCard
from upscale_server.models.choices import Candidate, Choices
from upscale_server.models.select import Measured

SIZE = Size(64, 48)
AUTO = Candidate("auto", "auto")
EXACT, FAST, OTHER = Candidate("openvino", "f32"), Candidate("openvino", "bf16"), Candidate("onnxruntime", "f32")


@pytest.fixture
def card(tmp_path: Path) -> ModelCard:
    """Give the card of a small network."""
    return catalogue.find(str(tiny_models.convolutional(tmp_path / "conv.onnx", Form())), 2)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[Size]:
    """Replace measuring by an answer, the third candidate fastest, and note the sizes asked for."""
    asked: list[Size] = []

    def measure(_card: ModelCard, _offered: object, size: Size, _engines: str) -> tuple[Measured, ...]:
        asked.append(size)
        speeds = ((EXACT, 0.3), (FAST, 0.2), (OTHER, 0.1))
        return tuple(Measured(one.engine, one.precision, "CPU", seconds, 1, 60.0) for one, seconds in speeds)

    monkeypatch.setattr(select, "candidates", lambda *_: (EXACT, FAST, OTHER))
    monkeypatch.setattr(select, "measure", measure)
    return asked


def test_the_fastest_is_chosen_and_measured_once_for_each_size(
    card: ModelCard, tmp_path: Path, counted: list[Size]
) -> None:
    """A second plan, in another process too, asks the file."""
    choices, larger = Choices(tmp_path / "choices.json"), Size(128, 96)

    assert OTHER == select.choose(card, AUTO, SIZE, choices)
    assert OTHER == select.choose(card, AUTO, SIZE, Choices(tmp_path / "choices.json"))
    assert OTHER == select.choose(card, AUTO, larger, choices)

    assert [SIZE, larger] == counted


@pytest.mark.parametrize("content", ["", "{", "[1, 2]", '{"KEY": 5}', '{"KEY": {"engine": 1, "precision": "f32"}}'])
def test_a_damaged_memory_is_measured_again_and_repaired(
    card: ModelCard, tmp_path: Path, counted: list[Size], content: str
) -> None:
    """Whatever stands in the file, the work goes on."""
    path = tmp_path / "choices.json"
    select.choose(card, AUTO, SIZE, Choices(path))
    (key,) = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(content.replace("KEY", key), encoding="utf-8")

    assert OTHER == select.choose(card, AUTO, SIZE, Choices(path))
    assert OTHER == Choices(path).recall(key)
    assert 2 == len(counted)
    assert ["choices.json", "choices.json.lock", "conv.onnx"] == sorted(file.name for file in tmp_path.iterdir())


def test_a_memory_that_cannot_be_written_costs_no_result(card: ModelCard, tmp_path: Path, counted: list[Size]) -> None:
    """A full or read-only disk means measuring again, not failing."""
    (tmp_path / "file").write_text("in the way", encoding="utf-8")

    assert OTHER == select.choose(card, AUTO, SIZE, Choices(tmp_path / "file" / "choices.json"))
    assert [SIZE] == counted


def test_a_choice_of_other_versions_or_candidates_does_not_count(
    card: ModelCard, tmp_path: Path, counted: list[Size], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was fastest with another OpenVINO is measured again."""
    choices = Choices(tmp_path / "choices.json")
    select.choose(card, AUTO, SIZE, choices)
    monkeypatch.setattr(versions, "version", lambda _: "9999.0")

    select.choose(card, AUTO, SIZE, choices)

    assert 2 == len(counted)


@pytest.mark.slow
def test_one_candidate_is_not_measured(card: ModelCard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing is open, nothing is loaded twice and nothing is written."""
    monkeypatch.setattr(select, "measure", lambda *_: pytest.fail("measured"))
    choices = Choices(tmp_path / "choices.json")

    working, _ = ways.way_of(card, EXACT, SIZE, choices)
    plain, _ = ways.way_of(catalogue.find("lanczos", 2), AUTO, SIZE, choices)

    assert ("openvino", "f32") == (working.engine, working.precision)
    assert "lanczos" == plain.engine
    assert not (tmp_path / "choices.json").exists()


@pytest.mark.slow
def test_without_a_memory_nothing_is_measured(card: ModelCard, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library call takes what `load` takes."""
    monkeypatch.setattr(select, "measure", lambda *_: pytest.fail("measured"))
    monkeypatch.setattr(pace, "measure_pace", lambda *_: pytest.fail("measured"))

    working, usual = ways.way_of(card, AUTO, SIZE, None)

    assert ("openvino", pace.Pace(1, 8)) == (working.engine, usual)


def test_an_unknown_engine_is_refused_before_anything_is_measured(card: ModelCard, tmp_path: Path) -> None:
    """A misspelt name is not a wish for any engine."""
    with pytest.raises(BadRequest, match="engine is 'vulkan'"):
        ways.way_of(card, Candidate("vulkan", "auto"), SIZE, Choices(tmp_path / "choices.json"))


@pytest.mark.slow
def test_every_engine_that_is_here_is_measured_and_held_against_f32(card: ModelCard) -> None:
    """The real measurement: times, distances and devices of all candidates."""
    offered = select.candidates(card, AUTO)

    measured = select.measure(card, offered, Size(640, 480))

    assert EXACT in offered
    assert offered == tuple(Candidate(one.engine, one.precision) for one in measured)
    assert all(one.seconds > 0 and one.device and not one.fault for one in measured)
    assert all(one.psnr >= 45 for one in measured)
    # The frame's shape, with no more pixels than measuring may cost (rounding a side may add half a line).
    assert measured[0].pixels == pytest.approx(select.MEASURED_PIXELS, rel=0.01)


def test_torch_is_offered_what_it_runs_and_nothing_is_imported_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plan must not wait for torch to start: what is here is told by packages, flags and the driver's files."""
    ours, checkpoint = catalogue.find("fast", 2), ModelCard("mine", 4, "rgb", str(tmp_path / "mine.safetensors"))
    checkpoint = replace(checkpoint, precisions=("f16", "bf16", "f32"))
    monkeypatch.setattr(extras, "find_spec", lambda name: name)
    monkeypatch.setattr(select, "cpu_computes_bf16", lambda: True)
    monkeypatch.setattr(select, "nvidia_gpus", lambda: ("a GPU",))

    def torch_of(card: ModelCard, engine: str = "auto", precision: str = "auto") -> list[tuple[str, str]]:
        offered = select.candidates(card, Candidate(engine, precision))
        return [(one.engine, one.precision) for one in offered if one.engine.startswith("torch")]

    on_gpu = [("torch-cuda", name) for name in ("f16", "bf16", "f32")]
    assert [("torch", "bf16"), ("torch", "f32"), *on_gpu] == torch_of(checkpoint)
    assert len(torch_of(checkpoint)) == len(select.candidates(checkpoint, AUTO))
    assert [("torch", "bf16"), ("torch", "f32"), *on_gpu[1:]] == torch_of(ours)
    assert on_gpu[:1] == torch_of(checkpoint, precision="f16")
    assert on_gpu == torch_of(checkpoint, engine="torch-cuda")
    assert [] == torch_of(replace(ours, path=str(tmp_path / "other.onnx")))
    monkeypatch.setattr(select, "nvidia_gpus", lambda: ())
    monkeypatch.setattr(select, "cpu_computes_bf16", lambda: False)
    assert [("torch", "f32")] == torch_of(ours)
    monkeypatch.setattr(extras, "find_spec", lambda _: None)
    assert () == select.candidates(checkpoint, AUTO)


def test_of_two_precisions_that_need_as_much_memory_the_better_one_is_the_lower_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between f16 and bf16 nothing is gained, and f16 has more significant bits."""
    checkpoint = ModelCard("mine", 4, "rgb", str(tmp_path / "mine.safetensors"), precisions=("f16", "bf16", "f32"))
    monkeypatch.setattr(extras, "find_spec", lambda name: name)
    monkeypatch.setattr(select, "nvidia_gpus", lambda: ("a GPU",))

    assert ("f16",) == select.lower_precisions(checkpoint, Working("torch-cuda", "GPU", "f32", 60.0))
    assert () == select.lower_precisions(checkpoint, Working("torch-cuda", "GPU", "f16", 60.0))


@pytest.mark.parametrize("engine", ["onnxruntime", "cuda", "tensorrt"])
@pytest.mark.parametrize("package", ["onnxruntime", "onnxruntime-gpu"])
def test_a_plan_names_the_onnx_runtime_that_is_installed(
    engine: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The extra [cuda] brings the engine on the CPU, too, under another package's name."""

    def version(name: str) -> str:
        if name.startswith("onnxruntime") and name != package:
            raise PackageNotFoundError(name)
        return "9999.0"

    monkeypatch.setattr(versions, "version", version)

    assert {"upscale-server", "av", "openvino", package} == versions.made_with(engine).keys()
    assert {"upscale-server", "av", "openvino"} == versions.made_with("openvino").keys()


def test_a_heavy_network_is_measured_on_fewer_pixels(card: ModelCard) -> None:
    """Measuring costs seconds, whatever is measured."""
    heavy = replace(card, macs_per_pixel=16_000_000)

    height, width = select.measured_window(heavy, Size(1280, 720))

    assert height * width == pytest.approx(4096, rel=0.05)
    assert width / height == pytest.approx(16 / 9, rel=0.05)


@pytest.mark.slow
def test_a_candidate_far_from_f32_is_named_and_not_chosen(card: ModelCard, monkeypatch: pytest.MonkeyPatch) -> None:
    """Speed does not excuse a wrong picture."""
    real = select.load_with

    def load(one: ModelCard, engine: str, options: EngineOptions) -> object:
        loaded = real(one, engine, replace(options, precision="f32"))
        if options.precision == "bf16":
            monkeypatch.setattr(loaded, "upscale", _darkened(loaded.upscale))
        return loaded

    monkeypatch.setattr(select, "load_with", load)

    measured = select.measure(card, (EXACT, FAST), SIZE)

    assert "" == measured[0].fault
    assert "dB from f32; expected at least 45" in measured[1].fault
    assert select.fastest(measured) == measured[0]


@pytest.mark.slow
def test_a_candidate_that_does_not_load_is_named_and_the_others_are_measured(card: ModelCard) -> None:
    """An engine whose device is missing must not hide those that work."""
    measured = select.measure(card, (EXACT, Candidate("onnxruntime", "bf16")), SIZE)

    assert ["", True] == [measured[0].fault, bool(measured[1].fault)]


@pytest.mark.slow
@pytest.mark.parametrize("fits", [0, 1, 2, 3])
def test_a_candidate_that_runs_out_of_memory_is_named_and_the_others_are_measured(
    card: ModelCard, monkeypatch: pytest.MonkeyPatch, fits: int
) -> None:
    """A GPU that another program fills loads a network and does not run it, or not for long."""
    real = select.load_with

    def load(one: ModelCard, engine: str, options: EngineOptions) -> object:
        loaded = real(one, "openvino", replace(options, precision="f32"))
        if engine == "cuda":
            monkeypatch.setattr(loaded, "upscale", _fitting(loaded.upscale, fits))
        return loaded

    monkeypatch.setattr(select, "load_with", load)

    measured = select.measure(card, (Candidate("cuda", "f32"), EXACT), SIZE)

    assert ["the device is full", ""] == [one.fault for one in measured]
    assert select.fastest(measured) == measured[1]


@pytest.mark.slow
def test_where_nothing_fits_to_hold_the_others_against_all_are_named(
    card: ModelCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without f32 there is no telling which is right, and so nothing to choose."""
    real = select.load_with

    def load(one: ModelCard, _engine: str, options: EngineOptions) -> object:
        loaded = real(one, "openvino", replace(options, precision="f32"))
        monkeypatch.setattr(loaded, "upscale", _fitting(loaded.upscale, 1))
        return loaded

    monkeypatch.setattr(select, "load_with", load)

    measured = select.measure(card, (FAST, Candidate("cuda", "bf16")), SIZE)

    assert ["the device is full"] * 2 == [one.fault for one in measured]
    assert select.fastest(measured) is None


@pytest.mark.slow
def test_those_who_start_at_once_choose_the_same(
    card: ModelCard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second waits for the first one's measurement instead of making its own, which could end otherwise."""
    both_here = threading.Barrier(2)
    winners = iter(["f32", "bf16"])

    def measured(_card: ModelCard, offered: tuple[Candidate, ...], *_: object) -> tuple[Measured, ...]:
        with suppress(threading.BrokenBarrierError):
            both_here.wait(0.5)  # met only where both measure
        best = next(winners)
        return tuple(
            Measured(one.engine, one.precision, "CPU", 1.0 if one.precision == best else 2.0, 1, 99.0)
            for one in offered
        )

    monkeypatch.setattr(select, "measure", measured)
    monkeypatch.setattr(select, "candidates", lambda *_: (Candidate("openvino", "bf16"), Candidate("openvino", "f32")))
    with ThreadPoolExecutor(2) as starters:
        chosen = [
            starters.submit(select.choose, card, AUTO, SIZE, Choices(tmp_path / "choices.json")) for _ in range(2)
        ]

    assert 1 == len({one.result() for one in chosen})


@pytest.mark.slow
def test_what_was_measured_is_what_load_gives(card: ModelCard, tmp_path: Path) -> None:
    """The names that are remembered are names that `load` takes."""
    chosen = select.choose(card, AUTO, SIZE, Choices(tmp_path / "choices.json"))

    with closing(ways.load_way(card, chosen, SIZE, None)) as loaded:
        assert chosen == Candidate(loaded.working.engine, loaded.working.precision)


def _fitting(upscale: Callable[..., Upscaled], times: int) -> Callable[..., Upscaled]:
    """Return an `upscale` that fits into memory so many times."""
    left = iter(range(times))

    def full(lr: Pixels, **named: Any) -> Upscaled:  # noqa: ANN401 - handed on
        if next(left, None) is None:
            raise OutOfMemory("the device is full")
        return upscale(lr, **named)

    return full


def _darkened(upscale):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 - any upscaler's method
    """Return an `upscale` whose result is half as bright."""

    def wrong(*arguments, **named):  # type: ignore[no-untyped-def]  # noqa: ANN002, ANN003, ANN202
        result = upscale(*arguments, **named)
        return type(result)(np.asarray(result.pixels) // 2, result.finite)

    return wrong
