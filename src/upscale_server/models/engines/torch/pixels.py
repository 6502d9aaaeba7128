"""Integer pixels to values and back, on whatever device they are on: only integers cross the bus.

It knows one window and one copy of a network.

The trap: torch computes little in uint16, so 16-bit pixels travel as int16 of the same bits, and are masked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from upscale_server.models.engines.torch.network import Copy

_WORD = 0xFFFF


@dataclass(frozen=True, slots=True)
class Work:
    """How windows are to be computed: in which precision, what white is among the pixels and among the values."""

    precision: str
    white: int
    value_range: float


def to_tensor(window: NDArray[np.generic]) -> torch.Tensor:
    """Wrap `(h, w[, 3])` pixels, uint8 or uint16; read-only ones are copied, because torch cannot promise to read."""
    pixels = window.view(np.int16) if window.dtype == np.uint16 else window
    return torch.from_numpy(pixels if pixels.flags.writeable else pixels.copy())


def to_array(pixels: torch.Tensor) -> NDArray[np.generic]:
    """Return pixels on the CPU as uint8 or uint16."""
    array: NDArray[np.generic] = pixels.numpy()
    return array.view(np.uint16) if array.dtype == np.int16 else array


def upscaled(copy: Copy, pixels: torch.Tensor, work: Work) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute a window.

    Args:
        copy: the network, on the pixels' device.
        pixels: `(h, w[, 3])`, uint8, or int16 with the bits of uint16.
        work: see there.

    Returns:
        Pixels of the same type, `(h * scale, w * scale[, 3])`, and whether every value was finite, both on the device.
    """
    wide = pixels.dtype == torch.int16
    levels = (pixels.to(torch.int32) & _WORD) if wide else pixels
    values = levels.to(torch.float32) * (work.value_range / work.white)
    hr, finite = copy.values(_as_picture(values))
    found = (hr * (work.white / work.value_range)).round().clamp(0, work.white)
    # By way of int32: what a number beyond int16 becomes is not promised.
    whole = found.to(torch.int32).to(torch.int16) if wide else found.to(torch.uint8)
    return _as_window(whole, pixels.dim()), finite


def _as_picture(window: torch.Tensor) -> torch.Tensor:
    """Return `(1, C, h, w)` of `(h, w[, C])`."""
    return window[None, None] if window.dim() == 2 else window.permute(2, 0, 1)[None]


def _as_window(picture: torch.Tensor, dimensions: int) -> torch.Tensor:
    """Return a contiguous `(h, w[, C])` of `(1, C, h, w)`."""
    window: Any = picture[0, 0] if dimensions == 2 else picture[0].permute(1, 2, 0)
    return window.contiguous()
