"""Write tiny ONNX networks whose right answer is known, and some that are no super-resolution at all.

They are made when a test runs, so that no weights lie in the tree; shipped models are tested as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

FLOAT, HALF, BYTE = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.UINT8


@dataclass(frozen=True, slots=True)
class Form:
    """How a tiny network takes its picture."""

    scale: int = 2
    channels: int = 1
    layout: str = "NCHW"
    element: int = FLOAT
    size: tuple[int, int] | None = None

    def shape(self, factor: int = 1) -> list[int | str]:
        """Return the shape of the input, or with the scale as factor that of the output."""
        if self.size is None:
            sides: list[int | str] = ["height", "width"] if factor == 1 else ["height_out", "width_out"]
        else:
            sides = [side * factor for side in self.size]
        batch: list[int | str] = ["batch" if self.size is None else 1]
        return [*batch, self.channels, *sides] if self.layout == "NCHW" else [*batch, *sides, self.channels]


def save(path: Path, nodes: list[onnx.NodeProto], weights: dict[str, np.ndarray], form: Form) -> Path:
    """Write a graph from `lr` to `hr`."""
    graph = helper.make_graph(
        nodes,
        path.stem,
        [helper.make_tensor_value_info("lr", form.element, form.shape())],
        [helper.make_tensor_value_info("hr", form.element, form.shape(form.scale))],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def nearest(path: Path, form: Form) -> Path:
    """Write a network that repeats every pixel: exact in any type, layout and value range."""
    factors = [1, 1, form.scale, form.scale] if form.layout == "NCHW" else [1, form.scale, form.scale, 1]
    return save(path, [_resize("lr", "hr", "nearest")], {"factors": np.array(factors, np.float32)}, form)


def bilinear(path: Path, form: Form) -> Path:
    """Write a network that is bilinear enlargement, pixel centres half a pixel in, which has an exact answer."""
    factors = np.array([1, 1, form.scale, form.scale], np.float32)
    resize = helper.make_node(
        "Resize", ["lr", "", "factors"], ["hr"], mode="linear", coordinate_transformation_mode="half_pixel"
    )
    return save(path, [resize], {"factors": factors}, form)


def of_range_255(path: Path, form: Form) -> Path:
    """Write a network that enlarges well only when white is 255: it lifts everything below 8 to 8."""
    factors = np.array([1, 1, form.scale, form.scale], np.float32)
    nodes = [
        helper.make_node("Max", ["lr", "floor"], ["clipped"]),
        _resize("clipped", "hr", "nearest"),
    ]
    return save(path, nodes, {"factors": factors, "floor": np.array(8.0, np.float32)}, form)


def convolutional(path: Path, form: Form, *, tail: str = "shuffle_sum", channels: int = 16, body: int = 3) -> Path:
    """Write a network like the ones we ship: random, with a detail of a few levels on top of the input.

    `tail` is `shuffle_sum` (detail + lr, then depth to space), `resize_sum` (depth to space, then + nearest(lr)).
    """
    rng = np.random.default_rng(7)
    nodes, weights, name, width = [], {}, "lr", form.channels
    for index in range(body + 2):
        last = index == body + 1
        count = form.scale**2 * form.channels if last else channels
        spread = np.sqrt(2.0 / (9 * width)) * (0.03 if last else 1.0)
        weights[f"w{index}"] = (rng.standard_normal((count, width, 3, 3)) * spread).astype(np.float32)
        weights[f"b{index}"] = (rng.standard_normal(count) * 0.01).astype(np.float32)
        nodes.append(helper.make_node("Conv", [name, f"w{index}", f"b{index}"], [f"c{index}"], pads=[1] * 4))
        name, width = f"c{index}", count
        if not last:
            nodes.append(helper.make_node("Relu", [name], [f"r{index}"]))
            name = f"r{index}"
    return save(path, [*nodes, *_tail(tail, name, form, weights)], weights, form)


def residual(path: Path, form: Form, *, channels: int = 16, blocks: int = 2, end: str = "sum") -> Path:
    """Write a network of blocks with a skip around each and one around all, as `quality` has.

    `end` is what a block ends in: `sum`, or `relu` for another family's.
    """
    rng = np.random.default_rng(7)
    nodes, weights = [], {}

    def conv(source: str, width: int, count: int, size: float) -> str:
        index = len(weights) // 2
        spread = np.sqrt(2.0 / (9 * width)) * size
        weights[f"w{index}"] = (rng.standard_normal((count, width, 3, 3)) * spread).astype(np.float32)
        weights[f"b{index}"] = (rng.standard_normal(count) * 0.01).astype(np.float32)
        nodes.append(helper.make_node("Conv", [source, f"w{index}", f"b{index}"], [f"c{index}"], pads=[1] * 4))
        return f"c{index}"

    def node(kind: str, *sources: str) -> str:
        nodes.append(helper.make_node(kind, sources, [f"n{len(nodes)}"]))
        return f"n{len(nodes) - 1}"

    first = block = conv("lr", form.channels, channels, 1.0)
    for _ in range(blocks):
        inner = conv(node("Relu", conv(block, channels, channels, 1.0)), channels, channels, 0.5)
        block = node("Relu", node("Add", inner, block)) if end == "relu" else node("Add", inner, block)
    whole = node("Add", conv(block, channels, channels, 0.5), first)
    detail = conv(whole, channels, form.scale**2 * form.channels, 0.01)
    return save(path, [*nodes, *_tail("shuffle_sum", detail, form, weights)], weights, form)


def quantized(path: Path, form: Form) -> Path:
    """Write a network of two convolutions that its maker quantized: each input goes through eight bits and back."""
    rng = np.random.default_rng(7)
    count = form.scale**2 * form.channels
    weights: dict[str, np.ndarray] = {"zero": np.array(0, np.uint8), "step": np.array(1 / 128, np.float32)}
    nodes, name = [], "lr"
    for index, (c_in, c_out) in enumerate([(form.channels, 16), (16, count)]):
        weights[f"w{index}"] = rng.integers(-127, 128, (c_out, c_in, 3, 3)).astype(np.int8)
        weights[f"s{index}"] = np.array((1e-3, 2e-5)[index], np.float32)
        nodes += [
            helper.make_node("QuantizeLinear", [name, "step", "zero"], [f"q{index}"]),
            helper.make_node("DequantizeLinear", [f"q{index}", "step", "zero"], [f"d{index}"]),
            helper.make_node("DequantizeLinear", [f"w{index}", f"s{index}"], [f"k{index}"]),
            helper.make_node("Conv", [f"d{index}", f"k{index}"], [f"c{index}"], pads=[1] * 4),
        ]
        name = f"c{index}"
    return save(path, [*nodes, *_tail("shuffle_sum", name, form, weights)], weights, form)


def not_finite_at_white(path: Path) -> Path:
    """Write a network that enlarges well and takes the root of a negative number where a pixel is white."""
    nodes = [
        helper.make_node("Sub", ["limit", "lr"], ["room"]),
        helper.make_node("Sqrt", ["room"], ["root"]),
        helper.make_node("Mul", ["root", "tiny"], ["trace"]),
        helper.make_node("Add", ["lr", "trace"], ["sum"]),
        _resize("sum", "hr", "nearest"),
    ]
    weights = {
        "limit": np.array(0.998, np.float32),
        "tiny": np.array(1e-6, np.float32),
        "factors": np.array([1, 1, 2, 2], np.float32),
    }
    return save(path, nodes, weights, Form())


def rescaled(source: Path, path: Path, value_range: float) -> Path:
    """Rewrite a network of range 1 as one whose first weights and last biases are made for another range."""
    model = onnx.load(source)
    graph = model.graph
    for name, factor in (("before", 1.0 / value_range), ("after", value_range)):
        graph.initializer.append(numpy_helper.from_array(np.array(factor, np.float32), name))
    taken, given = graph.input[0].name, graph.output[0].name
    for node in graph.node:
        node.input[:] = ["scaled_in" if name == taken else name for name in node.input]
        node.output[:] = ["to_scale" if name == given else name for name in node.output]
    graph.node.insert(0, helper.make_node("Mul", [taken, "before"], ["scaled_in"]))
    graph.node.append(helper.make_node("Mul", ["to_scale", "after"], [given]))
    onnx.save(model, path)
    return path


def never_finite(path: Path) -> Path:
    """Write a network that divides zero by zero."""
    nodes = [
        helper.make_node("Sub", ["lr", "lr"], ["zero"]),
        helper.make_node("Div", ["zero", "zero"], ["broken"]),
        _resize("broken", "hr", "nearest"),
    ]
    return save(path, nodes, {"factors": np.array([1, 1, 2, 2], np.float32)}, Form())


def unshuffling(path: Path) -> Path:
    """Write a x2 network that first moves 2x2 pixels into channels, so that odd sides do not work."""
    kernel = np.zeros((16, 4, 1, 1), np.float32)
    for row, column in np.ndindex(4, 4):
        kernel[row * 4 + column, (row // 2) * 2 + column // 2] = 1.0
    nodes = [
        helper.make_node("SpaceToDepth", ["lr"], ["deep"], blocksize=2),
        helper.make_node("Conv", ["deep", "kernel"], ["deeper"]),
        helper.make_node("DepthToSpace", ["deeper"], ["hr"], blocksize=4, mode="CRD"),
    ]
    return save(path, nodes, {"kernel": kernel}, Form())


def several_inputs(path: Path, *names: str) -> Path:
    """Write a network that adds up several pictures."""
    pictures = [helper.make_tensor_value_info(name, FLOAT, Form().shape()) for name in names]
    hr = helper.make_tensor_value_info("hr", FLOAT, Form().shape(2))
    nodes = [helper.make_node("Sum", list(names), ["sum"]), _resize("sum", "hr", "nearest")]
    factors = numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "factors")
    graph = helper.make_graph(nodes, "several", pictures, [hr], [factors])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


def two_inputs(path: Path) -> Path:
    """Write a network that wants a reference picture too."""
    return several_inputs(path, "lr", "reference")


def one_and_a_half(path: Path) -> Path:
    """Write a network of scale 1.5."""
    factors = np.array([1, 1, 1.5, 1.5], np.float32)
    return save(path, [_resize("lr", "hr", "linear")], {"factors": factors}, Form())


def same_size(path: Path) -> Path:
    """Write a network that keeps the size, as denoisers do."""
    return save(path, [helper.make_node("Identity", ["lr"], ["hr"])], {}, Form(scale=1))


def classifier(path: Path) -> Path:
    """Write a network that answers one number."""
    nodes = [helper.make_node("GlobalAveragePool", ["lr"], ["pooled"]), helper.make_node("Flatten", ["pooled"], ["hr"])]
    graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info("lr", FLOAT, Form(channels=3).shape())],
        [helper.make_tensor_value_info("hr", FLOAT, ["batch", 3])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


def sequence(path: Path) -> Path:
    """Write a network that takes rank 3."""
    graph = helper.make_graph(
        [helper.make_node("Identity", ["lr"], ["hr"])],
        "sequence",
        [helper.make_tensor_value_info("lr", FLOAT, ["batch", "length", 3])],
        [helper.make_tensor_value_info("hr", FLOAT, ["batch", "length", 3])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


def inverted(path: Path) -> Path:
    """Write a network whose output has nothing of its input but the size: its negative."""
    nodes = [helper.make_node("Sub", ["one", "lr"], ["negative"]), _resize("negative", "hr", "nearest")]
    weights = {"one": np.array(1.0, np.float32), "factors": np.array([1, 1, 2, 2], np.float32)}
    return save(path, nodes, weights, Form())


def reference(path: Path, lr: np.ndarray) -> np.ndarray:
    """Return what ONNX's own evaluator makes of `(N, C, H, W)` float32."""
    return np.asarray(ReferenceEvaluator(onnx.load(path)).run(None, {"lr": lr})[0])


def _tail(tail: str, detail: str, form: Form, weights: dict[str, np.ndarray]) -> list[onnx.NodeProto]:
    """Return the nodes from the detail to `hr`."""
    shuffle = {"blocksize": form.scale, "mode": "CRD"}
    if tail == "shuffle_sum":
        return [
            helper.make_node("Add", [detail, "lr"], ["deep"]),
            helper.make_node("DepthToSpace", ["deep"], ["hr"], **shuffle),
        ]
    weights["factors"] = np.array([1, 1, form.scale, form.scale], np.float32)
    return [
        helper.make_node("DepthToSpace", [detail], ["wide"], **shuffle),
        _resize("lr", "base", "nearest"),
        helper.make_node("Add", ["wide", "base"], ["hr"]),
    ]


def _resize(source: str, target: str, mode: str) -> onnx.NodeProto:
    """Return a Resize by the initializer `factors`."""
    how = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"} if mode == "nearest" else {}
    return helper.make_node("Resize", [source, "", "factors"], [target], mode=mode, **how)
