"""Our bicubic is the one the literature uses."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from training.resize import FloatPlane, bicubic, lanczos, to_bytes

Resample = Callable[[FloatPlane, int, int], FloatPlane]


def test_halving_an_impulse_gives_the_published_coefficients() -> None:
    """Reduction by two widens Keys' kernel: taps at 0.25, 0.75, 1.25 and 1.75, halved (worked by hand)."""
    expected = np.array([-0.01171875, -0.03515625, 0.11328125, 0.43359375])
    rows = np.zeros((16, 16))
    rows[:, 7] = 1.0

    found = bicubic(rows, 16, 8)

    assert found[8, 3] == pytest.approx(expected[3])
    assert found[8, 4] == pytest.approx(expected[2])
    assert found[8, 2] == pytest.approx(expected[1])
    assert found[8, 5] == pytest.approx(expected[0])


@pytest.mark.parametrize("resample", [bicubic, lanczos])
@pytest.mark.parametrize("size", [(8, 8), (31, 17), (64, 5)])
def test_a_flat_plane_stays_flat_up_to_its_borders(resample: Resample, size: tuple[int, int]) -> None:
    """Weights sum to one everywhere, mirrored borders included."""
    found = resample(np.full((16, 16), 77.0), *size)

    assert found.shape == size
    np.testing.assert_allclose(found, 77.0, atol=1e-9)


def test_the_same_size_is_the_same_plane() -> None:
    """No phase shift."""
    plane = np.random.default_rng(1).uniform(0, 255, (9, 13))

    np.testing.assert_allclose(bicubic(plane, 9, 13), plane, atol=1e-9)


def test_bytes_are_clipped_not_wrapped() -> None:
    """Overshoot beyond white or black saturates."""
    assert to_bytes(np.array([[-3.0, 254.6, 300.0]])).tolist() == [[0, 255, 255]]
