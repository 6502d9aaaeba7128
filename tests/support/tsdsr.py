"""TSD-SR for tests: the golden fixture (whole where it is there, else our part) and models of any options.

It needs the extra `[tsdsr]`; whoever imports it has skipped before where that is missing.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from benchmarks.tsdsr_networks import TINY, random_networks
from upscale_server.events import Observer, ignore
from upscale_server.models.tsdsr.loading import card_of, load_tsdsr
from upscale_server.models.tsdsr.model import Tsdsr, TsdsrFacts
from upscale_server.models.tsdsr.networks import Networks
from upscale_server.models.tsdsr.options import TsdsrOptions

PART = Path(__file__).parents[1] / "golden" / "tsdsr"
WHOLE = Path(__file__).parents[3] / "shared" / "fixtures" / "tsdsr"
ENOUGH_MEMORY = 4 << 30


def whole() -> Path:
    """Return the whole fixture; skip where it is not there."""
    if not (WHOLE / "expected" / "index.json").is_file():
        pytest.skip("the whole TSD-SR fixture (../shared/fixtures/tsdsr) is not here")
    return WHOLE


@dataclass(frozen=True, slots=True)
class Case:
    """One picture of the fixture and how the official script was asked to enlarge it."""

    name: str
    facts: dict[str, Any]  # JSON

    def picture(self, root: Path = WHOLE) -> NDArray[np.uint8]:
        """Return the input, `(H, W, 3)`."""
        return np.asarray(Image.open(root / self.facts["input"]).convert("RGB"))

    def tensors(self, posterior: str, root: Path = WHOLE) -> dict[str, NDArray[np.float32]]:
        """Return what lay between input and result."""
        with np.load(root / "expected" / f"{self.name}.{posterior}.npz") as stored:
            return dict(stored)

    def result(self, posterior: str, align: str, root: Path = WHOLE) -> NDArray[np.uint8]:
        """Return the official result; `align` none is called nofix there."""
        name = f"{self.name}.{posterior}.{'nofix' if align == 'none' else align}.png"
        return np.asarray(Image.open(root / "expected" / name).convert("RGB"))

    def seed(self, posterior: str) -> int | None:
        """Return the seed of the noise; None for the mean."""
        return self.facts["seed"] if posterior == "sample" else None

    def options(self, **changed: object) -> TsdsrOptions:
        """Return the options that the official script was run with."""
        encoder, decoder = self.facts["vae_tile"] or (1024, 224)
        given = TsdsrOptions(
            sd3_dir=str(WHOLE / "checkpoint" / "sd3"), lora_dir=str(WHOLE / "checkpoint" / "tsdsr"),
            embeddings_dir=str(WHOLE / "embeddings"), mode="reference", device="cpu", dtype="float32",
            latent_tile=self.facts["latent_tile"], latent_overlap=self.facts["latent_overlap"],
            vae_tiling="on" if self.facts["vae_tile"] else "auto", vae_encoder_tile=encoder, vae_decoder_tile=decoder,
            memory_bytes=ENOUGH_MEMORY,
        )  # fmt: skip
        return replace(given, **changed)  # type: ignore[arg-type]


@functools.cache
def cases() -> dict[str, Case]:
    """Return the fixture's cases by name."""
    stored = json.loads((PART / "expected" / "index.json").read_text(encoding="utf-8"))["cases"]
    return {name: Case(name, facts) for name, facts in stored.items()}


@functools.cache
def networks_of(dtype: str) -> Networks:
    """Return the fixture's networks; loaded once for all tests."""
    return load_tsdsr(cases()["x4_48x40"].options(dtype=dtype))._networks


def model_of(networks: Networks, options: TsdsrOptions, observer: Observer = ignore, tile_batch: int = 4) -> Tsdsr:
    """Return TSD-SR with networks that are loaded already."""
    facts = TsdsrFacts(
        transformer=True, vae=True, device="cpu", dtype=str(networks.vae.dtype), mode=options.mode, sha256s=(),
        tile_batch=options.tile_batch or tile_batch, memory_bytes=options.memory_bytes or ENOUGH_MEMORY,
    )  # fmt: skip
    return Tsdsr(networks, options, facts, card_of((("transformer.safetensors", ""),), facts.dtype), observer)


def tiny_options(**changed: object) -> TsdsrOptions:
    """Return options for networks that come from no folder."""
    given = TsdsrOptions("", "", "", device="cpu", dtype="float32", latent_tile=16, latent_overlap=4)
    return replace(given, **changed)  # type: ignore[arg-type]


@functools.cache
def tiny_networks() -> Networks:
    """Return random networks of the smallest shape that has every layer."""
    return random_networks(TINY, torch.device("cpu"), torch.float32)


def psnr(expected: NDArray[np.uint8], found: NDArray[np.uint8]) -> float:
    """Return the PSNR of 8-bit pictures, dB."""
    error = np.mean((expected.astype(np.float64) - found) ** 2)
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))
