"""Luma of more bits has values between those of eight."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("openvino", reason="openvino is not installed here")

from training.depth import rounded


@pytest.mark.parametrize(
    ("bits", "found"), [(8, [16.0, 0.0, 255.0]), (10, [16.25, 0.0, 255.0]), (12, [16.3125, 0, 255])]
)
def test_rounding_keeps_what_the_bits_hold(bits: int, found: list[float]) -> None:
    """A quarter with ten bits, a sixteenth with twelve; what is outside is cut."""
    assert found == rounded(np.array([16.3, -3.0, 300.0]), bits).tolist()
