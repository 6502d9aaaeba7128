"""PSNR and SSIM of luma planes by the protocol of the super-resolution literature.

It does not read files or run models.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Plane = npt.NDArray[np.generic]
"""Luma (H, W), limited range, 0..255."""

SSIM_WINDOW = 11
SSIM_SIGMA = 1.5


def shaved(plane: Plane, border: int) -> npt.NDArray[np.float64]:
    """Cut `border` samples from each side."""
    return plane[border : plane.shape[0] - border, border : plane.shape[1] - border].astype(np.float64)


def psnr(found: Plane, expected: Plane, border: int = 0) -> float:
    """Peak signal-to-noise ratio in dB for a peak of 255, borders cut."""
    error = float(np.mean((shaved(found, border) - shaved(expected, border)) ** 2))
    return float("inf") if error == 0 else 10.0 * float(np.log10(255.0**2 / error))


def _blurred(plane: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    offsets = np.arange(SSIM_WINDOW) - SSIM_WINDOW // 2
    kernel = np.exp(-(offsets**2) / (2 * SSIM_SIGMA**2))
    kernel /= kernel.sum()
    height, width = plane.shape[0] - SSIM_WINDOW + 1, plane.shape[1] - SSIM_WINDOW + 1
    rows = sum(kernel[i] * plane[i : i + height] for i in range(SSIM_WINDOW))
    return np.asarray(sum(kernel[i] * rows[:, i : i + width] for i in range(SSIM_WINDOW)))


def ssim(found: Plane, expected: Plane, border: int = 0) -> float:
    """Structural similarity with an 11x11 Gaussian window, no padding.

    Source: Z. Wang et al., 2004, the constants of the authors' ssim_index.m.
    """
    a, b = shaved(found, border), shaved(expected, border)
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    mean_a, mean_b = _blurred(a), _blurred(b)
    var_a = _blurred(a * a) - mean_a**2
    var_b = _blurred(b * b) - mean_b**2
    covariance = _blurred(a * b) - mean_a * mean_b
    numerator = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    return float(np.mean(numerator / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))))
