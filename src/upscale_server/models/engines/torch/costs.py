"""What a network costs for each LR pixel, found by watching its layers on a small picture: memory and multiplications.

The bound on windows is fixed, and not what happens to be free: which windows there are must not depend on what else
runs. What does not fit in spite of it is answered by `models.ladder`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from upscale_server.models.engines.torch.network import Copy, Module
from upscale_server.models.trial import Picture, textured_picture

LARGEST_LAYER_BYTES = 1 << 30
"""Of what goes into a layer and comes out of it, in f32. Two or three layers live at once: a lane stays under 4 GB."""

Look = Callable[[Module, Any, Any], None]
"""Take a layer, what it was given and what it gave; torch's hooks have no types."""

# Ratios are asked for, not sums: a heavy network takes a second for these few pixels already.
_SIDE = 16


def window_pixels(copy: Copy, channels: int, multiple: int, most: int) -> int:
    """Return the most LR pixels of a window: what is asked for, or less for a network with large layers.

    Args:
        copy: the network in f32.
        channels: 1 or 3.
        multiple: what sides of its input are multiples of.
        most: what is asked for.
    """
    held: list[int] = []

    def look(_module: Module, given: Any, result: Any) -> None:  # noqa: ANN401 - torch's hooks have no types
        tensors = [one for one in (*given, result) if isinstance(one, torch.Tensor)]
        held.append(sum(one.numel() * one.element_size() for one in tensors))

    picture = _picture(channels, multiple)
    with watched(copy, look):
        enlarged(copy, picture)
    pixels: int = picture.shape[0] * picture.shape[1]
    return min(most, max(pixels, LARGEST_LAYER_BYTES * pixels // max(held)))


def macs_per_pixel(copy: Copy, channels: int, multiple: int) -> int:
    """Return the multiplications of convolutions and linear layers for each LR pixel; attention is not counted."""
    counted: list[int] = []

    def look(module: Module, _given: Any, result: Any) -> None:  # noqa: ANN401 - torch's hooks have no types
        if type(module).__name__ == "Conv2d":
            counted.append(result.numel() * module.weight[0].numel())
        elif type(module).__name__ == "Linear":
            counted.append(result.numel() * module.in_features)

    picture = _picture(channels, multiple)
    with watched(copy, look):
        enlarged(copy, picture)
    pixels: int = picture.shape[0] * picture.shape[1]
    return sum(counted) // pixels


@contextmanager
def watched(copy: Copy, look: Look) -> Iterator[None]:
    """Show every layer that runs to a function."""
    hooks = [module.register_forward_hook(look) for module in copy.module.modules()]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def enlarged(copy: Copy, picture: Picture) -> torch.Tensor:
    """Run a picture `(H, W, C)` through a network; return `(1, C, H * scale, W * scale)` on its device."""
    with torch.inference_mode():
        return copy.values(torch.from_numpy(picture.transpose(2, 0, 1).copy())[None].to(copy.device))[0]


def _picture(channels: int, multiple: int) -> Picture:
    side = -(-_SIDE // multiple) * multiple
    return textured_picture(side, side, channels)
