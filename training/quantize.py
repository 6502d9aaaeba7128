"""Quantize a shipped network to int8, and measure what that loses and gains on this processor.

Weights are int8 for each output channel, what goes into a convolution is uint8, its range read from training pairs;
the first convolution sees luma as stored, so it stays as it is, and so does the last one if asked. Nothing is trained.

    python -m training.quantize fast-x2 --data ../shared/images --work ~/train [--keep-last] [--out fast-int8.onnx]

It prints PSNR-Y on the standard sets and processor seconds, beside bf16 and f32 in the same run, one thread each. It
needs the extra `onnxruntime`.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
import onnx

from training.material import STANDARD_SETS, standard_pairs
from training.metrics import psnr
from training.recipes import Recipe, recipe_named
from training.resize import to_bytes
from training.shards import load_pairs

CALIBRATION_PICTURES = 64
TIMED_SIZE = (360, 640)
ROUNDS = 15

Planes = npt.NDArray[np.float32]
Network = Callable[[Planes], Planes]


def quantize(model: Path, out: Path, pictures: Planes, *, keep_last: bool) -> None:
    """Write an int8 form of a network.

    Args:
        model: its file; convolutions are named conv0, conv1 and so on.
        out: the new file.
        pictures: (N, 1, H, W) in [0, 1], by which the ranges of activations are found.
        keep_last: leave the last convolution as it is, too.
    """
    from onnxruntime import quantization as q  # noqa: PLC0415  only who quantizes needs it

    class Reader(q.CalibrationDataReader):  # type: ignore[misc]  # it has no types
        def __init__(self) -> None:
            self._left: Iterator[Planes] = iter(pictures)

        def get_next(self) -> dict[str, Planes] | None:
            picture = next(self._left, None)
            return None if picture is None else {"lr": picture[None]}

    convs = [node.name for node in onnx.load(model).graph.node if node.op_type == "Conv"]
    q.quantize_static(
        model, out, Reader(), quant_format=q.QuantFormat.QDQ, op_types_to_quantize=["Conv"], per_channel=True,
        activation_type=q.QuantType.QUInt8, weight_type=q.QuantType.QInt8,
        nodes_to_exclude=[convs[0], *convs[-1:] * keep_last],
        # What comes out is rounded once, behind the ReLU: twice costs more than int8 gains.
        extra_options={"OpTypesToExcludeOutputQuantization": ["Conv"]},
    )  # fmt: skip


def compiled(model: Path, precision: str) -> Network:
    """Return a network in OpenVINO on one thread; what is not int8 in it runs in this precision."""
    import openvino as ov  # noqa: PLC0415  a training run does not need it

    options = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": 1}
    network = ov.Core().compile_model(model, "CPU", options)
    return lambda planes: np.asarray(network(planes)[0])


def psnr_on(network: Network, data: Path, name: str, scale: int) -> float:
    """Return the mean PSNR-Y on a standard set."""
    return float(
        np.mean(
            [
                psnr(to_bytes(network(lr.astype(np.float32)[None, None] / 255.0)[0, 0] * 255.0), hr, scale)
                for lr, hr in standard_pairs(data, name, scale)
            ]
        )
    )


def seconds_of(networks: dict[str, Network]) -> dict[str, float]:
    """Return processor seconds for one picture, medians of rounds in which all take turns."""
    picture = np.random.default_rng(1).random((1, 1, *TIMED_SIZE), dtype=np.float32)
    spent: dict[str, list[float]] = {name: [] for name in networks}
    for network in networks.values():
        network(picture)
    for _ in range(ROUNDS):
        for name, network in networks.items():
            began = time.process_time()
            network(picture)
            spent[name].append(time.process_time() - began)
    return {name: statistics.median(each) for name, each in spent.items()}


def report(recipe: Recipe, data: Path, networks: dict[str, Network]) -> str:
    """Return a table: PSNR-Y on each set, and seconds as a multiple of what int8 takes."""
    seconds = seconds_of(networks)
    lines = [f"| {recipe.stem} | {' | '.join(STANDARD_SETS)} | ms for 640x360 | times int8 |"]
    for name, network in networks.items():
        figures = [f"{psnr_on(network, data, one, recipe.shape.scale):.3f}" for one in STANDARD_SETS]
        of_int8 = seconds[name] / seconds["int8"]
        lines.append(f"| {name} | {' | '.join(figures)} | {1000 * seconds[name]:.1f} | {of_int8:.2f} |")
    return "\n".join(lines)


def calibration_pictures(work: Path, recipe: Recipe) -> npt.NDArray[np.float32]:
    """Return luma (N, 1, H, W) in [0, 1] out of all kinds that a network was trained on, cut to the smallest."""
    kinds = [load_pairs(work / f"x{recipe.shape.scale}", kind).lr for kind in recipe.mix]
    each, side = CALIBRATION_PICTURES // len(kinds), min(min(lr.shape[1:]) for lr in kinds)
    pictures = np.concatenate([lr[:: max(1, len(lr) // each)][:each, :side, :side] for lr in kinds])
    return pictures[:, None].astype(np.float32) / np.float32(255.0)


def main() -> None:
    """Quantize one shipped model, measure it, and keep it if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=recipe_named)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--models", type=Path, default=Path("src/upscale_server/models/builtin"))
    parser.add_argument("--keep-last", action="store_true", help="do not quantize the last convolution")
    parser.add_argument("--out", type=Path, help="where the int8 form is kept; else it is measured only")
    args = parser.parse_args()
    model = args.models / f"{args.recipe.stem}.onnx"
    pictures = calibration_pictures(args.work, args.recipe)
    with TemporaryDirectory() as folder:
        out = args.out or Path(folder) / "int8.onnx"
        quantize(model, out, pictures, keep_last=args.keep_last)
        networks = {"f32": compiled(model, "f32"), "bf16": compiled(model, "bf16"), "int8": compiled(out, "bf16")}
        print(report(args.recipe, args.data, networks))


if __name__ == "__main__":
    main()
