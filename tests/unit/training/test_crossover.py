"""Where one network overtakes the other is read off a line, and the clips really move."""

from __future__ import annotations

import math

import numpy as np
import pytest

from training.codecs import SUBNET, Coding, coded, coded_and_weighed
from training.crossover import CODINGS, FRAMES, Point, crossing, panned


def test_the_crossing_lies_on_the_line_between_its_neighbours() -> None:
    """A gain of -0.1 dB at 1 bit and +0.3 dB at 0.6 bits crosses a quarter of the way."""
    assert 0.9 == pytest.approx(crossing([Point(2.0, -0.2), Point(1.0, -0.1), Point(0.6, 0.3)]))


def test_networks_that_never_cross_have_no_crossing() -> None:
    """A gain of one sign gives no number."""
    assert math.isnan(crossing([Point(1.0, 0.1), Point(0.5, 0.2)]))


def test_a_panned_picture_moves_and_its_packets_are_weighed() -> None:
    """Frames differ from one to the next, and coding them tells their bytes and leaves `coded` as it was."""
    rgb = np.random.default_rng(0).integers(0, 255, (80, 96, 3), np.uint8)

    frames = panned(rgb)
    degraded, byte_count = coded_and_weighed(frames, SUBNET)

    assert FRAMES == len(frames) == len(degraded) == len(coded(frames, SUBNET))
    assert byte_count > 1000
    assert not np.array_equal(frames[0].to_ndarray(), frames[1].to_ndarray())


@pytest.mark.parametrize("codings", CODINGS.values(), ids=list(CODINGS))
def test_a_coarser_setting_costs_fewer_bytes(codings: list[Coding]) -> None:
    """Every codec is really told its quality: the ends of its scale differ by more than half."""
    y, x = np.mgrid[0:96, 0:128]
    waves = np.stack([127 + 90 * np.sin(x / 3) * np.cos(y / 4), 0.8 * x + y, 2.0 * y], axis=2).astype(np.uint8)
    noise = np.random.default_rng(0).integers(0, 24, waves.shape, np.uint8)
    frames = panned(waves // 2 + noise)[:3]

    finest, coarsest = (coded_and_weighed(frames, coding)[1] for coding in (codings[0], codings[-1]))

    assert coarsest < finest / 2
