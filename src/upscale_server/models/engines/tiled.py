"""Carry out a tile plan on frames: cut, run, keep the middle, put together.

It knows arrays only; an engine gives it a function that runs one window.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np
from numpy.typing import NDArray

from upscale_server.models.base import EngineOptions, Pixels, Upscaled
from upscale_server.models.card import ModelCard
from upscale_server.models.tiling import Tile, TileNeeds, TilePlan, plan_tiles

RunWindow = Callable[[NDArray[np.generic]], tuple[NDArray[np.generic], bool]]
"""Take a contiguous `(h, w[, 3])` window; return its `(h * scale, w * scale[, 3])` and whether all was finite."""


class TiledFrames:
    """Upscales batches window by window; what does not fit into memory is answered by `models.ladder`."""

    def __init__(self, card: ModelCard, options: EngineOptions) -> None:
        self._card = card
        self._max_pixels = options.max_tile_pixels
        self._between_tiles = options.between_tiles

    def upscale(self, lr: Pixels, window_runner: Callable[[tuple[int, int]], RunWindow]) -> Upscaled:
        """Upscale a batch frame by frame: a frame's bytes must not depend on what shares its batch.

        Args:
            lr: as `Upscaler.upscale` takes it.
            window_runner: gives the function that runs windows of a (height, width).

        Raises:
            OutOfMemory: a window does not fit.
        """
        height, width = lr.shape[1:3]
        card = self._card
        needs = TileNeeds(card.receptive_field, self._max_pixels, card.size_multiple, card.fixed_size)
        plan = plan_tiles(height, width, needs)
        run = _asking(self._between_tiles, window_runner(plan.window))
        hr = np.empty((lr.shape[0], height * card.scale, width * card.scale, *lr.shape[3:]), lr.dtype)
        finite = [upscale_frame(frame, out, plan, card.scale, run) for frame, out in zip(lr, hr, strict=True)]
        return Upscaled(cast("Pixels", hr), np.array(finite, np.bool_))


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


def _asking(between: Callable[[], None], run: RunWindow) -> RunWindow:
    """Return `run` with a question before each tile: a cancelled job ends there."""

    def asked(window: NDArray[np.generic]) -> tuple[NDArray[np.generic], bool]:
        between()
        return run(window)

    return asked


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
