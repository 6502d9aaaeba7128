"""Catch frames that went wrong inside a network before anybody sees them, and compute them again in f32.

It compares arrays; what a redone frame means for a job is told by the caller.

A generative model invents: there only finite values are asked for.

The rule: means over blocks of 8x8 LR pixels, of input and output, differ by at most a bound, on average over the frame
and in the worst block. A super-resolution network moves light by a pixel or two, so a block keeps its mean within a
level on natural pictures. What it loses beyond grows with the difference between neighbouring pixels: over checkers,
stripes, dots and noise of any two levels, Lanczos and our networks lose up to 0.16 of that, across and down added (a
checkerboard of 0 and 128 becomes 28 levels lighter in the worst network). The bound on the average therefore grows
with it; a black or garbage frame is far beyond, and a broken tile shows as worst block.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from upscale_server.errors import UpscaleError
from upscale_server.models.base import Pixels, Upscaled, Upscaler

FARTHEST_ON_AVERAGE = 5.0 / 255.0
"""Of white, over a frame without texture: five times what natural pictures show."""

FARTHEST_BY_TEXTURE = 0.5
"""Of the mean difference between neighbouring pixels, across plus down, added to that: three times the worst known."""

FARTHEST_BLOCK = 64.0 / 255.0
"""Of white, in one block: twice the worst known."""

_BLOCK = 8


def upscale_guarded(upscaler: Upscaler, lr: Pixels, *, bits: int) -> tuple[Pixels, tuple[tuple[int, str], ...]]:
    """Upscale a batch; a frame that is not finite or does not look like its input is computed again in f32.

    Args:
        upscaler: what computes.
        lr: `(N, H, W)` or `(N, H, W, 3)`.
        bits: significant bits of a sample.

    Returns:
        The pixels, and for each frame that was redone its index in the batch and why.

    Raises:
        UpscaleError: a frame is still wrong in f32; the text names its index in the batch.
    """
    upscaled = upscaler.upscale(lr, bits=bits)
    white = (1 << bits) - 1
    alike = not upscaler.card.generative
    faults = _faults(lr, upscaled, white, alike=alike)
    if not faults:
        return upscaled.pixels, ()
    pixels = upscaled.pixels.copy()
    for index, _ in faults:
        again = upscaler.upscale(lr[index : index + 1], bits=bits, exact=True)
        still = _faults(lr[index : index + 1], again, white, alike=alike)
        if still:
            raise UpscaleError(
                f"frame {index} of the batch is wrong even in f32: {still[0][1]}",
                hint=f"the model {upscaler.card.name} does not suit this source; another may",
            )
        pixels[index] = again.pixels[0]
    return pixels, faults


def _faults(lr: NDArray[np.generic], upscaled: Upscaled, white: int, *, alike: bool) -> tuple[tuple[int, str], ...]:
    """Return index and fault of each frame that has one; only where `alike` must a result look like its input."""
    broken = dict.fromkeys(np.flatnonzero(~upscaled.finite).tolist(), "values are not finite")
    if not alike:
        return tuple(broken.items())
    found = ((index, broken.get(index) or _unlike(lr[index], hr, white)) for index, hr in enumerate(upscaled.pixels))
    return tuple((index, fault) for index, fault in found if fault)


def _unlike(lr: NDArray[np.generic], hr: NDArray[np.generic], white: int) -> str:
    """Say how a frame differs from its input; an empty text means that it does not."""
    average, worst = block_difference(lr, hr)
    allowed = FARTHEST_ON_AVERAGE * white + FARTHEST_BY_TEXTURE * texture(lr)
    if average > allowed or worst > FARTHEST_BLOCK * white:
        return (
            f"the result, averaged down, is {100 * average / white:.1f} % of white from the input "
            f"({100 * worst / white:.1f} % in the worst block)"
        )
    return ""


def block_difference(lr: NDArray[np.generic], hr: NDArray[np.generic]) -> tuple[float, float]:
    """Return the mean and the largest difference between block means of a picture and its enlargement, in levels."""
    scale = hr.shape[0] // lr.shape[0]
    height, width = min(_BLOCK, lr.shape[0]), min(_BLOCK, lr.shape[1])
    low = _block_means(lr, height, width)
    high = _block_means(hr, height * scale, width * scale)
    difference = np.abs(low - high)
    return float(difference.mean()), float(difference.max())


def texture(picture: NDArray[np.generic]) -> float:
    """Return the mean difference between neighbours across plus that between neighbours down, in levels.

    Every seventh line is looked at, whole: steps along a line would miss patterns of their own period.
    """
    across = np.diff(picture[::7].astype(np.int32), axis=1)
    down = np.diff(picture[:, ::7].astype(np.int32), axis=0)
    return sum(float(np.abs(steps).mean()) for steps in (across, down) if steps.size)


def _block_means(picture: NDArray[np.generic], height: int, width: int) -> NDArray[np.float32]:
    """Return the means of whole blocks; a rest at the right or lower border is left out.

    Rows first and in uint32: that is one pass over contiguous memory, 4 times as fast as `mean` over both axes.
    """
    rows, columns = picture.shape[0] // height, picture.shape[1] // width
    inner = picture[: rows * height, : columns * width]
    strips = inner.reshape(rows, height, columns * width, *picture.shape[2:]).sum(axis=1, dtype=np.uint32)
    blocks = strips.reshape(rows, columns, width, *picture.shape[2:]).sum(axis=2, dtype=np.uint32)
    means: NDArray[np.float32] = (blocks / np.float32(height * width)).astype(np.float32)
    return means
