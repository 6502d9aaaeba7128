"""A trained network as plain arrays, and the numbers that define its form.

It needs no PyTorch, so that exporting, measuring and testing run without it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt


class Step(NamedTuple):
    """What follows one convolution: a ReLU or none, and the addition of an earlier result (counted from 0) or none."""

    relu: bool
    adds: int | None = None


@dataclass(frozen=True, slots=True)
class Shape:
    """What defines a network: its width, its body, the scale, and whether the body has skips.

    A plain body is so many convolutions with a ReLU each. A body with skips is so many blocks of two convolutions with
    a ReLU between them, whose result is added to what went in, and one convolution more, to which the first one's
    result is added. Source: B. Lim et al., 2017, "Enhanced Deep Residual Networks for Single Image Super-Resolution".
    """

    channels: int
    body: int
    scale: int
    skips: bool = False

    @property
    def steps(self) -> tuple[Step, ...]:
        """What follows each convolution, in order."""
        if not self.skips:
            return (Step(relu=True),) * (self.body + 1) + (Step(relu=False),)
        blocks = [step for i in range(self.body) for step in (Step(relu=True), Step(relu=False, adds=2 * i))]
        return (Step(relu=False), *blocks, Step(relu=False, adds=0), Step(relu=False))

    @property
    def widths(self) -> tuple[tuple[int, int], ...]:
        """(in, out) channels of every convolution, in order."""
        inner = ((self.channels, self.channels),) * (len(self.steps) - 2)
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


def shape_of(layers: list[Layer], *, skips: bool = False) -> Shape:
    """Read the shape from the kernels; of skips they tell nothing."""
    scale = round(len(layers[-1].bias) ** 0.5)
    body = (len(layers) - 3) // 2 if skips else len(layers) - 2
    return Shape(len(layers[0].bias), body, scale, skips)
