"""Turn pictures into LR/HR training pairs: clean ones by bicubic reduction, coded ones by real encoders.

It never reads the evaluation sets. Held-out photographs go to `held_out` clips only.

    python -m training.make_data --data ../shared/images --work ~/train [--scale 2] [--kinds clean ...]
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from training import clips
from training.pictures import Picture, read_luma, read_manifest
from training.resize import bicubic, to_bytes
from training.shards import Pairs, save_pairs

log = logging.getLogger("make_data")

KINDS = ("clean", "ultrafast", "spread", "held_out")
CROP = 512


def clean_pairs(pictures: list[Picture], scale: int) -> Pairs:
    """Pair each picture with its antialiased bicubic reduction, both rounded to bytes."""
    hr = np.stack([read_luma(picture.file)[:CROP, :CROP] for picture in pictures])
    lr = np.stack([to_bytes(bicubic(plane, CROP // scale, CROP // scale)) for plane in hr])
    return Pairs(lr, hr)


def make_kind(kind: str, pictures: list[Picture], scale: int, seed: int) -> Pairs:
    """Make all pairs of one kind."""
    training = [picture for picture in pictures if not picture.held_out]
    if kind == "clean":
        return clean_pairs(training, scale)
    if kind == "held_out":
        return clips.held_out_pairs([picture for picture in pictures if picture.held_out], scale)
    return clips.coded_pairs(training, kind, scale, seed)


def write_kinds(kinds: Iterable[str], pictures_dir: Path, work: Path, scale: int, seed: int = 1) -> None:
    """Make and store the pairs of some kinds under WORK/xSCALE."""
    pictures = read_manifest(pictures_dir)
    for kind in kinds:
        started = time.monotonic()
        pairs = make_kind(kind, pictures, scale, seed)
        save_pairs(work / f"x{scale}", kind, pairs)
        seconds = time.monotonic() - started
        log.info("pairs_written kind=%s lr=%s hr=%s seconds=%.0f", kind, pairs.lr.shape, pairs.hr.shape, seconds)


def missing_kinds(kinds: Iterable[str], work: Path, scale: int) -> list[str]:
    """Say which kinds are not stored yet."""
    return [kind for kind in kinds if not (work / f"x{scale}" / f"{kind}.hr.npy").exists()]


def main() -> None:
    """Parse the command line and write one pair of arrays per kind."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with train/, train.tsv, train_luma/ ...")
    parser.add_argument("--work", type=Path, required=True, help="where pairs are written: WORK/xSCALE/KIND.*.npy")
    parser.add_argument("--scale", type=int, default=2, choices=(2, 4))
    parser.add_argument("--kinds", nargs="+", default=KINDS, choices=KINDS)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    write_kinds(args.kinds, args.data, args.work, args.scale, args.seed)


if __name__ == "__main__":
    main()
