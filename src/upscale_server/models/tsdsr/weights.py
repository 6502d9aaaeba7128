"""LoRA files and prompt embeddings, checked before they are used: a wrong one runs and gives wrong pictures.

It merges nothing and builds no network. A LoRA must have a pair for every module that TSD-SR trained and no other
key; the official loader fails on the first fault and only warns of the second.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from upscale_server.errors import ModelInvalid

_PREFIX = "transformer."
"""Of every key, in the VAE's file too."""

_TRANSFORMER = re.compile(
    r"(?:^|\.)(?:to_[qkv]|to_out\.0|add_[qkv]_proj|proj|linear|proj_out)$",
)
_VAE = re.compile(
    r"^encoder\.(?:conv_in|conv_out|down_blocks\.\d+\.(?:resnets\.\d+\.conv(?:1|2|_shortcut)|downsamplers\.0\.conv)"
    r"|mid_block\.(?:attentions\.0\.(?:to_[qkv]|to_out\.0)|resnets\.\d+\.conv[12]))$"
)

Shape = tuple[int, ...]


def trained_in_transformer(path: str) -> bool:
    """Tell whether TSD-SR trained this module of the transformer."""
    return _TRANSFORMER.search(path) is not None


def trained_in_vae(path: str) -> bool:
    """Tell whether TSD-SR trained this module of the VAE; the decoder is the stock one."""
    return _VAE.match(path) is not None


def check_lora(path: Path, network: torch.nn.Module, trained: Callable[[str], bool]) -> int:
    """Hold a LoRA file against the network it is for.

    Args:
        path: the safetensors file.
        network: the base network.
        trained: tells which of its modules have a pair.

    Returns:
        The rank.

    Raises:
        ModelInvalid: a pair is missing, a key names no module, or a shape does not fit.
    """
    shapes = _shapes(path)
    modules = {
        name: tuple(module.weight.shape)
        for name, module in network.named_modules()
        if trained(name) and isinstance(module, torch.nn.Linear | torch.nn.Conv2d)
    }
    wanted = {f"{_PREFIX}{name}.lora_{side}.weight": (name, side) for name in modules for side in "AB"}
    _same_keys(path, shapes.keys(), wanted.keys())
    rank = min((shape[0] for key, shape in shapes.items() if key.endswith("lora_A.weight")), default=0)
    for key, (name, side) in wanted.items():
        expected = _pair(modules[name], rank)[side]
        if shapes[key] != expected:
            raise ModelInvalid(f"{path}: {key} has shape {shapes[key]}; expected {expected} for rank {rank}")
    return rank


def _pair(weight: Shape, rank: int) -> dict[str, Shape]:
    """Return the shapes of A and B for a layer's weight."""
    return {"A": (rank, *weight[1:]), "B": (weight[0], rank, *(1 for _ in weight[2:]))}


def _same_keys(path: Path, found: AbstractSet[str], wanted: AbstractSet[str]) -> None:
    absent, strange = sorted(wanted - found), sorted(found - wanted)
    if absent:
        raise ModelInvalid(
            f"{path} lacks {len(absent)} of {len(wanted)} tensors that this SD3 needs, the first {absent[0]}",
            hint="the file is no TSD-SR LoRA, or belongs to another base model",
        )
    if strange:
        raise ModelInvalid(f"{path} holds {len(strange)} tensors that name no module of TSD-SR, the first {strange[0]}")


def _shapes(path: Path) -> dict[str, Shape]:
    try:
        with safe_open(path, framework="pt") as opened:
            return {key: tuple(opened.get_slice(key).get_shape()) for key in opened.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError, ValueError) as err:
        raise ModelInvalid(f"{path} is no readable safetensors file: {err}") from err


def embedding(path: Path, last: int, rank: int) -> torch.Tensor:
    """Read a prompt embedding in float32, `(1, ..., last)`.

    Args:
        path: what `torch.save` wrote: one tensor and nothing else.
        last: values of a token, as the transformer says.
        rank: axes with the batch's; a file may lack that one.

    Raises:
        ModelInvalid: it is no tensor, has another shape, or holds values that are not finite.
    """
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, EOFError, OSError, RuntimeError, LookupError, ValueError, TypeError) as err:
        raise ModelInvalid(f"{path} is no tensor saved by torch.save: {type(err).__name__}") from err
    if not isinstance(found, torch.Tensor):
        raise ModelInvalid(f"{path} holds a {type(found).__name__}; expected one tensor")
    given = tuple(found.shape)
    found = found[None] if found.ndim == rank - 1 else found
    if found.ndim != rank or found.shape[0] != 1 or found.shape[-1] != last or 0 in found.shape:
        wanted = (1, *("tokens" for _ in range(rank - 2)), last)
        raise ModelInvalid(f"{path} has shape {given}; expected {wanted}")
    values = found.detach().to(torch.float32)
    if not bool(torch.isfinite(values).all()):
        raise ModelInvalid(f"{path} holds values that are not finite")
    return values


def check_pin(path: Path, found: str, pinned: str) -> None:
    """Hold a file's SHA-256 against the one that the user pinned; an empty one accepts any.

    Raises:
        ModelInvalid: they differ.
    """
    if pinned and pinned.lower() != found:
        raise ModelInvalid(f"{path} has SHA-256 {found}; pinned is {pinned.lower()}")
