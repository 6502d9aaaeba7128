"""How TSD-SR is asked to run, checked before anything is loaded.

It reads no files and no environment; `settings` makes it from the user's words.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from upscale_server.errors import BadRequest

Mode = Literal["exact", "reference"]
Align = Literal["wavelet", "adain", "none"]
Posterior = Literal["mean", "sample"]
VaeTiling = Literal["auto", "on", "off"]
Dtype = Literal["auto", "float32", "bfloat16", "float16"]

LEAST_TILE = 16
"""Latent pixels: the transformer was trained on 64; below 16 a tile is mostly overlap."""


@dataclass(frozen=True, slots=True)
class TsdsrOptions:
    """What the weights are and how they run.

    `latent_tile` and `latent_overlap` are in latent pixels (8 picture pixels each). `vae_tiling` is: `auto`, strips
    from the size upward that memory asks for; `on`, narrow ones always; `off`, only where the whole would not fit. In
    reference mode `on` is the official script's tiled VAE, with `vae_encoder_tile` picture pixels and
    `vae_decoder_tile` latent pixels; strips have no seams, so that the others are the script's untiled VAE.
    `memory_bytes` bounds what may be used beside the weights; 0 is what is free when the model is loaded.
    `prompt_sha256` and `pooled_sha256` pin the embeddings; empty accepts any.
    """

    sd3_dir: str
    lora_dir: str
    embeddings_dir: str
    mode: Mode = "exact"
    align: Align = "wavelet"
    posterior: Posterior = "mean"
    latent_tile: int = 64
    latent_overlap: int = 8
    vae_tiling: VaeTiling = "auto"
    device: str = "auto"
    dtype: Dtype = "auto"
    memory_bytes: int = 0
    tile_batch: int = 0
    vae_encoder_tile: int = 1024
    vae_decoder_tile: int = 224
    prompt_sha256: str = ""
    pooled_sha256: str = ""

    def __post_init__(self) -> None:
        """Refuse what cannot work.

        Raises:
            BadRequest: a tile that patches of 2 x 2 do not fill, or an overlap that leaves no step.
        """
        if self.latent_tile < LEAST_TILE or self.latent_tile % 2:
            raise BadRequest(f"latent tile is {self.latent_tile}; expected an even number from {LEAST_TILE} upward")
        if not 0 <= self.latent_overlap < self.latent_tile:
            raise BadRequest(
                f"latent overlap is {self.latent_overlap}; expected 0 to {self.latent_tile - 1}, less than the tile"
            )
