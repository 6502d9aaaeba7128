"""Mix two checkpoints of one lineage weight by weight, to choose between what they are good at.

It does not train. It works only where the second was trained from the first: their kernels then correspond.
Source: M. Wortsman et al., 2022, "Robust fine-tuning of zero-shot models" (weight-space interpolation).

    python -m training.blend FIRST.npz SECOND.npz --share 0.78 --out MIXED.npz
"""

from __future__ import annotations

import argparse
from pathlib import Path

from training.layers import Layer
from training.weights import load_checkpoint, save_checkpoint


def blend(first: list[Layer], second: list[Layer], share: float) -> list[Layer]:
    """Interpolate every kernel and bias; `share` (0..1) is the second's."""
    return [
        Layer(a.kernel + (b.kernel - a.kernel) * share, a.bias + (b.bias - a.bias) * share)
        for a, b in zip(first, second, strict=True)
    ]


def main() -> None:
    """Parse the command line and write the mix with the second's history."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path)
    parser.add_argument("--share", type=float, required=True, help="of the second, 0 to 1")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    first, _ = load_checkpoint(args.first)
    second, history = load_checkpoint(args.second)
    save_checkpoint(args.out, blend(first, second, args.share), history)


if __name__ == "__main__":
    main()
