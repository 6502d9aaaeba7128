"""Integer pixels to values and back, and the resizing of both modes.

It knows no network. The official script's input has no antialiasing and torch's cubic (a = -0.75); its output goes
through Pillow at 8 bits (a = -0.5). The exact mode stays in floats, with Pillow's cubic wherever it has the choice.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional

from upscale_server.media.types import Size

Bytes = NDArray[np.uint8]
"""`(H, W, 3)` RGB, 0..255."""


def values_of(pixels: NDArray[np.generic], white: int, device: torch.device) -> torch.Tensor:
    """Return `(H, W, 3)` integer pixels as `(1, 3, H, W)` float32 in 0..1."""
    whole = torch.from_numpy(pixels.astype(np.int32)).to(device)
    return (whole.permute(2, 0, 1)[None].float() / white).contiguous()


def to_bytes(pixels: NDArray[np.generic], white: int) -> Bytes:
    """Return integer pixels at 8 bits, nearest."""
    if white == 255:
        return cast("Bytes", pixels)
    return np.round(pixels.astype(np.float64) * (255 / white)).astype(np.uint8)


def network_input(values: torch.Tensor, resized: Size, padded: Size) -> torch.Tensor:
    """Resize as the official script does, to -1..1, and repeat the last column and row up to the working size."""
    size = (resized.height, resized.width)
    larger = functional.interpolate(values, size=size, mode="bicubic", align_corners=False, antialias=False)
    ready = (2 * larger - 1).clamp(-1, 1)
    right, below = padded.width - resized.width, padded.height - resized.height
    return functional.pad(ready, (0, right, 0, below), mode="replicate") if right or below else ready


def fit(values: torch.Tensor, size: Size) -> torch.Tensor:
    """Resize with Pillow's cubic (a = -0.5, antialiased), in floats; the same size is left alone."""
    if tuple(values.shape[2:]) == (size.height, size.width):
        return values
    target = (size.height, size.width)
    return functional.interpolate(values, size=target, mode="bicubic", align_corners=False, antialias=True).clamp(0, 1)


def truncated(values: torch.Tensor) -> Bytes:
    """Return values in 0..1 as the official script does: cut off to 8 bits, not rounded."""
    return _to_host((values * 255).to(torch.uint8))


def rounded(values: torch.Tensor, white: int) -> NDArray[np.generic]:
    """Return values in 0..1 as integers, nearest; uint8 where white is 255, else uint16."""
    found = _to_host((values * white).round().to(torch.int32))
    return found.astype(np.uint8 if white == 255 else np.uint16)


def widened(pixels: Bytes, white: int) -> NDArray[np.generic]:
    """Return 8-bit pixels with another white, nearest; at 16 bits exactly 257 times as much."""
    if white == 255:
        return pixels
    return np.round(pixels.astype(np.float64) * (white / 255)).astype(np.uint16)


def pillow_fit(pixels: Bytes, size: Size) -> Bytes:
    """Resize 8-bit pixels by Pillow's cubic, as the official script does."""
    target = (size.width, size.height)
    return np.asarray(Image.fromarray(pixels).resize(target, Image.Resampling.BICUBIC))


def _to_host(values: torch.Tensor) -> Bytes:
    return cast("Bytes", np.ascontiguousarray(values[0].permute(1, 2, 0).cpu().numpy()))
