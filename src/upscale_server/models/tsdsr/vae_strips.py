"""The VAE's maps held whole and computed in strips, so that memory is bounded and no seam can be.

Every strip reads the rows beside it from the whole map, group norms use the statistics of the whole map (Chan's formula
puts the strips' together, the spread between their means included), and attention sees every pixel. Strips therefore
change nothing but the last rounding. In the last resort the maps lie in the machine's memory and strips visit the GPU.

The trap: `add` is written to. That is sound because a strip reads beside itself only from `given`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch.nn import functional

from upscale_server.models.tsdsr.vae_walk import Layer

_SCORE_VALUES = 1 << 28
"""Most attention scores at once: 1 GiB in float32 where torch has no fused kernel for 512 channels."""


@dataclass(frozen=True, slots=True)
class Strips:
    """A carrier of `(1, C, H, W)` maps.

    `values` bounds a strip's values (rows x width x channels); 0 is no bound. `home` is where maps lie, `device` where
    they are computed, `layout` how their values follow one another.
    """

    device: torch.device
    home: torch.device
    values: int = 0
    layout: torch.memory_format = torch.contiguous_format

    def conv(
        self, given: torch.Tensor, layer: Layer, norm: Layer | None = None, add: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Convolve, see `Carrier`."""
        reach = layer.kernel_size[0] // 2
        height, width = given.shape[2:]
        ready = None if norm is None else self._affine(given, norm)
        out = self._like(given, layer.out_channels, height, width) if add is None else add
        for top, bottom in self._rows(height, width, max(layer.in_channels, layer.out_channels)):
            piece = _activated(self._piece(given, top - reach, bottom + reach), ready)
            piece = functional.conv2d(_closed(piece, top - reach, bottom + reach - height), layer.weight, layer.bias,
                                      padding=(0, reach))  # fmt: skip
            if add is not None:
                piece = piece + add[:, :, top:bottom].to(self.device)
            out[:, :, top:bottom] = piece.to(self.home)
        return out

    def halve(self, given: torch.Tensor, layer: Layer) -> torch.Tensor:
        """Halve, see `Carrier`."""
        height, width = given.shape[2] // 2, given.shape[3] // 2
        out = self._like(given, layer.conv.out_channels, height, width)
        for top, bottom in self._rows(height, 2 * width, 2 * layer.conv.in_channels):
            piece = self._piece(given, 2 * top, 2 * bottom + 1)
            piece = functional.pad(piece, (0, 1, 0, 2 * (bottom - top) + 1 - piece.shape[2]))
            out[:, :, top:bottom] = layer.conv(piece).to(self.home)
        return out

    def double(self, given: torch.Tensor, layer: Layer) -> torch.Tensor:
        """Double, see `Carrier`."""
        height, width = given.shape[2:]
        out = self._like(given, layer.conv.out_channels, 2 * height, 2 * width)
        for top, bottom in self._rows(height, 4 * width, layer.conv.out_channels):
            low, high = max(top - 1, 0), min(bottom + 1, height)
            piece = functional.interpolate(self._piece(given, low, high), scale_factor=2.0, mode="nearest")
            piece = piece[:, :, 2 * top - 1 - 2 * low + (top == 0) :]
            piece = piece[:, :, : 2 * (bottom - top) + 2 - (top == 0) - (bottom == height)]
            closed = functional.pad(piece, (0, 0, int(top == 0), int(bottom == height)))
            result = functional.conv2d(closed, layer.conv.weight, layer.conv.bias, padding=(0, 1))
            out[:, :, 2 * top : 2 * bottom] = result.to(self.home)
        return out

    def attend(self, given: torch.Tensor, layer: Layer) -> torch.Tensor:
        """Attend, see `Carrier`; queries in groups, keys and values whole."""
        tokens = self._tokens(given, layer.group_norm)
        key, value = layer.to_k(tokens)[:, None], layer.to_v(tokens)[:, None]
        count = tokens.shape[1]
        most = count if self.values == 0 and count * count <= _SCORE_VALUES else max(1, _SCORE_VALUES // count)
        found = []
        for first in range(0, count, most):
            query = layer.to_q(tokens[:, first : first + most])[:, None]
            seen = functional.scaled_dot_product_attention(query, key, value)[:, 0]
            found.append(layer.to_out[0](seen).to(self.home))
        return given + torch.cat(found, dim=1).transpose(1, 2).reshape(given.shape)

    def _tokens(self, given: torch.Tensor, norm: Layer) -> torch.Tensor:
        scale, shift = self._affine(given, norm)
        whole = given.to(self.device)
        normed = (whole.float() * scale + shift).to(whole.dtype)
        return normed.flatten(2).transpose(1, 2)

    def _affine(self, given: torch.Tensor, norm: Layer) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what a group norm multiplies by and adds, `(1, C, 1, 1)` each, in float32."""
        groups, channels = norm.num_groups, given.shape[1]
        counts, means, spreads = [], [], []
        for top, bottom in self._rows(given.shape[2], given.shape[3], channels):
            values = self._piece(given, top, bottom).float().reshape(groups, -1)
            variance, mean = torch.var_mean(values, dim=1, correction=0)
            counts.append(values.shape[1])
            means.append(mean.double())
            spreads.append(variance.double())
        share = torch.tensor(counts, dtype=torch.float64, device=self.device)[:, None] / sum(counts)
        mean = (share * torch.stack(means)).sum(0)
        variance = (share * (torch.stack(spreads) + (torch.stack(means) - mean) ** 2)).sum(0)
        scale = norm.weight.double() * (variance + norm.eps).rsqrt().repeat_interleave(channels // groups)
        shift = norm.bias.double() - scale * mean.repeat_interleave(channels // groups)
        return scale.float()[None, :, None, None], shift.float()[None, :, None, None]

    def _piece(self, given: torch.Tensor, top: int, bottom: int) -> torch.Tensor:
        return given[:, :, max(top, 0) : min(bottom, given.shape[2])].to(self.device)

    def _like(self, given: torch.Tensor, channels: int, height: int, width: int) -> torch.Tensor:
        return torch.empty((1, channels, height, width), dtype=given.dtype, device=self.home,
                           memory_format=self.layout)  # fmt: skip

    def _rows(self, height: int, width: int, channels: int) -> Iterator[tuple[int, int]]:
        rows = height if self.values == 0 else max(1, self.values // (width * channels))
        return ((top, min(top + rows, height)) for top in range(0, height, rows))


def _activated(piece: torch.Tensor, ready: tuple[torch.Tensor, torch.Tensor] | None) -> torch.Tensor:
    """Normalise and activate in float32, in place where it is a copy."""
    if ready is None:
        return piece
    scale, shift = ready
    return functional.silu((piece.float() * scale).add_(shift), inplace=True).to(piece.dtype)


def _closed(piece: torch.Tensor, above: int, below: int) -> torch.Tensor:
    """Add the rows of zeros that lie beyond the picture."""
    if above >= 0 and below <= 0:
        return piece
    return functional.pad(piece, (0, 0, max(0, -above), max(0, below)))
