"""Ask what more bits in a source are worth to the shipped networks, which were trained on eight.

The standard sets are reduced as ever, and rounded to 8, 10 or 12 bits, as the result is; PSNR-Y is taken against the
pictures of eight bits. The processor's bf16 keeps eight bits of anything, so it is measured beside f32.

    python -m training.depth --data ../shared/images [--models src/upscale_server/models/builtin]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import openvino as ov

from training.material import STANDARD_SETS
from training.metrics import psnr
from training.pictures import read_luma
from training.resize import bicubic

BITS = (8, 10, 12)
Plane = npt.NDArray[np.float64]


def rounded(plane: npt.NDArray[np.generic], bits: int) -> Plane:
    """Return luma (0..255) as so many bits hold it."""
    steps = 2.0 ** (bits - 8)
    return np.clip(np.rint(plane.astype(np.float64) * steps) / steps, 0, 255)


def psnr_by_bits(card_path: Path, data: Path, name: str, precision: str) -> list[float]:
    """Return the mean PSNR-Y of a set for each of `BITS`."""
    card = json.loads(card_path.read_text(encoding="utf-8"))
    options = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": 1}
    network = ov.Core().compile_model(card_path.with_name(card["file"]), "CPU", options)
    scale = int(card["scale"])
    found: list[list[float]] = []
    for file in sorted((data / "eval" / STANDARD_SETS[name]).glob("*.png")):
        hr = read_luma(file)
        height, width = hr.shape[0] // scale, hr.shape[1] // scale
        hr = hr[: height * scale, : width * scale]
        reduced = bicubic(hr, height, width)
        row = []
        for bits in BITS:
            lr = (rounded(reduced, bits) / 255.0).astype(np.float32)[None, None]
            row.append(psnr(rounded(network(lr)[0][0, 0] * 255.0, bits), hr, scale))
        found.append(row)
    return [float(one) for one in np.mean(found, axis=0)]


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--models", type=Path, default=Path("src/upscale_server/models/builtin"))
    args = parser.parse_args()
    for name in STANDARD_SETS:
        print(f"| {name} | {' | '.join(f'{bits} bits' for bits in BITS)} |")
        for card in sorted(args.models.glob("*.json")):
            for precision in ("f32", "bf16"):
                row = psnr_by_bits(card, args.data, name, precision)
                print(f"| {card.stem} {precision} | {' | '.join(f'{one:.3f}' for one in row)} |")


if __name__ == "__main__":
    main()
