"""A network that can be copied to a device in a precision: one of spandrel's, or one of our own family.

It knows values between 0 and 1, not pixels, tiles or streams.

Each lane gets its own copy: some architectures write to themselves while they run (SPAN merges its kernels anew in each
call), and weights are small beside what passes between layers.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import torch
from torch.nn import functional

from upscale_server.models.card import ModelCard
from upscale_server.models.engines.openvino.layers import Family, Layer, read_family
from upscale_server.models.engines.torch.architectures import Descriptor, described
from upscale_server.models.engines.torch.checkpoint import weights_of

Module = Any
"""A `torch.nn.Module`; torch need not be there for the types."""

DTYPES: Mapping[str, torch.dtype] = MappingProxyType(
    {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}
)
"""The element type of each precision."""


@dataclass(frozen=True, slots=True)
class Copy:
    """A network on a device.

    `values` takes f32 `(1, C, H, W)` and returns f32 `(1, C, H * scale, W * scale)`, and whether all of it was finite
    (a tensor on the device, so that asking does not stop the stream).
    """

    module: Module
    values: Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]

    @property
    def device(self) -> torch.device:
        """Return where the weights really are."""
        return next(self.module.parameters()).device


class Network(Protocol):
    """Weights in f32 on the CPU, from which copies are made."""

    def copy_to(self, device: torch.device, precision: str) -> Copy:
        """Return an own copy on a device that computes in a precision."""


def network_of(card: ModelCard) -> Network:
    """Read the network of a card: a checkpoint, or an ONNX file of our family.

    Raises:
        ModelMissing: the file is not there.
        ModelInvalid: it is damaged, or a network that this engine does not run.
    """
    if Path(card.path).suffix == ".onnx":
        return FamilyNetwork(read_family(card.path))
    return CheckpointNetwork(described(weights_of(card.path), card.path))


class CheckpointNetwork:
    """A network of an architecture that spandrel knows; its values are clipped to 0..1."""

    def __init__(self, descriptor: Descriptor) -> None:
        self._descriptor = descriptor
        _settle(descriptor.model)

    def copy_to(self, device: torch.device, precision: str) -> Copy:
        """Return an own copy on a device that computes in a precision."""
        dtype = DTYPES[precision]
        mine = copy.deepcopy(self._descriptor)
        mine.model.to(device=device, dtype=dtype, memory_format=torch.channels_last)
        seen: list[torch.Tensor] = []

        # The descriptor clips before anybody can look; an infinity must not pass as white.
        def look(_module: Module, _given: object, output: Any) -> None:  # noqa: ANN401 - a tensor or some
            seen[:] = [_finite(output if isinstance(output, torch.Tensor) else output[0])]

        mine.model.register_forward_hook(look)

        def values(lr: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            hr = mine(lr.to(dtype=dtype, memory_format=torch.channels_last)).float()
            return hr, seen[0]

        return Copy(mine.model, values)


class FamilyNetwork:
    """A network of our own family; the input is added in f32, so that a low precision touches the detail only."""

    def __init__(self, family: Family) -> None:
        self._scale = family.scale
        self._module = _Row(family.layers).eval().requires_grad_(requires_grad=False)

    def copy_to(self, device: torch.device, precision: str) -> Copy:
        """Return an own copy on a device that computes in a precision."""
        dtype, scale = DTYPES[precision], self._scale
        mine = copy.deepcopy(self._module).to(device=device, dtype=dtype, memory_format=torch.channels_last)

        def values(lr: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            detail = mine(lr.to(dtype=dtype, memory_format=torch.channels_last)).float()
            hr = functional.pixel_shuffle(detail + lr, scale)
            return hr, _finite(hr)

        return Copy(mine, values)


class _Row(torch.nn.Module):  # type: ignore[misc]  # torch need not be there for the types
    """Layers in a row; a result is kept for as long as another one is to be added to it."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        super().__init__()
        self.convolutions = torch.nn.ModuleList(_convolution(layer.kernel, layer.bias) for layer in layers)
        self._follows = [(layer.has_relu, layer.adds) for layer in layers]
        self._last_use = {layer.adds: index for index, layer in enumerate(layers) if layer.adds is not None}

    def forward(self, planes: torch.Tensor) -> torch.Tensor:
        """Compute all of them."""
        kept: dict[int, torch.Tensor] = {}
        for index, (convolution, (has_relu, adds)) in enumerate(zip(self.convolutions, self._follows, strict=True)):
            planes = convolution(planes)
            planes = functional.relu_(planes) if has_relu else planes
            if adds is not None:
                planes += kept[adds]
            kept = {one: result for one, result in kept.items() if self._last_use[one] > index}
            if index in self._last_use:
                kept[index] = planes
        return planes


def _finite(values: torch.Tensor) -> torch.Tensor:
    """Tell whether all are finite, by their sum: one pass, where asking each takes as long as a layer."""
    return torch.isfinite(values.sum(dtype=torch.float32))


def _convolution(kernel: Any, bias: Any) -> Module:  # noqa: ANN401 - arrays that torch wraps
    count, width, height, across = kernel.shape
    made = torch.nn.Conv2d(width, count, (height, across), padding=(height // 2, across // 2))
    made.weight.data = torch.from_numpy(kernel)
    made.bias.data = torch.from_numpy(bias.copy())
    return made


def _settle(module: Module) -> None:
    """Merge kernels that an architecture would merge anew in each call (SPAN's `Conv3XC`), once, in f32."""
    for name, child in list(module.named_children()):
        if not (hasattr(child, "update_params") and hasattr(child, "eval_conv")):
            _settle(child)
            continue
        child.update_params()
        merged = [child.eval_conv.requires_grad_(requires_grad=False)]
        if getattr(child, "has_relu", False):
            merged.append(torch.nn.LeakyReLU(0.05))
        setattr(module, name, torch.nn.Sequential(*merged))
