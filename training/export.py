"""Write trained layers as ONNX with a card beside it.

It does not measure: `training.evaluate` fills `measured` on the card. Opset 17; batch, height and width
are free. The nearest-neighbour residual is one broadcast Add of `lr` to the sub-pixel planes, before
DepthToSpace: OpenVINO keeps the nodes after the last convolution in f32, but computes a Resize in bf16,
which cost 0.019 dB on Set5 against 0.001 dB in this form (and 9 % of the time).

    python -m training.export fast-clean-x2 --work ~/train --out src/upscale_server/models/builtin
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from training.layers import Layer, Shape
from training.recipes import Recipe, recipe_named
from training.weights import History, load_checkpoint

OPSET = 17
IR_VERSION = 8
"""The IR version that belongs to opset 17; newer files are refused by older runtimes."""
TRAINED_ON = (
    "674 crops of 512x512 from 227 photographs: CC0, Unsplash, Pexels, Pixabay, CC BY 2.0, NASA public domain; "
    "every source and its licence in training/manifest.tsv"
)


def build_model(layers: list[Layer], shape: Shape) -> onnx.ModelProto:
    """Build the graph `lr` (N, 1, H, W) -> `hr` (N, 1, s*H, s*W), luma in [0, 1], not clipped."""
    graph = helper.make_graph(
        _nodes(shape),
        "upscale",
        [helper.make_tensor_value_info("lr", TensorProto.FLOAT, ["batch", 1, "height", "width"])],
        [helper.make_tensor_value_info("hr", TensorProto.FLOAT, ["batch", 1, "hr_height", "hr_width"])],
        _initializers(layers),
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="upscale-server")
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model, full_check=True)
    return model


def _nodes(shape: Shape) -> list[onnx.NodeProto]:
    nodes: list[onnx.NodeProto] = []
    planes, after = "lr", list[str]()
    for i, step in enumerate(shape.steps):
        inputs = [planes, f"kernel{i}", f"bias{i}"]
        nodes.append(helper.make_node("Conv", inputs, [f"conv{i}"], f"conv{i}", pads=[1] * 4, kernel_shape=[3, 3]))
        planes = f"conv{i}"
        if step.relu:
            nodes.append(helper.make_node("Relu", [planes], [f"relu{i}"], f"relu{i}"))
            planes = f"relu{i}"
        if step.adds is not None:
            nodes.append(helper.make_node("Add", [planes, after[step.adds]], [f"sum{i}"], f"sum{i}"))
            planes = f"sum{i}"
        after.append(planes)
    nodes.append(helper.make_node("Add", [planes, "lr"], ["subpixels"], "residual"))
    # CRD is PyTorch's pixel_shuffle; with one output plane DCR is the same permutation.
    nodes.append(helper.make_node("DepthToSpace", ["subpixels"], ["hr"], "hr", blocksize=shape.scale, mode="CRD"))
    return nodes


def _initializers(layers: list[Layer]) -> list[TensorProto]:
    tensors = []
    for i, layer in enumerate(layers):
        tensors.append(numpy_helper.from_array(layer.kernel.astype(np.float32), f"kernel{i}"))
        tensors.append(numpy_helper.from_array(layer.bias.astype(np.float32), f"bias{i}"))
    return tensors


def build_card(recipe: Recipe, weights: bytes, history: History, measured: dict[str, object]) -> dict[str, object]:
    """Describe a model for the package; the fields are those of `upscale_server.models`' cards."""
    return {
        "name": recipe.name,
        "scale": recipe.shape.scale,
        "domain": "luma",
        "file": f"{recipe.stem}.onnx",
        "sha256": hashlib.sha256(weights).hexdigest(),
        "bytes": len(weights),
        "value_range": 1.0,
        "receptive_field": recipe.shape.receptive_field,
        "size_multiple": 1,
        "context_frames": 0,
        "precisions": ["bf16", "f32"],
        "parameters": recipe.shape.parameters,
        "macs_per_pixel": recipe.shape.macs_per_pixel,
        "for_sources": recipe.for_sources,
        "summary": recipe.summary,
        "limits": recipe.limits,
        "trained_on": [TRAINED_ON],
        "trained_minutes": round(history.minutes, 1),
        "trained_device": history.device,
        "measured": measured,
        "licence": "Apache-2.0",
    }


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old or the new content, never a part."""
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(content)
    part.replace(path)


def export(recipe: Recipe, layers: list[Layer], history: History, out: Path, measured: dict[str, object]) -> Path:
    """Write NAME-xS.onnx and its card; return the model's path."""
    out.mkdir(parents=True, exist_ok=True)
    weights = build_model(layers, recipe.shape).SerializeToString(deterministic=True)
    card = build_card(recipe, weights, history, measured)
    path = out / f"{recipe.stem}.onnx"
    write_whole(path, weights)
    write_whole(path.with_suffix(".json"), (json.dumps(card, indent=2) + "\n").encode())
    return path


def main() -> None:
    """Parse the command line and export one checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=recipe_named)
    parser.add_argument("--work", type=Path, required=True, help="the folder train wrote checkpoints to")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    layers, history = load_checkpoint(args.work / "checkpoints" / f"{args.recipe.stem}.npz")
    export(args.recipe, layers, history, args.out, {})


if __name__ == "__main__":
    main()
