"""Growing a network changes its size, not its output."""

from __future__ import annotations

import numpy as np
import pytest

from training.grow import grow
from training.layers import Layer, Shape, shape_of


def random_layers(shape: Shape) -> list[Layer]:
    """Layers with the spread of a freshly drawn network."""
    random = np.random.default_rng(1)
    return [
        Layer(
            random.normal(0, (2 / (9 * c_in)) ** 0.5, (c_out, c_in, 3, 3)).astype(np.float32),
            random.normal(0, 0.1, c_out).astype(np.float32),
        )
        for c_in, c_out in shape.widths
    ]


def run(layers: list[Layer], lr: np.ndarray, *, skips: bool = False) -> np.ndarray:
    """Run layers by PyTorch; LR and HR are (H, W) in [0, 1]."""
    torch = pytest.importorskip("torch", reason="training needs PyTorch (extra [train])")
    from training.watch import upscale  # noqa: PLC0415  imports torch

    shape = shape_of(layers, skips=skips)
    return upscale(torch.from_numpy(lr)[None, None], layers, shape)[0, 0].numpy()


def test_wider_and_deeper_computes_the_same() -> None:
    """Net2Net: 8 channels and 2 body layers become 12 and 5; rounding only (1e-5 of a range of 1)."""
    small = random_layers(Shape(8, 2, 2))
    lr = np.random.default_rng(2).uniform(0, 1, (20, 24)).astype(np.float32)

    large = grow(small, Shape(12, 5, 2))

    assert shape_of(large) == Shape(12, 5, 2)
    np.testing.assert_allclose(run(large, lr), run(small, lr), atol=1e-5)


def test_a_larger_scale_starts_from_the_nearest_subpixels() -> None:
    """Each x4 sample equals the x2 sample it lies in."""
    small = random_layers(Shape(8, 2, 2))
    lr = np.random.default_rng(2).uniform(0, 1, (12, 10)).astype(np.float32)

    large = grow(small, Shape(8, 2, 4))

    doubled = run(small, lr).repeat(2, axis=0).repeat(2, axis=1)
    np.testing.assert_allclose(run(large, lr), doubled, atol=1e-5)


def test_wider_with_skips_computes_the_same() -> None:
    """The new channels of a block stay silent, and so do their skips."""
    small = random_layers(Shape(8, 2, 2, skips=True))
    lr = np.random.default_rng(2).uniform(0, 1, (20, 24)).astype(np.float32)

    large = grow(small, Shape(12, 2, 2, skips=True))

    np.testing.assert_allclose(run(large, lr, skips=True), run(small, lr, skips=True), rtol=1e-4, atol=1e-4)


def test_a_plain_network_does_not_grow_into_one_with_skips() -> None:
    """Nor does one with skips become longer: what it would start from is another network."""
    for shape in (Shape(8, 2, 2), Shape(8, 2, 2, skips=True)):
        with pytest.raises(ValueError, match="skips stay as they are"):
            grow(random_layers(shape), Shape(8, 4, 2, skips=True))


def test_new_channels_can_learn() -> None:
    """The new channels compute something; only their way to the old ones starts closed."""
    large = grow(random_layers(Shape(8, 2, 2)), Shape(12, 2, 2))

    assert np.abs(large[1].kernel[8:]).min() >= 0
    assert np.abs(large[1].kernel[8:]).mean() > 0.01
    assert not large[1].kernel[:8, 8:].any()


def test_shrinking_is_refused() -> None:
    """A target smaller in any number is an error that names both shapes."""
    with pytest.raises(ValueError, match="cannot grow"):
        grow(random_layers(Shape(8, 2, 2)), Shape(8, 1, 2))
