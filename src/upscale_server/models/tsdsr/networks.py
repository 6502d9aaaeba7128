"""Transformer and VAE from their folders, with TSD-SR's LoRA merged and everything constant computed.

It checks what the folders hold before it is used, and runs nothing. Merging is done in float32, then cast.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch

from upscale_server.errors import ModelInvalid
from upscale_server.models.tsdsr import weights
from upscale_server.models.tsdsr.constants import fix_constants
from upscale_server.models.tsdsr.files import Files
from upscale_server.models.tsdsr.memory import Costs
from upscale_server.models.tsdsr.vae import SCALE, Vae

_PATCH, _LATENT_CHANNELS = 2, 16
# What diffusers and safetensors raise for folders that are something else or damaged.
_UNLOADABLE = (OSError, ValueError, RuntimeError, TypeError, KeyError, AttributeError)


@dataclass(frozen=True, slots=True)
class Networks:
    """Both networks on their device; `longest` is the side of a latent that the position table holds."""

    transformer: torch.nn.Module
    vae: Vae
    longest: int
    costs: Costs


def load_networks(files: Files, device: torch.device, dtype: torch.dtype) -> Networks:
    """Load, check, merge and move both networks.

    Raises:
        ModelInvalid: a file is damaged or does not belong to TSD-SR on SD3 Medium.
    """
    transformer = _opened(diffusers.SD3Transformer2DModel, files.transformer)
    _check_transformer(files.transformer, transformer)
    prompt = weights.embedding(files.prompt, transformer.config.joint_attention_dim, rank=3)
    pooled = weights.embedding(files.pooled, transformer.config.pooled_projection_dim, rank=2)
    weights.check_lora(files.transformer_lora, transformer, weights.trained_in_transformer)
    merge(transformer, files.transformer_lora)
    fix_constants(transformer, prompt, pooled)
    costs = Costs(
        width=transformer.inner_dim,
        prompt_tokens=prompt.shape[1],
        value_bytes=dtype.itemsize,
        channels=(),
        can_host=device.type != "cpu",
    )
    autoencoder = _opened(diffusers.AutoencoderKL, files.vae)
    _check_vae(files.vae, autoencoder)
    weights.check_lora(files.vae_lora, autoencoder, weights.trained_in_vae)
    merge(autoencoder, files.vae_lora)
    return assembled(transformer, autoencoder, costs, device, dtype)


def assembled(
    transformer: torch.nn.Module, autoencoder: torch.nn.Module, costs: Costs, device: torch.device, dtype: torch.dtype
) -> Networks:
    """Cast and move networks whose LoRA is merged and whose constants are fixed."""
    table = transformer.pos_embed.pos_embed.float()
    torch.nn.Module.to(transformer, device=device, dtype=dtype)  # diffusers' own warns about layers that SD3 lacks
    transformer.pos_embed.pos_embed = table.to(device)  # 16 bits would make neighbours of the table equal
    layout = torch.channels_last if device.type == "cuda" else torch.contiguous_format
    for module in autoencoder.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            module.to(dtype)  # group norms stay in float32: their statistics are computed in it
    autoencoder.to(device=device, memory_format=layout)
    channels = tuple(autoencoder.config.block_out_channels)
    shapes = Costs(costs.width, costs.prompt_tokens, costs.value_bytes, channels, costs.can_host)
    for network in (transformer, autoencoder):
        network.eval().requires_grad_(requires_grad=False)
    longest = transformer.config.pos_embed_max_size * _PATCH
    return Networks(transformer, Vae(autoencoder.encoder, autoencoder.decoder, device, dtype, layout), longest, shapes)


def merge(network: Any, lora: Path) -> None:  # noqa: ANN401 - diffusers' mixins have no common type
    """Merge a LoRA, checked before, into its network.

    Raises:
        ModelInvalid: diffusers or peft cannot, or a merged weight would not be finite.
    """
    try:
        network.load_lora_adapter(str(lora.parent), weight_name=lora.name, prefix="transformer")
        network.fuse_lora(safe_fusing=True)
        network.unload_lora()
    except _UNLOADABLE as err:
        raise ModelInvalid(f"{lora} cannot be merged: {_first_line(err)}") from err


def _opened(kind: Any, folder: Path) -> Any:  # noqa: ANN401 - one of diffusers' classes
    try:
        return kind.from_pretrained(
            str(folder), torch_dtype=torch.float32, local_files_only=True, use_safetensors=True
        ).eval()
    except _UNLOADABLE as err:
        raise ModelInvalid(f"{folder} holds no {kind.__name__}: {_first_line(err)}") from err


def _check_transformer(folder: Path, transformer: Any) -> None:  # noqa: ANN401 - as above
    facts = transformer.config
    _expect(folder, "in_channels", facts.in_channels, _LATENT_CHANNELS)
    _expect(folder, "patch_size", facts.patch_size, _PATCH)
    _expect(folder, "dual_attention_layers", tuple(facts.dual_attention_layers or ()), ())


def _check_vae(folder: Path, autoencoder: Any) -> None:  # noqa: ANN401 - as above
    facts = autoencoder.config
    _expect(folder, "latent_channels", facts.latent_channels, _LATENT_CHANNELS)
    _expect(folder, "scaling_factor", facts.scaling_factor, SCALE)
    _expect(folder, "use_quant_conv", facts.use_quant_conv, expected=False)
    _expect(folder, "use_post_quant_conv", facts.use_post_quant_conv, expected=False)
    _expect(folder, "number of blocks", len(facts.block_out_channels), 4)


def _expect(folder: Path, name: str, found: object, expected: object) -> None:
    if found != expected:
        raise ModelInvalid(
            f"{folder}: {name} is {found!r}; expected {expected!r}", hint="TSD-SR runs on Stable Diffusion 3 Medium"
        )


def _first_line(err: Exception) -> str:
    return next(iter(str(err).strip().splitlines()), type(err).__name__)[:200]
