"""Follow training on Set5: PSNR-Y of the averaged weights, on the CPU, in float32.

It only watches: no checkpoint is chosen by it and nothing is trained on it.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  the name the field uses
from torch import Tensor

from training.layers import Layer, Shape
from training.metrics import psnr
from training.network import run
from training.pictures import read_luma
from training.resize import bicubic, to_bytes


def upscale(lr: Tensor, layers: list[Layer], shape: Shape) -> Tensor:
    """Run collapsed layers on luma (N, 1, H, W) in [0, 1]."""
    kernels = [(torch.from_numpy(layer.kernel), torch.from_numpy(layer.bias)) for layer in layers]
    convs = [partial(F.conv2d, weight=kernel, bias=bias, padding=1) for kernel, bias in kernels]
    return F.pixel_shuffle(run(shape, convs, lr) + lr, shape.scale)


class Watch:
    """Set5, reduced once."""

    def __init__(self, data: Path, shape: Shape) -> None:
        self._shape, self._scale = shape, shape.scale
        self._pairs = []
        for file in sorted((data / "eval" / "Set5_HR").glob("*.png")):
            hr = read_luma(file)
            height, width = hr.shape[0] // self._scale, hr.shape[1] // self._scale
            hr = hr[: height * self._scale, : width * self._scale]
            self._pairs.append((to_bytes(bicubic(hr, height, width)), hr))

    @torch.no_grad()
    def psnr(self, layers: list[Layer]) -> float:
        """Mean PSNR-Y over the set; NaN where the set is absent."""
        return float(np.mean([self._psnr_of_pair(layers, *pair) for pair in self._pairs] or [np.nan]))

    def _psnr_of_pair(self, layers: list[Layer], lr: np.ndarray, hr: np.ndarray) -> float:
        planes = torch.from_numpy(lr.astype(np.float32) / 255.0)[None, None]
        found = upscale(planes, layers, self._shape)[0, 0].numpy() * 255.0
        return psnr(np.clip(np.rint(found), 0, 255), hr, self._scale)
