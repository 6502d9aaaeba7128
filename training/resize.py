"""Resample planes the way the super-resolution literature does, as two matrix products.

It does not imitate swscale: footage is degraded by FFmpeg itself, in `training.clips`.
The trap: Pillow's and FFmpeg's "bicubic" use other coefficients, so published figures need this one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import numpy.typing as npt

FloatPlane = npt.NDArray[np.float64]
"""One plane, (H, W), float64, in the units of its source (0..255 unless said)."""

Kernel = Callable[[FloatPlane], FloatPlane]


def cubic(distance: FloatPlane) -> FloatPlane:
    """Weigh by Keys' cubic with a = -0.5.

    Source: R. Keys, 1981, "Cubic convolution interpolation"; the same `a` as MATLAB's imresize.
    """
    near = np.abs(distance)
    inner = (1.5 * near - 2.5) * near**2 + 1.0
    outer = ((-0.5 * near + 2.5) * near - 4.0) * near + 2.0
    return np.where(near <= 1.0, inner, np.where(near <= 2.0, outer, 0.0))


def lanczos3(distance: FloatPlane) -> FloatPlane:
    """Weigh by the sinc windowed by its own central lobe over three samples."""
    return np.where(np.abs(distance) < 3.0, np.sinc(distance) * np.sinc(distance / 3.0), 0.0)


@lru_cache(maxsize=256)
def resampling_matrix(size: int, new_size: int, kernel: Kernel, radius: float) -> FloatPlane:
    """Build the (new_size, size) matrix that resamples one axis.

    Reduction widens the kernel (antialiasing); borders are mirrored, as MATLAB's imresize does.
    """
    scale = new_size / size
    stretch = max(1.0, 1.0 / scale)
    centres = (np.arange(new_size) + 0.5) / scale - 0.5
    first = np.floor(centres - radius * stretch).astype(np.int64)
    taps = first[:, None] + np.arange(int(np.ceil(2 * radius * stretch)) + 2)[None, :]
    weights = kernel((centres[:, None] - taps) / stretch)
    weights /= weights.sum(axis=1, keepdims=True)
    mirrored = np.abs(np.mod(taps + 0.5, 2 * size) - size)
    columns = (size - mirrored - 0.5).astype(np.int64)
    matrix = np.zeros((new_size, size))
    np.add.at(matrix, (np.arange(new_size)[:, None], columns), weights)
    return matrix


def resize(plane: npt.NDArray[np.generic], height: int, width: int, kernel: Kernel, radius: float) -> FloatPlane:
    """Resample a plane (H, W) to (height, width) and return it unrounded."""
    rows = resampling_matrix(plane.shape[0], height, kernel, radius)
    columns = resampling_matrix(plane.shape[1], width, kernel, radius)
    resampled: FloatPlane = rows @ plane.astype(np.float64) @ columns.T
    return resampled


def bicubic(plane: npt.NDArray[np.generic], height: int, width: int) -> FloatPlane:
    """Resample like MATLAB's `imresize(plane, [height width], "bicubic")`, unrounded."""
    return resize(plane, height, width, cubic, 2.0)


def lanczos(plane: npt.NDArray[np.generic], height: int, width: int) -> FloatPlane:
    """Resample with Lanczos-3, unrounded."""
    return resize(plane, height, width, lanczos3, 3.0)


def to_bytes(plane: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8]:
    """Round half to even and clip to 0..255."""
    rounded: npt.NDArray[np.uint8] = np.clip(np.rint(plane), 0, 255).astype(np.uint8)
    return rounded
