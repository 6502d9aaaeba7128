"""A mix lies between its two checkpoints."""

from __future__ import annotations

import numpy as np
import pytest

from training.blend import blend
from training.layers import Layer


@pytest.mark.parametrize(("share", "expected"), [(0.0, 1.0), (0.25, 1.5), (1.0, 3.0)])
def test_the_share_is_the_seconds(share: float, expected: float) -> None:
    """Ends reproduce the checkpoints; between, kernels and biases move together."""
    first = [Layer(np.full((4, 1, 3, 3), 1.0, np.float32), np.full(4, 1.0, np.float32))]
    second = [Layer(np.full((4, 1, 3, 3), 3.0, np.float32), np.full(4, 3.0, np.float32))]

    found = blend(first, second, share)

    np.testing.assert_allclose(found[0].kernel, expected)
    np.testing.assert_allclose(found[0].bias, expected)
    assert found[0].kernel.dtype == np.float32
