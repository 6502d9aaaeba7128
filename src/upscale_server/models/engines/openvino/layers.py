"""The weights of our own family, read out of its ONNX files as plain arrays, for engines that do not run ONNX.

It knows one shape of network only: convolutions in a row, each but the last followed by a ReLU, whose result is added
to the input and goes from depth to space. Everything else is refused by name.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from upscale_server.errors import ModelInvalid
from upscale_server.models.engines.openvino import graph

# What OpenVINO puts between a bias and the addition it belongs to: shapes only.
_SHAPING = frozenset({"Reshape", "ShapeOf", "Subtract", "Broadcast", "Concat", "Unsqueeze"})
_FAMILY = _SHAPING | {"Parameter", "Constant", "Convolution", "Add", "Relu", "DepthToSpace", "Result"}


@dataclass(frozen=True, slots=True)
class Layer:
    """One convolution: kernel `(out, in, h, w)` and bias `(out,)`, f32; its border is padded by half a kernel."""

    kernel: NDArray[np.float32]
    bias: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Family:
    """A network of our family: `depth_to_space(layers(lr) + lr)`, with a ReLU between layers."""

    layers: tuple[Layer, ...]
    scale: int


def read_family(path: str) -> Family:
    """Read a network of our family.

    Raises:
        ModelMissing: there is no such file.
        ModelInvalid: it is no ONNX model, or of another shape.
    """
    nodes = graph.read(path).get_ordered_ops()
    strange = sorted({node.get_type_name() for node in nodes} - _FAMILY)
    if strange:
        raise _stranger(path, f"it holds {', '.join(strange)}")
    convolutions = [node for node in nodes if node.get_type_name() == "Convolution"]
    shuffles = [node for node in nodes if node.get_type_name() == "DepthToSpace"]
    activations = sum(node.get_type_name() == "Relu" for node in nodes)
    if not convolutions or len(shuffles) != 1 or activations != len(convolutions) - 1:
        raise _stranger(path, f"it has {len(convolutions)} convolutions and {activations} ReLUs")
    _refuse_another_order(path, shuffles[0])
    if shuffles[0].get_attributes()["mode"] != "depth_first":
        raise _stranger(path, "its pixels are shuffled blocks first")
    layers = tuple(_layer(path, node) for node in convolutions)
    return Family(layers, int(shuffles[0].get_attributes()["block_size"]))


def _refuse_another_order(path: str, shuffle: graph.Node) -> None:
    """Walk from the end to the input; what is met must be the sum with the input and then convolutions in a row.

    Raises:
        ModelInvalid: it is something else.
    """
    total = _source(shuffle, 0)
    sides = [_source(total, index) for index in range(total.get_input_size())]
    kinds = [side.get_type_name() for side in sides]
    if total.get_type_name() != "Add" or kinds.count("Parameter") != 1:
        raise _stranger(path, "its result is not added to its input")
    node = sides[1 - kinds.index("Parameter")]
    while node.get_type_name() != "Parameter":
        expected = {"Add": "Convolution", "Convolution": "", "Relu": "Add"}.get(node.get_type_name())
        if expected is None:
            raise _stranger(path, f"{node.get_type_name()} stands where a convolution was expected")
        node = _source(node, 0)
        if node.get_type_name() not in {expected, "Parameter"} and expected:
            raise _stranger(path, f"{node.get_type_name()} stands where {expected} was expected")


def _layer(path: str, convolution: graph.Node) -> Layer:
    """Read kernel and bias of a convolution.

    Raises:
        ModelInvalid: it strides, dilates, or has no bias of its own.
    """
    attributes = convolution.get_attributes()
    kernel = _constant(path, _source(convolution, 1))
    half = [side // 2 for side in kernel.shape[2:]]
    plain = set(attributes["strides"]) | set(attributes["dilations"]) == {1}
    if not plain or attributes["pads_begin"] != half or attributes["pads_end"] != half:
        raise _stranger(path, "a convolution strides, dilates or is padded otherwise")
    (used,) = (target.get_node() for target in convolution.output(0).get_target_inputs() if _is_sum(target))
    return Layer(kernel, _constant(path, _source(used, 1)).reshape(-1))


def _is_sum(target: graph.Output) -> bool:
    return bool(target.get_node().get_type_name() == "Add")


def _constant(path: str, node: graph.Node) -> NDArray[np.float32]:
    """Return the weights that a node stands for."""
    while node.get_type_name() in {"Reshape", "Unsqueeze"}:
        node = _source(node, 0)
    if node.get_type_name() != "Constant":
        raise _stranger(path, f"weights come out of {node.get_type_name()}")
    return np.array(node.get_data(), np.float32)


def _source(node: graph.Node, index: int) -> graph.Node:
    return node.input_value(index).get_node()


def _stranger(path: str, why: str) -> ModelInvalid:
    return ModelInvalid(
        f"{path} is not of our own family: {why}",
        hint="engine torch runs our own networks and checkpoints (.safetensors); openvino runs any ONNX",
    )
