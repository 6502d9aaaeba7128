"""A trained network as plain arrays, and the numbers that define its form.

It needs no PyTorch, so that exporting, measuring and testing run without it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Shape:
    """What defines a network: its width, the number of body convolutions and the scale."""

    channels: int
    body: int
    scale: int

    @property
    def widths(self) -> tuple[tuple[int, int], ...]:
        """(in, out) channels of every convolution, in order."""
        inner = ((self.channels, self.channels),) * self.body
        return ((1, self.channels), *inner, (self.channels, self.scale**2))

    @property
    def macs_per_pixel(self) -> int:
        """Multiply-accumulates per LR pixel."""
        return sum(9 * c_in * c_out for c_in, c_out in self.widths)

    @property
    def parameters(self) -> int:
        """Weights and biases of the collapsed network."""
        return sum(9 * c_in * c_out + c_out for c_in, c_out in self.widths)

    @property
    def receptive_field(self) -> int:
        """Radius in LR pixels: one per 3x3 convolution."""
        return len(self.widths)


@dataclass(frozen=True, slots=True)
class Layer:
    """One collapsed convolution: kernel (out, in, 3, 3) and bias (out,), float32."""

    kernel: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]


def shape_of(layers: list[Layer]) -> Shape:
    """Read the shape from the kernels."""
    scale = round(len(layers[-1].bias) ** 0.5)
    return Shape(len(layers[0].bias), len(layers) - 2, scale)
