"""Carry out a tile plan on one frame: cut, run, keep the middle, put together.

It knows arrays only; an engine gives it a function that runs one window.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from upscale_server.models.tiling import Tile, TilePlan

RunWindow = Callable[[NDArray[np.generic]], tuple[NDArray[np.generic], bool]]
"""Take a contiguous `(h, w[, 3])` window; return its `(h * scale, w * scale[, 3])` and whether all was finite."""


def upscale_frame(lr: NDArray[np.generic], hr: NDArray[np.generic], plan: TilePlan, scale: int, run: RunWindow) -> bool:
    """Fill `hr` from `lr` tile by tile and return whether every value was finite."""
    padded = _padded(lr, plan)
    finite = True
    for tile in plan.tiles:
        window = padded[
            tile.window_top : tile.window_top + plan.window[0],
            tile.window_left : tile.window_left + plan.window[1],
        ]
        upscaled, ok = run(np.ascontiguousarray(window))
        _keep(upscaled, hr, tile, scale)
        finite = finite and ok
    return finite


def _padded(lr: NDArray[np.generic], plan: TilePlan) -> NDArray[np.generic]:
    """Replicate the lower and right border where the plan asks for more than there is."""
    below, right = plan.padded[0] - lr.shape[0], plan.padded[1] - lr.shape[1]
    if below == right == 0:
        return lr
    return np.pad(lr, ((0, below), (0, right), *((0, 0),) * (lr.ndim - 2)), mode="edge")


def _keep(upscaled: NDArray[np.generic], hr: NDArray[np.generic], tile: Tile, scale: int) -> None:
    """Copy what the plan keeps of a window."""
    top, left = (tile.top - tile.window_top) * scale, (tile.left - tile.window_left) * scale
    height, width = tile.height * scale, tile.width * scale
    hr[tile.top * scale : tile.top * scale + height, tile.left * scale : tile.left * scale + width] = upscaled[
        top : top + height, left : left + width
    ]
