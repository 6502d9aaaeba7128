"""A still through the network: what is computed, what is kept, and at how many bits."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from upscale_server.geometry import Fitted
from upscale_server.media.fit import resample
from upscale_server.media.picture import Attachments, Picture
from upscale_server.media.types import Size
from upscale_server.models.base import Pixels, Upscaled, Working
from upscale_server.models.card import ModelCard
from upscale_server.models.catalogue import LANCZOS, classical_card
from upscale_server.models.engines.classical import ClassicalUpscaler
from upscale_server.pipeline_image import upscale_image


def _fitted(size: Size, factor: int, canvas: Size | None = None) -> Fitted:
    larger = size.times(factor)
    return Fitted(larger, canvas or larger, Fraction(factor))


def _photo(height: int = 24, width: int = 36, bits: int = 8) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width] / 36
    waves = np.stack([x + y / 2, 0.5 + 0.4 * np.sin(9 * x), 0.5 + 0.4 * np.cos(7 * y)], axis=2) / [1.4, 1, 1]
    return np.round(waves.clip(0, 1) * (2**bits - 1)).astype(np.uint8 if bits == 8 else np.uint16)


class _Recording:
    """An upscaler that repeats pixels and remembers what it was given."""

    def __init__(self, domain: str, scale: int = 2) -> None:
        self.card: ModelCard = replace(classical_card(LANCZOS, scale), domain=domain)
        self.working = Working("test", "CPU", "exact", 100.0)
        self.given: list[tuple[tuple[int, ...], int]] = []

    def upscale(self, lr: Pixels, *, bits: int = 8, exact: bool = False) -> Upscaled:
        del exact
        self.given.append((lr.shape, bits))
        pixels = lr.repeat(self.card.scale, axis=1).repeat(self.card.scale, axis=2)
        return Upscaled(pixels, np.ones(len(lr), np.bool_))

    def close(self) -> None:
        pass


@pytest.mark.parametrize("bits", [8, 16])
def test_lanczos_through_luma_and_chroma_equals_lanczos_on_rgb(bits: int) -> None:
    """The conversion to 16-bit Y'CbCr and back costs at most one level: a linear kernel commutes with the matrix."""
    source = Picture(_photo(bits=bits), bits=bits)

    found = upscale_image(source, [ClassicalUpscaler(classical_card(LANCZOS, 2))], _fitted(source.size, 2))

    expected = [resample(np.ascontiguousarray(source.pixels[..., i]), Size(72, 48), bits=bits) for i in range(3)]
    difference = np.abs(np.stack(expected, axis=2).astype(int) - found.pixels.astype(int))
    # 8 bits: the two roundings may differ by one level. 16 bits: three planes rounded to 1/65535, and the 0.5 of
    # swscale and Pillow; clipped overshoot differs where RGB leaves its cube but Y'CbCr does not.
    assert difference.max() <= (1 if bits == 8 else 8)
    assert found.bits == bits


def test_a_luma_model_sees_one_16_bit_plane_and_gray_its_own_bits() -> None:
    """Colour is widened so that nothing is rounded twice; gray goes as it is."""
    colour, gray = _Recording("luma"), _Recording("luma")

    upscale_image(Picture(_photo()), [colour], _fitted(Size(36, 24), 2))
    result = upscale_image(Picture(_photo()[..., 0].copy()), [gray], _fitted(Size(36, 24), 2))

    assert [((1, 24, 36), 16)] == colour.given
    assert [((1, 24, 36), 8)] == gray.given
    assert result.gray


def test_an_rgb_model_sees_rgb_and_gray_stays_gray() -> None:
    """An RGB model gets three channels of 16 bits; the result has the channels and bits of the source."""
    network = _Recording("rgb")
    gray = Picture(_photo()[..., 0].copy())

    result = upscale_image(gray, [network], _fitted(Size(36, 24), 2))

    assert [((1, 24, 36, 3), 16)] == network.given
    assert np.array_equal(gray.pixels.repeat(2, 0).repeat(2, 1), result.pixels)
    assert result.bits == 8


def test_two_passes_and_a_last_fit_reach_the_exact_size() -> None:
    """×2 ×2 and a resampling end at the size that was asked for, bars included."""
    network = _Recording("luma")
    fitted = Fitted(Size(160, 106), Size(200, 120), Fraction(160, 36))

    result = upscale_image(Picture(_photo() | 1), [network, network], fitted)

    assert [(1, 24, 36), (1, 48, 72)] == [shape for shape, _ in network.given]
    assert Size(200, 120) == result.size
    assert not result.pixels[:7].any()
    assert not result.pixels[:, :20].any()
    assert result.pixels[7:113, 20:180].any(axis=2).all()


def test_alpha_and_attachments_come_along() -> None:
    """Alpha is resampled with the picture; ICC, EXIF and the source's warnings stay with it."""
    alpha = np.full((24, 36), 255, np.uint8)
    alpha[:, :18] = 0
    source = Picture(
        _photo(), alpha=alpha, attachments=Attachments(icc=b"profile", dpi=(300, 300)), warnings=(("a", "b"),)
    )

    result = upscale_image(source, [ClassicalUpscaler(classical_card(LANCZOS, 2))], _fitted(source.size, 2))

    assert result.alpha is not None
    assert (48, 72) == result.alpha.shape
    assert [0, 255] == [result.alpha[24, 4], result.alpha[24, 68]]
    assert source.attachments == result.attachments
    assert source.warnings == result.warnings
