"""Store LR/HR pairs as plain .npy arrays and draw training patches from them.

It does not make the pairs: see `training.make_data`. Arrays are memory-mapped, so a set larger than
memory still trains; on a machine with room the page cache holds it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

Planes = npt.NDArray[np.uint8]
"""Luma planes (N, H, W), uint8, limited range."""

CANDIDATES = 3
"""Patches drawn per patch kept: the most detailed of three gave +0.14 dB on buildings (LOG.md)."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """LR planes (N, h, w) and their HR planes (N, s*h, s*w)."""

    lr: Planes
    hr: Planes

    @property
    def scale(self) -> int:
        """HR samples per LR sample along one axis."""
        return int(self.hr.shape[1] // self.lr.shape[1])


def save_pairs(folder: Path, kind: str, pairs: Pairs) -> None:
    """Write `KIND.lr.npy` and `KIND.hr.npy`, each whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    for side, planes in (("lr", pairs.lr), ("hr", pairs.hr)):
        part = folder / f"{kind}.{side}.part.npy"
        np.save(part, planes)
        part.rename(folder / f"{kind}.{side}.npy")


def load_pairs(folder: Path, kind: str) -> Pairs:
    """Map the arrays written by `save_pairs`."""
    lr = np.load(folder / f"{kind}.lr.npy", mmap_mode="r")
    return Pairs(lr, np.load(folder / f"{kind}.hr.npy", mmap_mode="r"))


class PatchSampler:
    """Draws batches of flipped and turned patches from several kinds of pairs by weight."""

    def __init__(self, kinds: dict[str, Pairs], mix: dict[str, float], lr_size: int, seed: int) -> None:
        self._kinds = [kinds[name] for name in mix]
        self._weights = np.array(list(mix.values())) / sum(mix.values())
        self._size = lr_size
        self._random = np.random.default_rng(seed)

    def batch(self, count: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Draw `count` patches.

        Returns:
            LR (count, 1, size, size) and HR (count, 1, s*size, s*size), float32 in [0, 1].
        """
        drawn = [self._detailed_patch() for _ in range(count)]
        lr = np.stack([patch for patch, _ in drawn])[:, None]
        hr = np.stack([patch for _, patch in drawn])[:, None]
        return lr.astype(np.float32) / 255.0, hr.astype(np.float32) / 255.0

    def _detailed_patch(self) -> tuple[Planes, Planes]:
        pairs = self._kinds[self._random.choice(len(self._kinds), p=self._weights)]
        candidates = [self._place(pairs) for _ in range(CANDIDATES)]
        index, top, left = max(candidates, key=lambda place: self._detail(pairs, *place))
        size, scale = self._size, pairs.scale
        lr = pairs.lr[index, top : top + size, left : left + size]
        top, left, size = top * scale, left * scale, size * scale
        hr = pairs.hr[index, top : top + size, left : left + size]
        return self._turned(lr, hr)

    def _place(self, pairs: Pairs) -> tuple[int, int, int]:
        count, height, width = pairs.lr.shape
        draw = self._random.integers
        return int(draw(count)), int(draw(height - self._size + 1)), int(draw(width - self._size + 1))

    def _detail(self, pairs: Pairs, index: int, top: int, left: int) -> float:
        # Every second row is enough to compare patches and halves the cost.
        patch = pairs.lr[index, top : top + self._size : 2, left : left + self._size].astype(np.int16)
        return float(np.abs(np.diff(patch, axis=1)).mean() + np.abs(np.diff(patch, axis=0)).mean())

    def _turned(self, lr: Planes, hr: Planes) -> tuple[Planes, Planes]:
        mirror, upside_down, transpose = self._random.integers(2, size=3)
        if mirror:
            lr, hr = lr[:, ::-1], hr[:, ::-1]
        if upside_down:
            lr, hr = lr[::-1], hr[::-1]
        return (lr.T, hr.T) if transpose else (lr, hr)
