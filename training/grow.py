"""Carry trained weights to another shape without changing what the network computes.

It does not train. Wider: the new channels feed nothing at first. Deeper: identity layers, which a ReLU
leaves alone because its input is already non-negative; a body with skips keeps its length. Larger scale:
each sub-pixel starts as the nearest one of the smaller scale.
Source: T. Chen et al., 2015, "Net2Net: accelerating learning via knowledge transfer".
"""

from __future__ import annotations

import numpy as np

from training.layers import Layer, Shape, shape_of


def grow(layers: list[Layer], target: Shape, seed: int = 0) -> list[Layer]:
    """Return layers of the target shape that compute the same picture (at the same scale).

    Raises:
        ValueError: the target is narrower, shallower or of a smaller scale.
    """
    start = shape_of(layers, skips=target.skips)
    if start.channels > target.channels or start.body > target.body or start.scale > target.scale:
        message = f"cannot grow {start} into {target}; every number must be at least as large"
        raise ValueError(message)
    if target.skips and len(layers) != len(target.widths):
        message = (
            f"cannot grow {len(layers)} convolutions into the {len(target.widths)} of {target}: skips stay as they are"
        )
        raise ValueError(message)
    random = np.random.default_rng(seed)
    inserted = [_identity(start.channels) for _ in range(target.body - start.body)]
    deeper = [*layers[:-1], *inserted, _finer(layers[-1], start.scale, target.scale)]
    return [_wider(layer, widths, random) for layer, widths in zip(deeper, target.widths, strict=True)]


def _identity(channels: int) -> Layer:
    kernel = np.zeros((channels, channels, 3, 3), np.float32)
    kernel[range(channels), range(channels), 1, 1] = 1.0
    return Layer(kernel, np.zeros(channels, np.float32))


def _finer(tail: Layer, scale: int, new_scale: int) -> Layer:
    position = np.arange(new_scale) * scale // new_scale
    source = (position[:, None] * scale + position[None, :]).ravel()
    return Layer(tail.kernel[source], tail.bias[source])


def _wider(layer: Layer, widths: tuple[int, int], random: np.random.Generator) -> Layer:
    c_in, c_out = widths
    old_out, old_in = layer.kernel.shape[:2]
    kernel = random.normal(0.0, (2.0 / (9 * c_in)) ** 0.5, (c_out, c_in, 3, 3)).astype(np.float32)
    kernel[:old_out] = 0.0
    kernel[:old_out, :old_in] = layer.kernel
    bias = np.zeros(c_out, np.float32)
    bias[:old_out] = layer.bias
    return Layer(kernel, bias)
