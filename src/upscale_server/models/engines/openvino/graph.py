"""Turn the network of an ONNX file into one that takes and gives uint8/uint16 pixels.

It builds graphs and compiles none.

The trap: under the bf16 hint OpenVINO keeps what follows the last "significant" node in f32, and `Interpolate` counts
as significant. A network that adds its detail to an enlarged input therefore rounds the *input* to 8 significant bits
(measured: rms 0.41 levels of 8 bits instead of 0.14, 1.5 levels of 10 bits instead of 0.27). `_find_tail` meets the
common tails `DepthToSpace(detail) + nearest(lr)` and `DepthToSpace(detail + lr)`; both become one sum per LR pixel
before the shuffle, which stays in f32 and is also the fastest of six forms tried.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import openvino.opset13 as op

from upscale_server.errors import ModelInvalid, ModelMissing
from upscale_server.models.card import ModelCard
from upscale_server.models.engines.openvino.blocks import BLOCK, in_blocks
from upscale_server.models.engines.openvino.core import core

# OpenVINO has stubs for a part of itself only: nodes and outputs are named for the reader.
Node = Any
Output = Any


@dataclass(frozen=True, slots=True)
class Pixels:
    """The pixels that one compiled network takes: size in LR pixels and significant bits."""

    height: int
    width: int
    bits: int

    @property
    def white(self) -> int:
        """Return the value of white."""
        return (1 << self.bits) - 1

    @property
    def dtype(self) -> type[np.uint8 | np.uint16]:
        """Return the sample type."""
        return np.uint8 if self.bits == 8 else np.uint16


@dataclass(frozen=True, slots=True)
class _Tail:
    """The end of a luma network: `detail`, plus the input where `adds_input`, goes from depth to space."""

    detail: Output
    adds_input: bool
    scale: int
    mode: str


def read(path: str) -> ov.Model:
    """Read an ONNX file.

    Raises:
        ModelMissing: there is no such file.
        ModelInvalid: it is no ONNX model that OpenVINO reads.
    """
    if not Path(path).is_file():
        raise ModelMissing(f"there is no model file {path}")
    try:
        return core().read_model(path)
    except RuntimeError as err:
        raise ModelInvalid(f"{path} is no readable ONNX model: {_first_line(err)}") from err


def reshaped(model: ov.Model, shape: list[int]) -> ov.Model:
    """Return a copy whose input has a static shape.

    Raises:
        ModelInvalid: the network does not work at that shape.
    """
    model = model.clone()
    try:
        if model.input(0).partial_shape != ov.PartialShape(shape):
            model.reshape(ov.PartialShape(shape))
    except RuntimeError as err:
        raise ModelInvalid(f"the model does not take an input of shape {shape}: {_first_line(err)}") from err
    return model


def input_shape(card: ModelCard, height: int, width: int) -> list[int]:
    """Return the network's own input shape for one picture."""
    channels = 1 if card.domain == "luma" else 3
    return [1, channels, height, width] if card.layout == "NCHW" else [1, height, width, channels]


def with_pixels(model: ov.Model, card: ModelCard, pixels: Pixels, *, own_tail: bool = True) -> ov.Model:
    """Return a network from `(1, H, W[, 3])` pixels to `(1, H * scale, W * scale[, 3])` pixels and a sum.

    The sum over all values before they are clipped is finite exactly when all of them are; a sum because a maximum
    may drop a NaN and a comparison may be optimised away.
    """
    model = reshaped(model, input_shape(card, pixels.height, pixels.width))
    tail = _find_tail(model, card) if own_tail else None
    colours = [] if card.domain == "luma" else [3]
    lr = op.parameter([1, pixels.height, pixels.width, *colours], pixels.dtype, name="lr")
    values = op.multiply(op.convert(lr, np.float32), np.float32(card.value_range / pixels.white))
    _feed(model, values, card)
    if tail is None:
        picture = _to_pixel_order(op.convert(model.results[0].input_value(0), np.float32), card)
        outputs = _to_pixels(picture, card, pixels)
    else:
        outputs = _shuffled(tail, values, card, pixels)
    return ov.Model(outputs, [lr], card.name)


def _feed(model: ov.Model, values: Output, card: ModelCard) -> None:
    """Put values (1, H, W[, 3]) in the place of the network's input, in its own layout and type."""
    source = model.input(0)
    if card.domain == "rgb" and card.layout == "NCHW":
        values = op.transpose(values, np.array([0, 3, 1, 2]))
    elif card.domain == "luma":
        values = op.reshape(values, np.array(list(source.shape)), special_zero=False)
    if source.element_type.is_integral():
        values = op.round(values, "half_to_even")
    typed = op.convert(values, source.element_type)
    for target in list(source.get_target_inputs()):
        target.replace_source_output(typed.output(0))


def _to_pixel_order(output: Output, card: ModelCard) -> Output:
    """Return (1, H, W[, 3]) of the network's output."""
    shape = output.get_output_shape(0)
    if card.domain == "luma":
        sides = shape[2:4] if card.layout == "NCHW" else shape[1:3]
        return op.reshape(output, np.array([1, *sides]), special_zero=False)
    return op.transpose(output, np.array([0, 2, 3, 1])) if card.layout == "NCHW" else output


def _shuffled(tail: _Tail, values: Output, card: ModelCard, pixels: Pixels) -> list[Output]:
    """Add input to detail per LR pixel in f32, make pixels of it, and only then move depth to space.

    Flat (1, channels, H * W) on purpose: with four axes OpenVINO pads few channels to a block of sixteen.
    """
    blocks, scale = in_blocks(tail.detail, tail.scale), tail.scale
    detail, block = (tail.detail, 1) if blocks is None else (blocks, BLOCK)
    rows, columns = -(-pixels.height // block), -(-pixels.width // block)
    count, planes = rows * columns, (block * scale) ** 2
    apart = [1, block, scale, block, scale, count]
    sums = op.reshape(op.convert(detail, np.float32), np.array(apart), special_zero=False)
    if tail.adds_input:
        sums = op.add(sums, _input_by(block, values, pixels))
    flat, total = _to_pixels(op.reshape(sums, np.array([1, planes, count]), special_zero=False), card, pixels)
    deep = op.reshape(flat, np.array([1, planes, rows, columns]), special_zero=False)
    wide = op.depth_to_space(deep, tail.mode, block * scale)
    shape = [pixels.height * scale, pixels.width * scale]
    if shape != [rows * block * scale, columns * block * scale]:
        wide = op.slice(wide, np.array([0, 0]), np.array(shape), np.array([1, 1]), np.array([2, 3]))
    return [op.reshape(wide, np.array([1, *shape]), special_zero=False), total]


def _input_by(block: int, values: Output, pixels: Pixels) -> Output:
    """Return the input as what is added to each sub-pixel, `(1, block, 1, block, 1, blocks)`; odd sides end doubled."""
    rows, columns = -(-pixels.height // block), -(-pixels.width // block)
    lr = op.reshape(values, np.array([1, 1, pixels.height, pixels.width]), special_zero=False)
    missing = np.array([0, 0, rows * block - pixels.height, columns * block - pixels.width])
    if missing.any():
        lr = op.pad(lr, np.zeros(4, np.int64), missing, "edge")
    if block > 1:
        lr = op.space_to_depth(lr, "blocks_first", block)
    return op.reshape(lr, np.array([1, block, 1, block, 1, rows * columns]), special_zero=False)


def _to_pixels(values: Output, card: ModelCard, pixels: Pixels) -> list[Output]:
    """Clip, round half to even and convert; also return the sum that shows whether all was finite."""
    axes = np.arange(len(values.get_output_shape(0)))
    total = op.reduce_sum(values, axes, keep_dims=False)
    scaled = op.multiply(values, np.float32(pixels.white / card.value_range))
    rounded = op.round(op.clamp(scaled, 0.0, float(pixels.white)), "half_to_even")
    return [op.convert(rounded, pixels.dtype), total]


def _find_tail(model: ov.Model, card: ModelCard) -> _Tail | None:
    """Return the tail of a luma network whose last step, but for adding its input, is depth to space."""
    if card.domain != "luma" or card.layout != "NCHW":
        return None
    last = model.results[0].input_value(0).get_node()
    inside, rest = _without_input(last, "Interpolate")
    shuffle = rest.get_node() if inside else last
    if shuffle.get_type_name() != "DepthToSpace":
        return None
    attributes = shuffle.get_attributes()
    if attributes["block_size"] != card.scale or shuffle.get_input_shape(0)[1] != card.scale**2:
        return None
    deep = shuffle.input_value(0)
    before, detail = _without_input(deep.get_node(), "Parameter")
    if inside and before:
        return None
    return _Tail(detail if before else deep, inside or before, card.scale, attributes["mode"])


def _without_input(node: Node, kind: str) -> tuple[bool, Output]:
    """Tell whether a node adds the network's input to something, and return that.

    `kind` is `Parameter` for the input itself or `Interpolate` for its nearest enlargement; the self-test proves that
    the enlargement has the phase that we give it.
    """
    if node.get_type_name() != "Add":
        return False, None
    for mine, other in ((0, 1), (1, 0)):
        term = node.input_value(mine).get_node()
        if term.get_type_name() == kind and (kind == "Parameter" or _enlarges_input(term)):
            return True, node.input_value(other)
    return False, None


def _enlarges_input(node: Node) -> bool:
    """Tell whether an Interpolate repeats the network's own input."""
    from_input = node.input_value(0).get_node().get_type_name() == "Parameter"
    return bool(from_input and node.get_attributes()["mode"] == "nearest")


def _first_line(err: Exception) -> str:
    """Return the part of OpenVINO's message that says something."""
    lines = [line.strip() for line in str(err).splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith(("Exception from", "Check '", "While validating"))]
    return (telling or lines or ["no reason given"])[0][:200]
