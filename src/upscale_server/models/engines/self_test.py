"""The self-test that every engine passes at load: what it gives is what the plain network gives, in f32.

It knows cards and pictures; how a network is run belongs to the engines.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from upscale_server.errors import ModelInvalid
from upscale_server.models.base import Pixels
from upscale_server.models.card import ModelCard
from upscale_server.models.trial import Picture, Run, textured_picture

LOWEST_SELF_TEST_PSNR = 45.0
"""dB between the working precision and f32: below, rounding would show in a PSNR of 40 dB against the truth."""

WHITE = 65535
"""The test is made at 16 bits, where rounding to pixels hides nothing."""

_SIZES = ((96, 160), (48, 80), (24, 40))
_MOST_MACS = 20_000_000_000
"""Multiplications of a test: more take seconds on two cores, and a smaller picture shows the same rounding."""


def trial_size(card: ModelCard) -> tuple[int, int]:
    """Return (height, width) of the test frame: the largest that costs little, in whole multiples, so nobody pads."""
    affordable = (size for size in _SIZES if size[0] * size[1] * card.macs_per_pixel <= _MOST_MACS)
    height, width = next(affordable, _SIZES[-1])
    multiple = card.size_multiple
    return -(-height // multiple) * multiple, -(-width // multiple) * multiple


def trial_batch(card: ModelCard, size: tuple[int, int] | None = None) -> Pixels:
    """Return one textured frame of 16 bits, (height, width) as the model fixes it, as given, or as the test has it."""
    height, width = card.fixed_size or size or trial_size(card)
    picture = textured_picture(height, width, 1 if card.domain == "luma" else 3)
    levels = np.rint(picture * WHITE).astype(np.uint16)[None]
    return levels[..., 0] if card.domain == "luma" else levels


def plain_result(card: ModelCard, run: Run, batch: Pixels) -> NDArray[np.float32]:
    """Run the network as the file has it on the test frame; return levels in the shape of an upscaled frame.

    Raises:
        ModelInvalid: it makes another size than its card says, or values that are not finite.
    """
    height, width = batch.shape[1:3]
    picture: Picture = (batch[0].reshape(height, width, -1) / WHITE).astype(np.float32)
    result = run(picture, card.value_range)
    if result.shape[:2] != (height * card.scale, width * card.scale):
        raise ModelInvalid(
            f"{card.name} makes {result.shape[1]}x{result.shape[0]} of {width}x{height}; "
            f"its card says scale {card.scale}"
        )
    if not np.isfinite(result).all():
        raise ModelInvalid(f"{card.name} gives values that are not finite on a plain test picture")
    levels: NDArray[np.float32] = np.rint(np.clip(result, 0.0, 1.0) * WHITE)
    return levels[..., 0] if card.domain == "luma" else levels
