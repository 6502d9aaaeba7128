"""The yardstick of previews: bicubic straight to the size that is asked for, whatever size a pass would have."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from tests.support.kernels import resampled
from upscale_server.media.types import Colour, Frame, Size
from upscale_server.models.catalogue import BICUBIC, LANCZOS, classical_card
from upscale_server.models.load import load
from upscale_server.models.luma import FrameUpscaler


@pytest.mark.parametrize(("model", "is_textbook"), [(BICUBIC, True), (LANCZOS, False)])
def test_bicubic_takes_no_detour_over_a_whole_scale(model: str, *, is_textbook: bool) -> None:
    """96x64 to 128x86 in one step by the textbook's kernel, luma and centred chroma; Lanczos is another picture."""
    rng = np.random.default_rng(7)
    planes = tuple(rng.integers(16, 236, shape, np.uint8) for shape in ((64, 96), (32, 48), (32, 48)))
    frame = Frame(planes, "yuv420p", 0, Fraction(1, 25))
    size = Size(128, 86)
    upscale = FrameUpscaler((load(classical_card(model, 2)),), size, size, Colour(chroma_location="center"))

    (found,), redone = upscale([frame])

    assert [] == redone
    assert [(86, 128), (43, 64), (43, 64)] == [plane.shape for plane in found.planes]
    for before, after in zip(planes, found.planes, strict=True):
        expected = resampled(before, after.shape[1], after.shape[0])
        # Sums that end near a half are rounded to either side; a second step or another kernel is ten levels off.
        assert is_textbook == (np.abs(expected.astype(int) - after).max() <= 1)
