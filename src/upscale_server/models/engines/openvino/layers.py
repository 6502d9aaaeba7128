"""The weights of our own family, read out of its ONNX files as plain arrays, for engines that do not run ONNX.

It knows one shape of network only: convolutions in a row, each with a ReLU or without, to whose result that of an
earlier one may be added; the last one's is added to the input and goes from depth to space. Everything else is refused
by name.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from upscale_server.errors import ModelInvalid
from upscale_server.models.engines.openvino import graph

# What OpenVINO puts between a bias and the addition it belongs to: shapes only.
_SHAPING = frozenset({"Reshape", "ShapeOf", "Subtract", "Broadcast", "Concat", "Unsqueeze"})
_FAMILY = _SHAPING | {"Parameter", "Constant", "Convolution", "Add", "Relu", "DepthToSpace", "Result"}


@dataclass(frozen=True, slots=True)
class Layer:
    """One convolution and what follows it: a ReLU or none, and the addition of an earlier layer's result, or none.

    `kernel` is `(out, in, h, w)` and `bias` `(out,)`, f32; the border is padded by half a kernel. `adds` counts layers
    from 0.
    """

    kernel: NDArray[np.float32]
    bias: NDArray[np.float32]
    has_relu: bool = False
    adds: int | None = None


@dataclass(frozen=True, slots=True)
class Family:
    """A network of our family: `depth_to_space(layers(lr) + lr)`."""

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
    shuffles = [node for node in nodes if node.get_type_name() == "DepthToSpace"]
    if len(shuffles) != 1:
        raise _stranger(path, f"it goes from depth to space {len(shuffles)} times")
    if shuffles[0].get_attributes()["mode"] != "depth_first":
        raise _stranger(path, "its pixels are shuffled blocks first")
    chain = _Chain(path)
    for node in nodes:
        chain.take(node)
    if not chain.is_added_to_input(_source(shuffles[0], 0)):
        raise _stranger(path, "its result is not added to its input")
    return Family(tuple(chain.layers), int(shuffles[0].get_attributes()["block_size"]))


@dataclass(slots=True)
class _Chain:
    """The layers met so far, from the input on, and the node that gives the result of each."""

    path: str
    layers: list[Layer] = field(default_factory=list)
    results: list[str] = field(default_factory=list)

    def take(self, node: graph.Node) -> None:
        """Go on by one node.

        Raises:
            ModelInvalid: it does not go on with the layer before it.
        """
        kind = node.get_type_name()
        if kind == "Convolution":
            self._begin(node)
        elif kind == "Relu":
            self._relu(node)
        elif kind == "Add":
            self._sum(node)

    def is_added_to_input(self, node: graph.Node) -> bool:
        """Tell whether a node is the sum of the last layer's result and the input."""
        if node.get_type_name() != "Add" or not self.layers:
            return False
        sides = [_source(node, 0), _source(node, 1)]
        return {side.get_type_name() == "Parameter" for side in sides} == {True, False} and any(
            self._is_last(side) for side in sides
        )

    def _begin(self, node: graph.Node) -> None:
        source = _source(node, 0)
        if not (self._is_last(source) if self.layers else source.get_type_name() == "Parameter"):
            raise _stranger(self.path, f"{source.get_type_name()} stands where the layer before was expected")
        self.layers.append(_layer(self.path, node))
        self.results.append(node.get_friendly_name())

    def _relu(self, node: graph.Node) -> None:
        if not self._is_last(_source(node, 0)) or self.layers[-1].has_relu or self.layers[-1].adds is not None:
            raise _stranger(self.path, f"Relu stands behind {_source(node, 0).get_type_name()}")
        self.layers[-1] = replace(self.layers[-1], has_relu=True)
        self.results[-1] = node.get_friendly_name()

    def _sum(self, node: graph.Node) -> None:
        """Take a bias or a skip; the sum with the input is looked at in the end, and what belongs to shapes is not."""
        sides = [_source(node, 0), _source(node, 1)]
        if not any(self._is_last(side) for side in sides):
            return
        kinds = {side.get_type_name() for side in sides}
        if "Parameter" in kinds:
            return
        if kinds & {"Convolution"} and kinds & (_SHAPING | {"Constant"}):
            self.results[-1] = node.get_friendly_name()
            return
        names = [side.get_friendly_name() for side in sides]
        earlier = [index for index, name in enumerate(self.results[:-1]) if name in names]
        if len(earlier) != 1 or self.layers[-1].adds is not None:
            raise _stranger(self.path, f"{' and '.join(sorted(kinds))} are added to each other")
        self.layers[-1] = replace(self.layers[-1], adds=earlier[0])
        self.results[-1] = node.get_friendly_name()

    def _is_last(self, node: graph.Node) -> bool:
        return bool(self.results) and node.get_friendly_name() == self.results[-1]


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
