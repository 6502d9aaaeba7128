"""Write tiny checkpoints of community architectures whose right answer is known: a pixel repeated, and a little detail.

They are made when a test runs, by spandrel's own classes, so that no weights lie in the tree. torch is imported in the
functions: this module can be imported where torch is not installed.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

State = dict[str, Any]
"""Tensors by name."""

FEATURES = 8


def _torch() -> Any:  # noqa: ANN401 - an extra, which has no types where it is not installed
    return importlib.import_module("torch")


def _fresh(module: Any, spread: float) -> State:  # noqa: ANN401 - as above
    """Return small random weights for a module, always the same."""
    torch = _torch()
    generator = torch.Generator().manual_seed(7)
    return {
        name: torch.randn(value.shape, generator=generator) * spread if value.is_floating_point() else value
        for name, value in module.state_dict().items()
    }


def _architecture(name: str) -> Any:  # noqa: ANN401 - as above
    """Return a module of spandrel's, which only starts through ours where torchvision is missing."""
    importlib.import_module("upscale_server.models.engines.torch.architectures")
    return importlib.import_module(f"spandrel.architectures.{name}")


def _passes_colours(weight: Any, bias: Any, copies: int = 1) -> None:  # noqa: ANN401 - as above
    """Make a convolution hand on the first three channels, each as often as given, in its first outputs."""
    weight.zero_()
    bias.zero_()
    middle = weight.shape[-1] // 2
    for place in range(3 * copies):
        weight[place, place // copies, middle, middle] = 1.0


def compact(scale: int = 2, channels: int = 3) -> State:
    """Return the weights of a Real-ESRGAN Compact network: it adds its detail to the repeated input."""
    module = _architecture("Compact").Compact(
        num_in_ch=channels, num_out_ch=channels, num_feat=FEATURES, num_conv=2, upscale=scale
    )
    state = _fresh(module, 0.05)
    for name in (f"body.{len(module.body) - 1}.weight", f"body.{len(module.body) - 1}.bias"):
        state[name] *= 0.2
    return state


def esrgan(scale: int = 4) -> State:
    """Return the weights of an ESRGAN network with one block, whose first channels are handed on to the end."""
    module = _architecture("ESRGAN").ESRGAN(num_filters=FEATURES, num_blocks=1, scale=scale)
    state = _fresh(module, 0.01)
    for name, weight in state.items():
        if name.endswith("weight") and name.count(".") == 2:
            _passes_colours(weight, state[name.replace("weight", "bias")])
    state["model.1.sub.1.weight"] *= 0.05  # what the block adds stays a detail
    return state


def esrgan_that_unshuffles() -> State:
    """Return the weights of a x2 network that first moves 2x2 pixels into channels, as Real-ESRGAN x2 does."""
    module = _architecture("ESRGAN").ESRGAN(in_nc=12, out_nc=3, num_filters=FEATURES, num_blocks=1, scale=4)
    state = esrgan()
    weight = _torch().zeros(module.state_dict()["model.0.weight"].shape)
    for colour in range(3):
        weight[colour, 4 * colour, 1, 1] = 1.0
    return {**state, "model.0.weight": weight}


def span(scale: int = 2) -> State:
    """Return the weights of a SPAN network; it takes a mean off its input, which its last layer puts back."""
    torch = _torch()
    module = _architecture("SPAN").SPAN(num_in_ch=3, num_out_ch=3, feature_channels=FEATURES, upscale=scale)
    state = _fresh(module, 0.01)
    for name in ("conv_1", "conv_2"):
        _passes_colours(state[f"{name}.sk.weight"], state[f"{name}.sk.bias"])
    _passes_colours(state["conv_cat.weight"], state["conv_cat.bias"])
    state["conv_cat.weight"] /= 255.0
    weight, bias = state["upsampler.0.weight"], state["upsampler.0.bias"]
    _passes_colours(weight, bias, scale * scale)
    bias += torch.tensor((0.4488, 0.4371, 0.4040)).repeat_interleave(scale * scale)
    return state


CHECKPOINTS: dict[str, Callable[[], State]] = {
    "compact-x1": lambda: compact(1),
    "compact-x2": compact,
    "compact-x3": lambda: compact(3),
    "compact-x4-gray": lambda: compact(4, 1),
    "esrgan-x4": esrgan,
    "esrgan-x1": lambda: esrgan(1),
    "span-x2": span,
}
"""Checkpoints by architecture and scale."""


def save(path: Path, state: State) -> Path:
    """Write a checkpoint as its suffix says: safetensors, or a pickle as training writes it."""
    if path.suffix == ".safetensors":
        importlib.import_module("safetensors.torch").save_file(state, path)
    else:
        _torch().save({"params_ema": state, "iteration": 5}, path)
    return path


def made(path: Path) -> Path:
    """Write the checkpoint that a file's stem names."""
    return save(path, CHECKPOINTS[path.stem]())
