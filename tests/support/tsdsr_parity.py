"""How far TSD-SR is from the official script, in each way that the golden tests ask. Needs the extra `[tsdsr]`."""

from __future__ import annotations

from pathlib import Path

import diffusers
import numpy as np
import torch
from numpy.typing import NDArray

from tests.support import tsdsr
from tests.support.tsdsr import PART, Case
from upscale_server.events import ignore
from upscale_server.media.types import Size
from upscale_server.models.tsdsr import pixels, weights
from upscale_server.models.tsdsr.constants import TIMESTEP, fix_constants
from upscale_server.models.tsdsr.networks import merge
from upscale_server.models.tsdsr.prediction import predict
from upscale_server.models.tsdsr.stages import Made, Request
from upscale_server.models.tsdsr.tiles import plan_tiles

CPU = torch.device("cpu")
TENSOR_TOLERANCE = 1e-4
"""Float32 in another order of sums: 2.6e-5 was measured for an independent implementation; mistakes begin at 0.09."""

PICTURE_LIMITS = {"none": (2, 75.0), "wavelet": (2, 75.0), "adain": (4, 70.0)}
"""Levels and dB: a difference of 1e-5 that crosses a truncation is a level, and AdaIN stretches it."""

LEAST_FINISH_PSNR = 75.0
"""dB, for every alignment where no network runs: the biased variance in AdaIN leaves 70.9 dB."""

LEAST_BFLOAT16_PSNR = 38.0
"""dB; random networks amplify rounding, 42 dB were measured for an independent implementation."""


def made(case: Case, posterior: str, dtype: str = "float32") -> Made:
    """Take a case's picture through the networks."""
    model = tsdsr.model_of(tsdsr.networks_of(dtype), case.options(dtype=dtype))
    picture = case.picture()
    geometry = model.geometry(
        Size(picture.shape[1], picture.shape[0]), case.facts["upscale"], case.facts["process_size"]
    )
    stored = case.tensors(posterior).get("noise")
    noise = None if stored is None or posterior == "mode" else torch.from_numpy(stored)
    return model.made(pixels.values_of(picture, 255, CPU), Request(geometry, noise))


def tensors(found: Made) -> dict[str, torch.Tensor]:
    """Return what was made by the fixture's names."""
    return {
        "pixel_values": found.given, "posterior_mean": found.mean, "posterior_std": found.deviation,
        "latent": found.latent, "model_pred": found.prediction, "latent_out": found.latent - found.prediction,
        "decoded": found.decoded,
    }  # fmt: skip


def farthest(expected: dict[str, NDArray[np.float32]], found: dict[str, torch.Tensor]) -> float:
    """Return the largest difference of any tensor that the fixture holds."""
    shared = expected.keys() & found.keys()
    return max(float(np.abs(expected[name] - found[name].numpy()).max()) for name in shared)


def transformer(
    lora: Path = PART / "checkpoint" / "tsdsr" / "transformer.safetensors", timestep: float = TIMESTEP
) -> torch.nn.Module:
    """Return the transformer of our part of the fixture, merged and with its constants fixed."""
    folder = PART / "checkpoint" / "sd3" / "transformer"
    found = diffusers.SD3Transformer2DModel.from_pretrained(str(folder), local_files_only=True).float().eval()
    merge(found, lora)
    prompt = weights.embedding(PART / "embeddings" / "prompt_embeds.pt", 48, rank=3)
    fix_constants(found, prompt, weights.embedding(PART / "embeddings" / "pool_embeds.pt", 40, rank=2), timestep)
    return found


def prediction_error(network: torch.nn.Module, name: str, posterior: str) -> float:
    """Return how far the prediction for a stored latent is from the official one; our part is enough."""
    case = tsdsr.cases()[name]
    stored = case.tensors(posterior, PART)
    latent = torch.from_numpy(stored["latent"])
    grid = plan_tiles(*latent.shape[2:], case.facts["latent_tile"], case.facts["latent_overlap"], 64)
    with torch.inference_mode():
        found = predict(network, latent, grid, tile_batch=4)
    return float(np.abs(stored["model_pred"] - found.numpy()).max())


def finished(align: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the official picture and ours, from the stored decoded values on; our part is enough."""
    case = tsdsr.cases()["x2_33x57_round"]
    decoded = torch.from_numpy(case.tensors("sample", PART)["decoded"])
    model = tsdsr.model_of(tsdsr.tiny_networks(), case.options(align=align))
    geometry = model.geometry(Size(33, 57), 2, 64)
    stages = model._stages(geometry, ignore)
    found = stages.finished_as_reference(case.picture(PART), Made(*(decoded,) * 6, finite=True), geometry)
    return case.result("sample", align, PART), found
