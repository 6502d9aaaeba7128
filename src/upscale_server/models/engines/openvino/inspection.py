"""Find out what an unknown ONNX file is, by looking at its input and by trying it on a small picture.

Everything a card holds about shapes, scale and value range comes from here; what the card beside the model says wins.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import openvino as ov

from upscale_server.errors import ModelInvalid
from upscale_server.models.base import EngineOptions
from upscale_server.models.card import ModelCard
from upscale_server.models.engines.openvino import graph
from upscale_server.models.engines.openvino.runner import Runner
from upscale_server.models.trial import SCALES, Picture, Run, Verdict, judge, textured_picture

_MULTIPLES = (1, 2, 4, 8, 16, 32)
_RANGES = (1.0, 255.0)
# A very deep network's reach on paper is far beyond what moves a pixel by a level; 64 of overlap costs 20 % already.
_LARGEST_OVERLAP = 64
_SMALLEST_OVERLAP = 4
# Attention reaches as far as its window; the usual windows are 8 and 16, shifted by half.
_ATTENTION_OVERLAP = 32


def inspect(card: ModelCard, given: frozenset[str] = frozenset()) -> ModelCard:
    """Return the card with what looking and trying showed.

    Args:
        card: at least `path`; `scale` is found out, but only one that is given as 1 may be 1.
        given: names of the card's fields that are not to be found out but believed.

    Raises:
        ModelMissing: there is no such file.
        ModelInvalid: it is no super-resolution model, and why.
    """
    model = graph.read(card.path)
    facts: dict[str, Any] = {**_input_facts(model, card.path), "receptive_field": _reach(model)}
    card = replace(card, **{name: value for name, value in facts.items() if name not in given})
    ranges = (card.value_range,) if "value_range" in given else _possible_ranges(model)
    multiples = (card.size_multiple,) if "size_multiple" in given else _MULTIPLES
    card = replace(card, scale=card.scale if "scale" in given else 0)
    verdict, multiple = _try(model, card, ranges, (1,) if card.fixed_size else multiples)
    return replace(card, scale=verdict.scale, value_range=verdict.value_range, size_multiple=multiple)


def run_plainly(model: ov.Model, card: ModelCard, height: int, width: int) -> Run:
    """Compile the network as it is, in f32, and return a function that runs one picture through it."""
    compiled = graph.reshaped(model, graph.input_shape(card, height, width))
    runner = Runner(compiled, "f32", EngineOptions())
    dtype = compiled.input(0).element_type.to_dtype()

    def run(picture: Picture, value_range: float) -> Picture:
        values = picture * value_range
        if np.issubdtype(dtype, np.integer):
            values = np.rint(values)
        planes = values.transpose(2, 0, 1) if card.layout == "NCHW" else values
        result = runner.run(np.ascontiguousarray(planes[None], dtype))[0].astype(np.float32) / value_range
        if result.ndim != 4:
            raise ModelInvalid(f"{card.path} gives an output of shape {result.shape}; expected one picture")
        upscaled: Picture = result[0].transpose(1, 2, 0) if card.layout == "NCHW" else result[0]
        return upscaled

    return run


def _input_facts(model: ov.Model, path: str) -> dict[str, Any]:
    """Read domain, layout and fixed size off the input.

    Raises:
        ModelInvalid: the input is not one picture.
    """
    names = [port.any_name if port.names else f"input {port.index}" for port in model.inputs]
    if len(names) != 1:
        raise ModelInvalid(f"{path} takes {len(names)} inputs ({', '.join(names)}); expected one picture")
    shape = model.input(0).partial_shape
    if shape.rank.is_dynamic or shape.rank.get_length() != 4:
        raise ModelInvalid(f"{path} takes an input of shape {shape}; expected a picture with batch and channels")
    sides = [None if side.is_dynamic else side.get_length() for side in shape]
    if sides[0] not in {None, 1}:
        raise ModelInvalid(f"{path} takes {sides[0]} pictures at once; expected one, or any number")
    return _layout_facts(sides, path)


def _layout_facts(sides: list[int | None], path: str) -> dict[str, Any]:
    """Find the channel axis: the one of 1 or 3; NCHW where both could be, as ONNX does."""
    for layout, channels, size in (("NCHW", sides[1], sides[2:4]), ("NHWC", sides[3], sides[1:3])):
        if channels not in {1, 3}:
            continue
        if None in size and size != [None, None]:
            raise ModelInvalid(f"{path} fixes one side of its input only; expected both or none")
        return {
            "domain": "luma" if channels == 1 else "rgb",
            "layout": layout,
            "fixed_size": None if size[0] is None else tuple(size),
        }
    raise ModelInvalid(f"{path} takes an input of shape {sides}; expected 1 or 3 colour channels")


def _possible_ranges(model: ov.Model) -> tuple[float, ...]:
    """Return the value ranges to try: an integer input leaves no choice."""
    return (255.0,) if model.input(0).element_type.is_integral() else _RANGES


def _try(model: ov.Model, card: ModelCard, ranges: tuple[float, ...], multiples: Iterable[int]) -> tuple[Verdict, int]:
    """Run the trial picture at the smallest size multiple that works.

    Raises:
        ModelInvalid: none works; the reason is that of the first.
    """
    reasons: list[ModelInvalid] = []
    channels = 1 if card.domain == "luma" else 3
    scales = range(1, SCALES.stop) if card.scale == 1 else SCALES
    for multiple in multiples:
        height, width = card.fixed_size or _odd_size(multiple)
        try:
            run = run_plainly(model, card, height, width)
            return judge(run, textured_picture(height, width, channels), ranges, scales), multiple
        except ModelInvalid as err:
            reasons.append(err)
    raise ModelInvalid(f"{card.path} is no super-resolution model: {reasons[0].detail}", hint=reasons[0].hint)


def _odd_size(multiple: int) -> tuple[int, int]:
    """Return sides of about 32 and 80 that are odd times the multiple, so that a larger one would not pass."""
    return multiple * (2 * (16 // multiple) + 1), multiple * (2 * (40 // multiple) + 1)


def _reach(model: ov.Model) -> int:
    """Add up the kernels on the longest way from input to output, in LR pixels.

    Upsampling inside a network only makes the true reach smaller; strides make it larger and are counted.
    """
    reach: dict[str, int] = {}
    stride: dict[str, int] = {}
    attention = False
    for node in model.get_ordered_ops():
        sources = [node.input_value(i).get_node().get_friendly_name() for i in range(node.get_input_size())]
        step = max([stride[name] for name in sources], default=1)
        radius, factor = _kernel(node)
        reach[node.get_friendly_name()] = max([reach[name] for name in sources], default=0) + radius * step
        stride[node.get_friendly_name()] = step * factor
        attention = attention or node.get_type_name() == "Softmax"
    longest = max(reach.values())
    floor = _ATTENTION_OVERLAP if attention else _SMALLEST_OVERLAP
    return min(max(longest, floor), _LARGEST_OVERLAP)


def _kernel(node: graph.Node) -> tuple[int, int]:
    """Return radius and stride of a node."""
    if node.get_type_name() == "SpaceToDepth":
        return 0, int(node.get_attributes()["block_size"])
    if node.get_type_name() not in {"Convolution", "GroupConvolution", "MaxPool", "AvgPool"}:
        return 0, 1
    attributes = node.get_attributes()
    kernel = attributes.get("kernel") or list(node.input_value(1).get_shape())[-2:]
    dilations = attributes.get("dilations") or [1, 1]
    radius = max(side // 2 * dilation for side, dilation in zip(kernel, dilations, strict=True))
    return radius, max(attributes["strides"])
