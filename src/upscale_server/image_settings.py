"""The settings of the image server and of TSD-SR, two groups of `settings`.

It holds values and their reasons; nothing here reads the environment.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class ImageSettings(BaseModel):
    """The image server."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(
        "auto",
        description="`auto`: TSD-SR where its weights are set and a GPU is there, else the built-in network; or "
        "`tsdsr`, a model's name, a file",
    )
    upscale: int = Field(2, ge=2, le=4, multiple_of=2, description="factor of a request that names none, 2 or 4")
    process_size: int = Field(128, ge=64, le=256, description="processing size of a request that names none")
    workers: int = Field(1, ge=1, le=64, description="processes on one port, each with its models loaded")
    running: int = Field(2, ge=1, le=16, description="pictures worked on at once in a process; one is read meanwhile")
    room: int = Field(64, ge=1, le=4096, description="requests in a process at once; the next one is answered with 429")
    max_bytes: int = Field(256 << 20, ge=1024, description="largest picture file, bytes; 50 MP at 16 bits fit")
    batch_files: int = Field(64, ge=1, le=1000, description="most files of a batch")
    batch_bytes: int = Field(1 << 30, ge=1024, description="most bytes of a batch, all files together")
    result_seconds: int = Field(3600, ge=60, le=604_800, description="how long a batch's results are kept")
    drain_seconds: float = Field(30.0, ge=0, description="how long a stopping server finishes what it has accepted")


class Tsdsr(BaseModel):
    """TSD-SR: where its weights are and how it runs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sd3_dir: str = Field("", description="folder of Stable Diffusion 3 Medium in diffusers' layout")
    lora_dir: str = Field("", description="folder of TSD-SR's `transformer.safetensors` and `vae.safetensors`")
    embeddings_dir: str = Field("", description="folder of `prompt_embeds.pt` and `pool_embeds.pt`")
    mode: Literal["exact", "reference"] = Field(
        "exact", description="`exact` never stretches; `reference` is the official script's geometry and rounding"
    )
    align: Literal["wavelet", "adain", "none"] = Field("wavelet", description="how a result gets its source's colours")
    posterior: Literal["mean", "sample"] = Field(
        "mean", description="`mean` has no noise; `sample` takes a seed's, 0 where a request has none"
    )
    latent_tile: int = Field(64, ge=16, le=384, multiple_of=2, description="side of a tile, latent pixels")
    latent_overlap: int = Field(8, ge=0, description="overlap of tiles, latent pixels; less than the tile")
    vae_tiling: Literal["auto", "on", "off"] = Field(
        "auto",
        description="strips of the VAE, without seams: from a size upward, narrow always, or where memory is short",
    )
    device: str = Field("auto", description="`auto` (a GPU where there is one), `cpu`, `cuda` or `cuda:N`")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="number format; `auto` is bfloat16 on a GPU and float32 on a CPU"
    )
    memory_bytes: int = Field(
        0, ge=0, description="most memory used beside the weights; 0 means what is free when they are loaded"
    )
    prompt_sha256: str = Field("", description="SHA-256 that `prompt_embeds.pt` must have; empty accepts any")
    pooled_sha256: str = Field("", description="SHA-256 that `pool_embeds.pt` must have; empty accepts any")
