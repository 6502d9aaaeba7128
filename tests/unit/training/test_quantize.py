"""A network in int8 rounds what goes into its convolutions, and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="training is not installed: pip install -e '.[train]'")
pytest.importorskip("onnxruntime", reason="training is not installed: pip install -e '.[train]'")

from training.export import build_model  # noqa: E402  after the skip
from training.layers import Layer, Shape  # noqa: E402  after the skip
from training.quantize import CALIBRATION_PICTURES, calibration_pictures, compiled, quantize  # noqa: E402
from training.recipes import RECIPES  # noqa: E402  after the skip
from training.shards import Pairs, save_pairs  # noqa: E402  after the skip

SHAPE = Shape(8, 2, 2)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Write a small network with random weights."""
    chance = np.random.default_rng(3)
    layers = [
        Layer(chance.normal(0, 0.1, (c_out, c_in, 3, 3)).astype(np.float32), np.full(c_out, 0.01, np.float32))
        for c_in, c_out in SHAPE.widths
    ]
    path = tmp_path / "small.onnx"
    path.write_bytes(build_model(layers, SHAPE).SerializeToString())
    return path


@pytest.fixture
def pictures() -> np.ndarray:
    """Give a few pictures to read ranges from."""
    return np.random.default_rng(4).random((4, 1, 16, 16), dtype=np.float32)


@pytest.mark.slow
@pytest.mark.parametrize(("keep_last", "left"), [(False, {"conv0"}), (True, {"conv0", "conv3"})])
def test_convolutions_are_quantized_but_the_first_and_the_last_if_asked(
    model: Path, pictures: np.ndarray, tmp_path: Path, *, keep_last: bool, left: set[str]
) -> None:
    """Of a quantized one both inputs are behind a DequantizeLinear; nothing that comes out of one is rounded again."""
    quantize(model, tmp_path / "int8.onnx", pictures, keep_last=keep_last)

    nodes = onnx.load(tmp_path / "int8.onnx").graph.node
    made_by = {name: node.op_type for node in nodes for name in node.output}
    plain = {node.name for node in nodes if node.op_type == "Conv" and made_by.get(node.input[0]) != "DequantizeLinear"}
    rounded = {made_by.get(node.input[0]) for node in nodes if node.op_type == "QuantizeLinear"}
    assert left == plain
    assert rounded == {"Relu"}


@pytest.mark.slow
def test_int8_is_close_to_what_it_was_made_of(model: Path, pictures: np.ndarray, tmp_path: Path) -> None:
    """Within two steps of 255, and not the same."""
    quantize(model, tmp_path / "int8.onnx", pictures, keep_last=False)

    exact, found = (compiled(one, "f32")(pictures[:1]) for one in (model, tmp_path / "int8.onnx"))

    assert found == pytest.approx(exact, abs=2 / 255)
    assert not np.array_equal(exact, found)


def test_ranges_are_read_from_all_kinds_of_a_mixture(tmp_path: Path) -> None:
    """Clean pictures are larger than filmed ones; all are cut to the smallest, and white is 1."""
    for index, kind in enumerate(("clean", "ultrafast", "spread")):
        lr = np.full((40, 24 - 4 * index, 20), 255 * index // 2, np.uint8)
        save_pairs(tmp_path / "x2", kind, Pairs(lr, np.zeros((40, 8, 8), np.uint8)))

    found = calibration_pictures(tmp_path, RECIPES["fast-x2"])

    assert found.shape == (CALIBRATION_PICTURES // 3 * 3, 1, 16, 16)
    assert np.unique(found).tolist() == pytest.approx([0.0, 127 / 255, 1.0])
