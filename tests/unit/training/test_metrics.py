"""The measures agree with their definitions."""

from __future__ import annotations

import numpy as np
import pytest

from training.metrics import psnr, ssim


def test_psnr_of_an_error_of_one_level() -> None:
    """20 log10(255) dB."""
    plane = np.full((20, 20), 100.0)

    assert psnr(plane + 1, plane) == pytest.approx(48.1308, abs=1e-4)


def test_borders_are_not_measured() -> None:
    """An error in the cut border leaves the planes equal."""
    expected = np.zeros((20, 20))
    found = expected.copy()
    found[0, :] = 50.0

    assert psnr(found, expected, border=2) == float("inf")


def test_ssim_is_one_for_equal_planes_and_falls_with_noise() -> None:
    """The two ends of the scale."""
    random = np.random.default_rng(1)
    plane = random.uniform(16, 235, (40, 40))

    assert ssim(plane, plane) == pytest.approx(1.0)
    assert ssim(plane + random.normal(0, 40, plane.shape), plane) < 0.9
