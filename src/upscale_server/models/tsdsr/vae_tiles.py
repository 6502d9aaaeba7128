"""The VAE's maps held in the official script's tiles, in step, for parity: seams and averaged variance included.

Attention sees its own tile only, and the spread between the tiles' means is left out of the variance. Nothing but the
reference mode uses it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional

from upscale_server.models.tsdsr.vae_walk import Layer

Tiles = list[torch.Tensor]


@dataclass(frozen=True, slots=True)
class InStep:
    """A carrier of lists of `(1, C, h, w)` tiles."""

    def conv(self, given: Tiles, layer: Layer, norm: Layer | None = None, add: Tiles | None = None) -> Tiles:
        """Convolve, see `Carrier`."""
        ready = [functional.silu(tile) for tile in _normed(given, norm)] if norm is not None else given
        done = [layer(tile) for tile in ready]
        return done if add is None else [beside + tile for beside, tile in zip(add, done, strict=True)]

    def halve(self, given: Tiles, layer: Layer) -> Tiles:
        """Halve, see `Carrier`."""
        return [layer(tile) for tile in given]

    def double(self, given: Tiles, layer: Layer) -> Tiles:
        """Double, see `Carrier`."""
        return [layer(tile) for tile in given]

    def attend(self, given: Tiles, layer: Layer) -> Tiles:
        """Attend within each tile, see `Carrier`."""
        return [
            tile + _seen(normed, layer) for tile, normed in zip(given, _normed(given, layer.group_norm), strict=True)
        ]


def _seen(tile: torch.Tensor, layer: Layer) -> torch.Tensor:
    tokens = tile.flatten(2).transpose(1, 2)
    query, key, value = (one(tokens)[:, None] for one in (layer.to_q, layer.to_k, layer.to_v))
    seen = functional.scaled_dot_product_attention(query, key, value)[:, 0]
    return layer.to_out[0](seen).transpose(1, 2).reshape(tile.shape)


def _normed(given: Sequence[torch.Tensor], norm: Layer) -> Tiles:
    """Normalise with shared statistics: means and variances of the tiles, by their share of the pixels."""
    groups = norm.num_groups
    pixels = [tile.shape[2] * tile.shape[3] for tile in given]
    moments = [torch.var_mean(tile.float().reshape(groups, -1), dim=1, correction=0) for tile in given]
    shares = [count / sum(pixels) for count in pixels]
    variance = sum(share * one for share, (one, _) in zip(shares, moments, strict=True))
    mean = sum(share * one for share, (_, one) in zip(shares, moments, strict=True))
    each = given[0].shape[1] // groups
    scale = norm.weight.float() * (variance + norm.eps).rsqrt().repeat_interleave(each)
    shift = norm.bias.float() - scale * mean.repeat_interleave(each)
    return [(tile.float() * scale[:, None, None] + shift[:, None, None]).to(tile.dtype) for tile in given]
