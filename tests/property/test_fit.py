"""Luma and chroma stay registered for any scale, location and subsampling."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from upscale_server.media.fit import chroma_offset, resample
from upscale_server.media.types import Size

LOCATIONS = {
    "left": (0.0, 0.5),
    "center": (0.5, 0.5),
    "topleft": (0.0, 0.0),
    "top": (0.5, 0.0),
    "bottomleft": (0.0, 1.0),
    "bottom": (0.5, 1.0),
}
"""Where a chroma sample of 4:2:0 lies between its first and its second luma sample (H.273, figure 1)."""


def _siting(location: str, subsampling: tuple[int, int]) -> tuple[float, float]:
    """Return the luma position of chroma sample (0, 0)."""
    x, y = LOCATIONS[location]
    return x * (subsampling[0] - 1), y * (subsampling[1] - 1)


def _ramp(width: int, height: int, step: tuple[int, int], start: tuple[float, float]) -> np.ndarray:
    """Return `20 * x + 13 * y + 8000` at the given luma positions, 16 bits: steep enough to show 1/20 of a sample."""
    x = start[0] + step[0] * np.arange(width)
    y = start[1] + step[1] * np.arange(height)
    return 20.0 * x[None, :] + 13.0 * y[:, None] + 8000.0


@settings(max_examples=80, deadline=None)
@given(
    location=st.sampled_from(sorted(LOCATIONS)),
    subsampling=st.sampled_from([(1, 1), (2, 1), (2, 2), (4, 1)]),
    width=st.integers(60, 140),
    height=st.integers(60, 140),
    target=st.tuples(st.floats(0.6, 4.0), st.floats(0.6, 4.0)),
)
def test_a_ramp_in_luma_and_chroma_stays_one_ramp(
    location: str,
    subsampling: tuple[int, int],
    width: int,
    height: int,
    target: tuple[float, float],
) -> None:
    """Chroma of a linear ramp ends exactly where the resampled luma says it should, odd sizes included."""
    new = Size(max(60, round(width * target[0])), max(60, round(height * target[1])))
    scale = (new.width / width, new.height / height)
    chroma_size = (math.ceil(width / subsampling[0]), math.ceil(height / subsampling[1]))
    siting = _siting(location, subsampling)
    chroma = np.rint(_ramp(*chroma_size, subsampling, siting)).astype(np.uint16)
    new_chroma = Size(math.ceil(new.width / subsampling[0]), math.ceil(new.height / subsampling[1]))

    offset = chroma_offset(location, subsampling, *scale)
    found = resample(chroma, new_chroma, bits=16, offset=offset, scale=scale)

    luma_x = (siting[0] + subsampling[0] * np.arange(new_chroma.width) + 0.5) / scale[0] - 0.5
    luma_y = (siting[1] + subsampling[1] * np.arange(new_chroma.height) + 0.5) / scale[1] - 0.5
    expected = 20.0 * luma_x[None, :] + 13.0 * luma_y[:, None] + 8000.0
    margin_x = math.ceil(4 * max(1.0, scale[0]))
    margin_y = math.ceil(4 * max(1.0, scale[1]))
    inside = np.s_[margin_y:-margin_y, margin_x:-margin_x]
    # The ramp is steep on purpose: an error of 1/8 sample would be 5 levels. Half a level is the rounding of the
    # source (gained up a little by the kernel's negative lobes), half a level that of the result.
    # Lanczos-3 itself bends a ramp between samples, by up to 1.4 % of what it rises from one sample to the next.
    tolerance = 1.6 + 0.014 * (20 * subsampling[0] + 13 * subsampling[1])
    assert np.abs(found.astype(float) - expected)[inside].max(initial=0.0) <= tolerance
