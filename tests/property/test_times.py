"""Decoding times that a muxer accepts exist for every order of packets and every spacing of frames."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upscale_server.media.join import decoding_times


@st.composite
def reordered_times(draw: st.DrawFn) -> list[int]:
    """Draw presentation times of packets in decoding order: irregular steps, shuffled inside small groups."""
    steps = draw(st.lists(st.integers(1, 5000), min_size=1, max_size=60))
    start = draw(st.integers(-10_000, 10_000))
    times = [start]
    for step in steps:
        times.append(times[-1] + step)
    size = draw(st.integers(1, 6))
    groups = [times[place : place + size] for place in range(0, len(times), size)]
    return [time for group in groups for time in draw(st.permutations(group))]


@pytest.mark.slow
@given(reordered_times())
def test_decoding_times_increase_and_never_pass_presentation(pts: list[int]) -> None:
    """Both rules of every muxer hold: dts strictly increases, and dts <= pts for each packet."""
    dts = decoding_times(pts)

    assert all(earlier < later for earlier, later in pairwise(dts))
    assert all(one <= other for one, other in zip(dts, pts, strict=True))


@given(st.lists(st.integers(-1000, 1000), unique=True, max_size=40).map(sorted))
def test_packets_in_display_order_keep_their_times(pts: list[int]) -> None:
    """Without reordering there is no delay: dts is pts."""
    assert pts == decoding_times(pts)
