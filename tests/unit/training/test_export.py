"""The shipped file computes what was trained, and its card tells the truth."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="exporting needs onnx (extra [train])")
ov = pytest.importorskip("openvino")

from training.export import build_model, export  # noqa: E402  after the skip
from training.layers import Layer, Shape  # noqa: E402
from training.recipes import RECIPES  # noqa: E402
from training.weights import History, load_layers  # noqa: E402


def random_layers(shape: Shape) -> list[Layer]:
    """Layers with the spread of a trained network's."""
    random = np.random.default_rng(1)
    return [
        Layer(
            random.normal(0, (1 / (9 * c_in)) ** 0.5, (c_out, c_in, 3, 3)).astype(np.float32),
            random.normal(0, 0.01, c_out).astype(np.float32),
        )
        for c_in, c_out in shape.widths
    ]


def run(model: bytes, lr: np.ndarray) -> np.ndarray:
    """Run a model in f32."""
    compiled = ov.Core().compile_model(ov.Core().read_model(model), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return np.asarray(compiled(lr)[0])


@pytest.mark.parametrize("scale", [2, 4])
def test_a_network_of_zeros_is_the_nearest_neighbour(scale: int) -> None:
    """The residual is LR with each sample repeated: order and place of the sub-pixels are right."""
    shape = Shape(4, 1, scale)
    zeros = [Layer(np.zeros((o, i, 3, 3), np.float32), np.zeros(o, np.float32)) for i, o in shape.widths]
    lr = np.random.default_rng(1).uniform(0, 1, (2, 1, 6, 7)).astype(np.float32)

    found = run(build_model(zeros, shape).SerializeToString(), lr)

    np.testing.assert_allclose(found, lr.repeat(scale, axis=2).repeat(scale, axis=3), atol=1e-7)


def test_subpixels_are_in_row_order() -> None:
    """Plane i of the last convolution lands at row i // scale, column i % scale."""
    shape = Shape(4, 1, 2)
    layers = [Layer(np.zeros((o, i, 3, 3), np.float32), np.zeros(o, np.float32)) for i, o in shape.widths]
    layers[-1] = Layer(layers[-1].kernel, np.array([1, 2, 3, 4], np.float32))

    found = run(build_model(layers, shape).SerializeToString(), np.zeros((1, 1, 1, 1), np.float32))

    assert found[0, 0].tolist() == [[1, 2], [3, 4]]


def test_any_batch_and_size_runs_in_one_compiled_model() -> None:
    """Batch, height and width are free."""
    shape = Shape(4, 1, 2)
    model = build_model(random_layers(shape), shape).SerializeToString()

    for size in ((1, 1, 5, 9), (3, 1, 16, 8)):
        assert run(model, np.zeros(size, np.float32)).shape == (size[0], 1, 2 * size[2], 2 * size[3])


@pytest.mark.parametrize("skips", [False, True])
def test_the_file_computes_what_was_trained(*, skips: bool) -> None:
    """The same picture by the runtime and by PyTorch, in float32."""
    torch = pytest.importorskip("torch", reason="training needs PyTorch (extra [train])")
    from training.watch import upscale  # noqa: PLC0415  imports torch

    shape = Shape(8, 2, 2, skips)
    layers = random_layers(shape)
    lr = np.random.default_rng(1).uniform(0, 1, (1, 1, 12, 10)).astype(np.float32)

    found = run(build_model(layers, shape).SerializeToString(), lr)

    np.testing.assert_allclose(found, upscale(torch.from_numpy(lr), layers, shape).numpy(), atol=1e-5)


def test_the_card_describes_the_file_and_training_can_go_on_from_it(tmp_path: Path) -> None:
    """SHA-256, size, counts and minutes are those of the file; its layers are those exported."""
    recipe = RECIPES["fast-clean-x2"]
    layers = random_layers(recipe.shape)

    path = export(recipe, layers, History(minutes=12.34), tmp_path, {})
    card = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    loaded, history = load_layers(path)

    assert card["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert card["bytes"] == path.stat().st_size
    assert card["trained_minutes"] == 12.3
    assert history.minutes == 12.3
    assert sorted(file.name for file in tmp_path.iterdir()) == ["fast-clean-x2.json", "fast-clean-x2.onnx"]
    np.testing.assert_array_equal(loaded[2].kernel, layers[2].kernel)
