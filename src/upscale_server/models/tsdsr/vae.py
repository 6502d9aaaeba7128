"""SD3's VAE with TSD-SR's encoder: a picture to the distribution of its latent, a latent to a picture.

How maps are held is chosen for each call; the layers are `vae_walk`'s.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch

from upscale_server.models.tsdsr import vae_walk
from upscale_server.models.tsdsr.vae_strips import Strips
from upscale_server.models.tsdsr.vae_tiles import InStep
from upscale_server.models.tsdsr.vae_windows import DECODER_PAD, ENCODER_PAD, Cut, Window, windows

SCALE = 1.5305
"""Of SD3's latents. Its shift (0.0609) is not used: TSD-SR was trained without."""

_FACTOR = 8
_LOG_VARIANCE = (-30.0, 20.0)


@dataclass(frozen=True, slots=True)
class Holding:
    """How a call holds its maps.

    `values` bounds a strip, 0 for none; `on_host` keeps maps in the machine's memory; `encoder_tile` and `decoder_tile`
    (picture and latent pixels) ask for the official tiled VAE, 0 for ours.
    """

    values: int = 0
    on_host: bool = False
    encoder_tile: int = 0
    decoder_tile: int = 0


@dataclass(frozen=True, slots=True)
class Vae:
    """Both halves on a device in a number format."""

    encoder: torch.nn.Module
    decoder: torch.nn.Module
    device: torch.device
    dtype: torch.dtype
    layout: torch.memory_format = torch.contiguous_format

    def moments(self, pixels: torch.Tensor, holding: Holding) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean and standard deviation of the latent, `(1, 16, H / 8, W / 8)` each, float32.

        Args:
            pixels: `(1, 3, H, W)` in -1..1.
            holding: how maps are held.
        """
        cut = Cut(holding.encoder_tile, ENCODER_PAD, shrinks=_FACTOR)
        found = self._through(pixels, holding, cut, lambda carrier, at: vae_walk.encode(self.encoder, carrier, at))
        mean, log_variance = found.float().chunk(2, dim=1)
        return mean, torch.exp(log_variance.clamp(*_LOG_VARIANCE) / 2)

    def picture(self, latent: torch.Tensor, holding: Holding) -> torch.Tensor:
        """Return the picture of a scaled latent, `(1, 3, 8 * h, 8 * w)`, float32, about -1..1.

        Args:
            latent: `(1, 16, h, w)`, as the transformer sees it.
            holding: how maps are held.
        """
        cut = Cut(holding.decoder_tile, DECODER_PAD, grows=_FACTOR)
        found = self._through(
            latent / SCALE, holding, cut, lambda carrier, at: vae_walk.decode(self.decoder, carrier, at)
        )
        return found.float()

    def in_float32(self) -> Vae:
        """Return a copy that computes in float32."""
        encoder, decoder = (copy.deepcopy(one).float() for one in (self.encoder, self.decoder))
        return Vae(encoder, decoder, self.device, torch.float32, self.layout)

    def _through(
        self, given: torch.Tensor, holding: Holding, cut: Cut, run: Callable[..., torch.Tensor]
    ) -> torch.Tensor:
        given = given.to(self.dtype)
        height, width = given.shape[2:]
        found = windows(height, width, cut) if cut.side else ()
        if found:
            return _joined(run(InStep(), [given[(..., *one.read)] for one in found]), found, cut, (height, width))
        home = torch.device("cpu") if holding.on_host else self.device
        result = run(Strips(self.device, home, holding.values, self.layout), given.to(home))
        return result.to(self.device)


def _joined(tiles: list[torch.Tensor], found: tuple[Window, ...], cut: Cut, size: tuple[int, int]) -> torch.Tensor:
    """Put the tiles' output windows together."""
    height, width = (cut.placed(side) for side in size)
    out = torch.empty((1, tiles[0].shape[1], height, width), dtype=tiles[0].dtype, device=tiles[0].device)
    for tile, window in zip(tiles, found, strict=True):
        rows, columns = (
            slice(give.start - cut.placed(read.start), give.stop - cut.placed(read.start))
            for read, give in zip(window.read, window.give, strict=True)
        )
        out[(..., *window.give)] = tile[..., rows, columns]
    return out
