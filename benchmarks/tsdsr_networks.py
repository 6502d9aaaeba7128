"""SD3 networks with random weights for TSD-SR, made at run time: real size to measure, tiny to test.

Nothing is downloaded and nothing trained; only shapes count. The LoRA is left out, because merged it changes no shape.
"""

from __future__ import annotations

from dataclasses import dataclass

import diffusers
import torch

from upscale_server.models.tsdsr.constants import fix_constants
from upscale_server.models.tsdsr.memory import Costs
from upscale_server.models.tsdsr.networks import Networks, assembled

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
        transformer = diffusers.SD3Transformer2DModel(
            sample_size=128, patch_size=2, in_channels=_LATENT_CHANNELS, num_layers=shape.blocks,
            attention_head_dim=shape.head_width, num_attention_heads=shape.heads, joint_attention_dim=shape.joint,
            caption_projection_dim=shape.heads * shape.head_width, pooled_projection_dim=shape.pooled,
            out_channels=_LATENT_CHANNELS, pos_embed_max_size=shape.positions,
        )  # fmt: skip
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


def _autoencoder(shape: Shape) -> torch.nn.Module:
    levels = len(shape.channels)
    return diffusers.AutoencoderKL(
        block_out_channels=shape.channels, layers_per_block=2, latent_channels=_LATENT_CHANNELS, norm_num_groups=32,
        down_block_types=("DownEncoderBlock2D",) * levels, up_block_types=("UpDecoderBlock2D",) * levels,
        use_quant_conv=False, use_post_quant_conv=False, scaling_factor=1.5305, shift_factor=0.0609,
    )  # fmt: skip
