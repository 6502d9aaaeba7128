"""The last convolution by blocks of pixels: the same bytes, and only where it is a plain one that gains by it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openvino as ov
import openvino.opset13 as op
import pytest

from tests.support import tiny_models
from tests.support.tiny_models import Form
from upscale_server.models.base import EngineOptions, Precision
from upscale_server.models.card import ModelCard
from upscale_server.models.catalogue import find
from upscale_server.models.engines.openvino import graph
from upscale_server.models.engines.openvino.blocks import in_blocks
from upscale_server.models.engines.openvino.runner import Runner, device_precisions

SIZES = [(1, 1), (1, 8), (7, 2), (20, 34), (21, 33), (20, 33)]


def upscaled(card: ModelCard, height: int, width: int, precision: Precision) -> np.ndarray:
    """Return what the graph makes of noise."""
    lr = np.random.default_rng(3).integers(0, 256, (1, height, width), np.uint8)
    model = graph.with_pixels(graph.read(card.path), card, graph.Pixels(height, width, 8))
    return Runner(model, precision, EngineOptions()).run(lr)[0]


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["f32", "bf16"])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_blocks_give_the_same_bytes(
    monkeypatch: pytest.MonkeyPatch, height: int, width: int, precision: Precision
) -> None:
    """For even and odd sides: each value is the sum of the same products in the same order."""
    if precision not in device_precisions():
        pytest.skip(f"this processor does not compute in {precision}")
    card = find("fast", 2)

    by_blocks = upscaled(card, height, width, precision)
    monkeypatch.setattr(graph, "in_blocks", lambda *_: None)
    plainly = upscaled(card, height, width, precision)

    assert (1, 2 * height, 2 * width) == by_blocks.shape
    assert np.array_equal(plainly, by_blocks)


def last_convolution(path: Path, scale: int) -> tuple[ov.Model, object]:
    """Return a small network of ours and what it takes from depth to space."""
    made = tiny_models.convolutional(path, Form(scale=scale), tail="resize_sum")
    model = graph.reshaped(graph.read(str(made)), [1, 1, 12, 10])
    shuffle = next(node for node in model.get_ordered_ops() if node.get_type_name() == "DepthToSpace")
    return model, shuffle.input_value(0)


@pytest.mark.parametrize(("scale", "gains"), [(2, True), (3, False), (4, False)])
def test_only_what_does_not_fill_a_kernel_is_done_by_blocks(scale: int, gains: bool, tmp_path: Path) -> None:  # noqa: FBT001 - a case
    """Sixteen channels cost as much as one: x3 and x4 have nine and sixteen."""
    _, detail = last_convolution(tmp_path / "net.onnx", scale)

    found = in_blocks(detail, scale)

    assert gains == (found is not None)
    assert found is None or [1, 16, 6, 5] == list(found.output(0).shape)


@pytest.mark.parametrize(
    ("strides", "dilations", "side", "pads"),
    [([2, 2], [1, 1], 3, 1), ([1, 1], [2, 2], 3, 2), ([1, 1], [1, 1], 3, 0), ([1, 1], [1, 1], 2, 0)],
    ids=["stride", "dilation", "no padding", "even kernel"],
)
def test_another_convolution_is_left_alone(strides: list[int], dilations: list[int], side: int, pads: int) -> None:
    """What does not keep the size, or looks elsewhere, cannot be shifted by a pixel."""
    features = op.parameter([1, 8, 12, 10], np.float32)
    kernel = op.constant(np.ones((4, 8, side, side), np.float32))
    detail = op.convolution(features, kernel, strides, [pads] * 2, [pads] * 2, dilations)

    assert in_blocks(detail.output(0), 2) is None


def test_what_is_no_convolution_is_left_alone() -> None:
    """A network may end with anything."""
    features = op.parameter([1, 4, 12, 10], np.float32)

    assert in_blocks(op.relu(features).output(0), 2) is None
    assert in_blocks(op.add(features, np.float32(1)).output(0), 2) is None
