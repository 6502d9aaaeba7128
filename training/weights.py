"""Read and write collapsed layers: checkpoints (.npz) and shipped models (.onnx).

It does not build ONNX graphs: see `training.export`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from training.layers import Layer


@dataclass(frozen=True, slots=True)
class History:
    """How the weights of a checkpoint came about, all slots added up."""

    minutes: float = 0.0
    steps: int = 0
    device: str = ""
    """What the latest slot ran on."""
    curve: list[tuple[float, float]] = field(default_factory=list)
    """(minutes in this slot, PSNR-Y of the averaged weights on the watch set)."""


def save_checkpoint(path: Path, layers: list[Layer], history: History) -> None:
    """Write layers and history as one .npz, whole or not at all."""
    arrays = {f"kernel{i}": layer.kernel for i, layer in enumerate(layers)}
    arrays |= {f"bias{i}": layer.bias for i, layer in enumerate(layers)}
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part.npz")
    # numpy's stub takes any keyword for `allow_pickle`.
    np.savez(part, history=np.array(json.dumps(asdict(history))), **arrays)  # type: ignore[arg-type]
    part.rename(path)


def load_checkpoint(path: Path) -> tuple[list[Layer], History]:
    """Read what `save_checkpoint` wrote."""
    with np.load(path) as stored:
        count = sum(name.startswith("kernel") for name in stored.files)
        layers = [Layer(stored[f"kernel{i}"], stored[f"bias{i}"]) for i in range(count)]
        return layers, History(**json.loads(str(stored["history"])))


def load_onnx(path: Path) -> list[Layer]:
    """Read the convolutions of a model written by `training.export`, in order."""
    import onnx  # noqa: PLC0415  only needed to start from a shipped model
    from onnx import numpy_helper  # noqa: PLC0415

    graph = onnx.load(path).graph
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    return [
        Layer(arrays[node.input[1]].copy(), arrays[node.input[2]].copy())
        for node in graph.node
        if node.op_type == "Conv"
    ]


def load_layers(path: Path) -> tuple[list[Layer], History]:
    """Read layers from a checkpoint, or from a shipped .onnx with the minutes its card tells."""
    if path.suffix != ".onnx":
        return load_checkpoint(path)
    card = path.with_suffix(".json")
    facts = json.loads(card.read_text(encoding="utf-8")) if card.exists() else {}
    return load_onnx(path), History(minutes=facts.get("trained_minutes", 0.0), device=facts.get("trained_device", ""))
