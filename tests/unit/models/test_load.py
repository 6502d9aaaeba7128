"""A card becomes a running upscaler, or an error that says why not."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from tests.support import tiny_models
from tests.support.tiny_models import Form
from upscale_server.errors import BadRequest, MissingExtra, ModelInvalid, ModelMissing
from upscale_server.models import catalogue, extras
from upscale_server.models.card import ModelCard
from upscale_server.models.load import load


def test_auto_takes_the_engine_that_the_card_needs(tmp_path: Path) -> None:
    """Weights run on OpenVINO and the kernel without weights on its own."""
    network = tiny_models.nearest(tmp_path / "nearest.onnx", Form())

    for card, engine in ((catalogue.find("lanczos", 2), "lanczos"), (catalogue.find(str(network), 2), "openvino")):
        with closing(load(card)) as loaded:
            assert engine == loaded.working.engine
            assert card == loaded.card


@pytest.mark.parametrize("engine", ["vulkan", "", "OpenVINO"])
def test_an_unknown_engine_is_refused(engine: str) -> None:
    """The message lists the engines."""
    with pytest.raises(BadRequest, match="expected one of auto, openvino, onnxruntime, cuda, tensorrt, torch, "):
        load(catalogue.find("lanczos", 2), engine=engine)


def test_an_engine_that_cannot_run_the_card_is_refused() -> None:
    """An engine that is asked for is never replaced by another."""
    with pytest.raises(BadRequest, match="openvino cannot run the model lanczos"):
        load(catalogue.find("lanczos", 2), engine="openvino")


@pytest.mark.parametrize(("lanes", "threads"), [(0, 1), (1, -1), (-3, 0)])
def test_lanes_and_threads_that_make_no_sense_are_refused(lanes: int, threads: int) -> None:
    """At least one lane; 0 threads means all."""
    with pytest.raises(BadRequest, match=f"lanes is {lanes} and threads is {threads}"):
        load(catalogue.find("lanczos", 2), lanes=lanes, threads=threads)


def test_a_file_changed_since_the_plan_was_made_is_refused(tmp_path: Path) -> None:
    """The bytes planned with are the bytes run."""
    path = tiny_models.nearest(tmp_path / "mine.onnx", Form())
    card = catalogue.find(str(path), 2)
    tiny_models.nearest(path, Form(scale=4))

    with pytest.raises(ModelInvalid, match="its card says"):
        load(card)


def test_a_file_gone_since_the_plan_was_made_is_missing(tmp_path: Path) -> None:
    """A model on a disk that was taken away is named."""
    path = tiny_models.nearest(tmp_path / "mine.onnx", Form())
    card = catalogue.find(str(path), 2)
    path.unlink()

    with pytest.raises(ModelMissing, match=r"mine\.onnx"):
        load(card)


@pytest.mark.parametrize("engine", ["torch", "torch-cuda"])
def test_torch_that_is_not_installed_names_the_extra(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one line says what to install; torch alone, as the training brings it, is not enough."""
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == "spandrel" else name)

    with pytest.raises(MissingExtra, match=rf"engine {engine} needs the extra \[torch\]") as caught:
        load(catalogue.find("fast", 2), engine=engine)

    assert "pip install 'upscale-server[torch]'" == caught.value.hint


def test_a_checkpoint_needs_the_extra_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody asked for an engine; the message says what needs it."""
    monkeypatch.setattr(extras, "find_spec", lambda _: None)
    path = tmp_path / "mine.safetensors"
    path.write_bytes(b"weights")
    card = ModelCard("mine", 2, "rgb", str(path))

    with pytest.raises(MissingExtra, match=r"^mine needs the extra \[torch\]"):
        load(card)
    with pytest.raises(MissingExtra, match=r"mine\.safetensors needs the extra \[torch\]"):
        catalogue.find(str(path), 2)
