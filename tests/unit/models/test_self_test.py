"""The self-test's frame: a proof, so no larger than it must be."""

from __future__ import annotations

import pytest

from upscale_server.models.card import ModelCard
from upscale_server.models.engines.self_test import trial_batch, trial_size


@pytest.mark.parametrize(
    ("macs", "multiple", "size"),
    [
        (0, 1, (96, 160)),
        (40_000, 1, (96, 160)),
        (4_000_000, 1, (48, 80)),
        (17_900_000, 1, (24, 40)),
        (17_900_000, 16, (32, 48)),
        (10**12, 64, (64, 64)),
    ],
)
def test_a_heavy_network_is_proved_on_a_smaller_frame(macs: int, multiple: int, size: tuple[int, int]) -> None:
    """23 blocks of 64 channels took more than twice as long to load; sides stay multiples, so that nobody pads."""
    card = ModelCard("any", 4, "rgb", macs_per_pixel=macs, size_multiple=multiple)

    assert size == trial_size(card)
    assert (1, *size, 3) == trial_batch(card).shape


def test_a_fixed_size_is_the_frames_size() -> None:
    """There is no other that the model takes."""
    card = ModelCard("any", 2, "luma", fixed_size=(40, 48), macs_per_pixel=10**12)

    assert (1, 40, 48) == trial_batch(card).shape
