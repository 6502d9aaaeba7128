"""What the transformer says about a latent: one call where it is small, else overlapping tiles, several to a call.

It neither encodes nor decodes. Sums are in float32: the weights of corner pixels would vanish in 16 bits.
"""

from __future__ import annotations

import torch

from upscale_server.models.tsdsr.tiles import TileGrid, batches, weights


def predict(transformer: torch.nn.Module, latent: torch.Tensor, grid: TileGrid, tile_batch: int) -> torch.Tensor:
    """Return the transformer's prediction for a latent.

    Args:
        transformer: with its constants fixed.
        latent: `(1, 16, h, w)`, float32.
        grid: where tiles lie.
        tile_batch: most tiles of one call.

    Returns:
        The same shape, float32.
    """
    if len(grid.places) == 1:
        return _called(transformer, latent)
    total, weight_sum = torch.zeros_like(latent), torch.zeros_like(latent[:, :1])
    weight = torch.from_numpy(weights(grid.height)).float().to(latent.device)
    for batch in batches(len(grid.places), tile_batch):
        places = [
            (..., slice(top, top + grid.height), slice(left, left + grid.width))
            for top, left in (grid.places[index] for index in batch)
        ]
        for place, said in zip(
            places, _called(transformer, torch.cat([latent[place] for place in places])), strict=True
        ):
            total[place] += said * weight
            weight_sum[place] += weight
    return total / weight_sum


def _called(transformer: torch.nn.Module, tiles: torch.Tensor) -> torch.Tensor:
    """Run a batch of tiles; prompt and timestep are inside, the second argument only says how many tiles there are."""
    given = tiles.to(transformer.dtype)
    (said,) = transformer(hidden_states=given, encoder_hidden_states=given, return_dict=False)
    return said.float()
