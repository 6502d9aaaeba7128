"""Resampling as the textbooks have it, in matrices of float64: what the product's fast ways are held against.

It is slow and meant for small planes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Textbook:
    """A kernel: how far it reaches on the coarser grid, and its weights by distance."""

    reach: int
    weights: Callable[[Floats], Floats]


def _lanczos3(distance: Floats) -> Floats:
    return np.where(np.abs(distance) < 3, np.sinc(distance) * np.sinc(distance / 3), 0.0)


def _keys(distance: Floats) -> Floats:
    """Return the cubic convolution of R. G. Keys (1981) with a = -0.5."""
    a, x = -0.5, np.abs(distance)
    near = (a + 2) * x**3 - (a + 3) * x**2 + 1
    far = a * (x**3 - 5 * x**2 + 8 * x - 4)
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


LANCZOS = Textbook(3, _lanczos3)
BICUBIC = Textbook(2, _keys)


def matrix(kernel: Textbook, source: int, target: int, offset: float = 0.0) -> Floats:
    """Return the exact `(target, source)` matrix, antialiased where it reduces, with a replicated border."""
    stretch = max(1.0, source / target)
    centres = (np.arange(target) + 0.5) * source / target - 0.5 + offset
    reach = int(kernel.reach * stretch) + kernel.reach
    taps = np.floor(centres)[:, None] + np.arange(-reach, reach + 1)
    weights = kernel.weights((centres[:, None] - taps) / stretch)
    weights /= weights.sum(axis=1, keepdims=True)
    found = np.zeros((target, source))
    np.add.at(found, (np.arange(target)[:, None], np.clip(taps, 0, source - 1).astype(int)), weights)
    return found


def resampled(plane: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Return an 8-bit plane by bicubic, rounded to whole levels."""
    exact = matrix(BICUBIC, plane.shape[0], height) @ plane @ matrix(BICUBIC, plane.shape[1], width).T
    rounded: NDArray[np.uint8] = np.clip(np.rint(exact), 0, 255).astype(np.uint8)
    return rounded
