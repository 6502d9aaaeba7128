"""SD3 networks with random weights for TSD-SR, made at run time: real size to measure, tiny to test.

Nothing is downloaded and nothing trained; only shapes count. A LoRA is in the files alone: merged it changes no shape.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import diffusers
import torch
from safetensors.torch import save_file

from upscale_server.models.tsdsr.constants import fix_constants
from upscale_server.models.tsdsr.memory import Costs
from upscale_server.models.tsdsr.networks import Networks, assembled
from upscale_server.models.tsdsr.weights import trained_in_transformer, trained_in_vae

_SEED = 20261121
_LATENT_CHANNELS = 16


@dataclass(frozen=True, slots=True)
class Shape:
    """What decides size and cost of both networks."""

    blocks: int
    heads: int
    head_width: int
    joint: int
    pooled: int
    prompt_tokens: int
    positions: int
    channels: tuple[int, ...]


REAL = Shape(24, 24, 64, 4096, 2048, 333, 192, (128, 256, 512, 512))
"""Stable Diffusion 3 Medium."""

TINY = Shape(2, 4, 16, 32, 24, 7, 192, (32, 32, 32, 32))
"""Every layer kind once."""


def random_networks(shape: Shape, device: torch.device, dtype: torch.dtype) -> Networks:
    """Make both networks on a device, constants fixed."""
    torch.manual_seed(_SEED)
    with torch.device(device), torch.no_grad():
        transformer = _transformer(shape)
        fix_constants(transformer, torch.randn(1, shape.prompt_tokens, shape.joint), torch.randn(1, shape.pooled))
        autoencoder = _autoencoder(shape)
    costs = Costs(
        width=shape.heads * shape.head_width,
        prompt_tokens=shape.prompt_tokens,
        value_bytes=dtype.itemsize,
        channels=(),
        can_host=device.type != "cpu",
    )
    return assembled(transformer, autoencoder, costs, device, dtype)


def write_checkpoint(shape: Shape, folder: Path) -> dict[str, str]:
    """Write both networks as a user has them, with a LoRA of rank 1; return the settings that lead a server there."""
    torch.manual_seed(_SEED)
    folders = {"SD3_DIR": folder / "sd3", "LORA_DIR": folder / "lora", "EMBEDDINGS_DIR": folder / "embeddings"}
    for one in folders.values():
        one.mkdir(parents=True)
    transformer, autoencoder = _transformer(shape), _autoencoder(shape)
    transformer.save_pretrained(folders["SD3_DIR"] / "transformer")
    autoencoder.save_pretrained(folders["SD3_DIR"] / "vae")
    loras = (("transformer", transformer, trained_in_transformer), ("vae", autoencoder, trained_in_vae))
    for name, network, trained in loras:
        save_file(_lora(network, trained), folders["LORA_DIR"] / f"{name}.safetensors")
    prompt = torch.randn(1, shape.prompt_tokens, shape.joint)
    torch.save(prompt, folders["EMBEDDINGS_DIR"] / "prompt_embeds.pt")
    torch.save(torch.randn(1, shape.pooled), folders["EMBEDDINGS_DIR"] / "pool_embeds.pt")
    return {f"UPSCALE_TSDSR__{name}": str(one) for name, one in folders.items()}


def _lora(network: torch.nn.Module, trained: Callable[[str], bool]) -> dict[str, torch.Tensor]:
    """Return a pair of rank 1 for every layer that TSD-SR trained; B is zero, as it is before training."""
    pairs = {}
    for name, layer in network.named_modules():
        if trained(name) and isinstance(layer, torch.nn.Linear | torch.nn.Conv2d):
            to, *rest = layer.weight.shape
            pairs[f"transformer.{name}.lora_A.weight"] = torch.randn(1, *rest)
            pairs[f"transformer.{name}.lora_B.weight"] = torch.zeros(to, 1, *(1 for _ in rest[1:]))
    return pairs


def _transformer(shape: Shape) -> diffusers.SD3Transformer2DModel:
    return diffusers.SD3Transformer2DModel(
        sample_size=128, patch_size=2, in_channels=_LATENT_CHANNELS, num_layers=shape.blocks,
        attention_head_dim=shape.head_width, num_attention_heads=shape.heads, joint_attention_dim=shape.joint,
        caption_projection_dim=shape.heads * shape.head_width, pooled_projection_dim=shape.pooled,
        out_channels=_LATENT_CHANNELS, pos_embed_max_size=shape.positions,
    )  # fmt: skip


def _autoencoder(shape: Shape) -> diffusers.AutoencoderKL:
    levels = len(shape.channels)
    return diffusers.AutoencoderKL(
        block_out_channels=shape.channels, layers_per_block=2, latent_channels=_LATENT_CHANNELS, norm_num_groups=32,
        down_block_types=("DownEncoderBlock2D",) * levels, up_block_types=("UpDecoderBlock2D",) * levels,
        use_quant_conv=False, use_post_quant_conv=False, scaling_factor=1.5305, shift_factor=0.0609,
    )  # fmt: skip
