"""Read training and evaluation pictures as limited-range luma, and say which are held out.

It does not degrade anything: see `training.make_data`.
"""

from __future__ import annotations

import csv
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

Luma = npt.NDArray[np.uint8]
"""One plane, (H, W), uint8, BT.601 limited range (16..235)."""

HELD_OUT_ONE_IN = 16
"""Photographs kept for measuring: one in sixteen leaves 15 of about 240, enough for ten clips."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One training crop and where it comes from."""

    file: Path
    repository: str
    path: str
    licence: str

    @property
    def held_out(self) -> bool:
        """Whether this photograph (all its crops) is kept out of training.

        Decided by the source path, so that two crops of one photograph never sit on both sides.
        """
        digest = hashlib.sha256(f"{self.repository}/{self.path}".encode()).digest()
        return digest[0] % HELD_OUT_ONE_IN == 0


def read_manifest(pictures_dir: Path) -> list[Picture]:
    """List the training crops named by `train.tsv` and `train_luma.tsv`, in file order."""
    pictures = []
    for folder in ("train", "train_luma"):
        with (pictures_dir / f"{folder}.tsv").open(encoding="utf-8", newline="") as table:
            for row in csv.DictReader(table, delimiter="\t"):
                file = pictures_dir / folder / row["file"]
                pictures.append(Picture(file, row["repository"], row["path"], row["licence"]))
    return pictures


def luma_of(rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Turn full-range RGB (H, W, 3) into unrounded limited-range luma.

    Source: ITU-R BT.601, the weights of MATLAB's rgb2ycbcr, which every published table uses.
    """
    weighted = rgb.astype(np.float64) @ np.array([65.481, 128.553, 24.966])
    luma: npt.NDArray[np.float64] = 16.0 + weighted / 255.0
    return luma


def read_rgb(file: Path) -> npt.NDArray[np.uint8]:
    """Read a picture as full-range RGB (H, W, 3); gray pictures get three equal planes."""
    with Image.open(file) as image:
        return np.asarray(image.convert("RGB"))


def read_luma(file: Path) -> Luma:
    """Read a picture as rounded limited-range luma."""
    luma: Luma = np.rint(luma_of(read_rgb(file))).astype(np.uint8)
    return luma
