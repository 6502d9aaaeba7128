"""How far a network looks: the radius in LR pixels by which tiles must overlap so that seams cannot be seen.

Two ways. On paper: where a network consists only of layers whose reach is known, their radii add up to a bound that is
exact for a chain; it is taken where it costs little. Else measured by what tiling does: a picture is enlarged whole and
cut in two, and how far from the cut the results differ is the reach, with half as much again for other pictures.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from upscale_server.models.engines.torch.costs import enlarged, watched
from upscale_server.models.engines.torch.network import Copy, Module
from upscale_server.models.trial import textured_picture

FARTHEST = 64
"""Overlaps end here, as for ONNX: 64 cost 20 % of a window of 600 000 pixels already."""

SEEN = 1.0 / 1023
"""Of white, one level of 10 bits: a difference below cannot be seen in a seam."""

_CHEAP = 32
_LEAST = 4
_MARGIN = 1.5
_SIDE = 48
"""LR pixels on each side of the cut: with the margin more than `FARTHEST`, so that what is farther changes nothing."""
_ROWS = 8

# By name, because architectures bring their own classes; everything else may look anywhere.
_POINTWISE = frozenset(
    {"ReLU", "LeakyReLU", "PReLU", "SiLU", "GELU", "Mish", "Sigmoid", "Tanh", "Hardswish", "Identity", "PixelShuffle"}
    | {"PixelUnshuffle", "Dropout"}
)


def reach_of(copy: Copy, channels: int, multiple: int) -> int:
    """Return the overlap that a network needs.

    Args:
        copy: the network in f32 on the CPU.
        channels: 1 or 3.
        multiple: what sides of its input are multiples of.
    """
    measured = measured_reach(copy, channels, multiple)
    on_paper = paper_reach(copy, channels, multiple) if measured <= _CHEAP else math.inf
    if measured <= on_paper <= _CHEAP:
        return max(_LEAST, math.ceil(on_paper))
    return min(FARTHEST, max(_LEAST, math.ceil(measured * _MARGIN)))


def measured_reach(copy: Copy, channels: int, multiple: int) -> int:
    """Return how far from a cut its results differ from those without it, by `SEEN` or more."""
    side = math.ceil(_SIDE / multiple) * multiple
    rows = math.ceil(_ROWS / multiple) * multiple
    picture = textured_picture(rows, 2 * side, channels)
    whole, left = enlarged(copy, picture), enlarged(copy, np.ascontiguousarray(picture[:, :side]))
    scale = left.shape[-1] // side
    difference = (whole[..., : side * scale] - left).abs().amax(dim=(0, 1, 2))
    differing = torch.nonzero(difference >= SEEN)
    return 0 if len(differing) == 0 else side - int(differing[0]) // scale


def paper_reach(copy: Copy, channels: int, multiple: int) -> float:
    """Return the sum of the radii of all layers, in LR pixels; infinite where a layer's reach is not known."""
    rows = math.ceil(_ROWS / multiple) * multiple
    found: list[float] = []

    def look(module: Module, given: Any, _result: Any) -> None:  # noqa: ANN401 - torch's hooks have no types
        if next(module.children(), None) is None:
            found.append(_radius(module) * rows / given[0].shape[-2])

    with watched(copy, look):
        enlarged(copy, textured_picture(rows, rows, channels))
    return sum(found)


def _radius(module: Module) -> float:
    """Return how far a layer looks in its own input."""
    kind = type(module).__name__
    if kind == "Conv2d":
        sides = zip(module.kernel_size, module.dilation, strict=True)
        return float(max((side // 2) * dilation for side, dilation in sides))
    if kind in _POINTWISE or (kind == "Upsample" and module.mode == "nearest"):
        return 0.0
    return math.inf
