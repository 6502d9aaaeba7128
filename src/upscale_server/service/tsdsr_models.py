"""TSD-SR behind the seam of the image server: whether it is what `auto` means here, and how it is opened.

The model itself is `models.tsdsr`; torch is imported when it is loaded, and not to decide.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Protocol

from upscale_server.errors import MissingExtra
from upscale_server.events import Observer
from upscale_server.logs import log_event
from upscale_server.media.types import Size
from upscale_server.models.at_hand import tsdsr_options
from upscale_server.models.base import Upscaler
from upscale_server.models.extras import require
from upscale_server.models.tsdsr.files import missing
from upscale_server.service.gpu_facts import visible_gpus
from upscale_server.service.picture_facts import Ask, Facts
from upscale_server.settings import Settings

NAME = "tsdsr"
_SIZE_IN_EXACT_MODE = "only pictures with a side below process_size // upscale are worked on larger; others as they are"
_SIZE_IN_REFERENCE_MODE = "pictures with a side below process_size // upscale are enlarged first, as the script does"


class LoadedFacts(Protocol):
    """What TSD-SR says of itself when it is loaded."""

    @property
    def transformer(self) -> bool:
        """Tell whether the transformer is loaded."""

    @property
    def vae(self) -> bool:
        """Tell whether the VAE is loaded."""

    @property
    def device(self) -> str:
        """Return cuda or cpu."""

    @property
    def dtype(self) -> str:
        """Return the number format as torch spells it."""

    @property
    def mode(self) -> str:
        """Return exact or reference."""

    @property
    def sha256s(self) -> tuple[tuple[str, str], ...]:
        """Return the digests of LoRA and embeddings by their files' names."""

    @property
    def tile_batch(self) -> int:
        """Return how many tiles are worked on at once."""


class Loaded(Protocol):
    """TSD-SR when it is loaded."""

    @property
    def facts(self) -> LoadedFacts:
        """Return what runs."""

    def at(self, factor: int, process_size: int, seed: int | None, observer: Observer) -> Upscaler:
        """Return an upscaler for one factor and processing size; `observer` is told where memory does not suffice."""

    def close(self) -> None:
        """Release it; safe to call twice."""


class TsdsrModels:
    """TSD-SR as `PictureModels`."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded
        found = loaded.facts
        size = _SIZE_IN_EXACT_MODE if found.mode == "exact" else _SIZE_IN_REFERENCE_MODE
        known = (("mode", found.mode), ("process_size", size), ("tile_batch", str(found.tile_batch)))
        self._facts = Facts(
            name=NAME,
            transformer=found.transformer,
            vae=found.vae,
            device=found.device,
            dtype=found.dtype,
            engine="torch",
            process_size_matters=True,
            details=(*known, *((f"sha256 of {name}", digest) for name, digest in found.sha256s)),
        )

    @property
    def facts(self) -> Facts:
        """Return what runs."""
        return self._facts

    def at(self, ask: Ask, size: Size, observer: Observer) -> Sequence[Upscaler]:
        """Return the one pass; it sees to the device's memory itself, and tells where it did not suffice."""
        del size
        return [self._loaded.at(ask.factor, ask.process_size, ask.seed, observer)]

    def close(self) -> None:
        """Release the model; safe to call twice."""
        self._loaded.close()


def why_not(settings: Settings) -> str:
    """Return why `auto` is not TSD-SR here; empty where it is.

    Raises:
        BadRequest: as `tsdsr_options`.
    """
    absent = missing(tsdsr_options(settings))
    if absent:
        return f"its weights are not all there: {', '.join(absent[:3])}"
    if settings.tsdsr.device == "auto" and not visible_gpus():
        return "there is no GPU; --device cpu, or --model tsdsr, runs it on the CPU, which takes minutes a picture"
    try:
        require("tsdsr", "TSD-SR")
    except MissingExtra as err:
        return err.detail
    if settings.tsdsr.device == "auto" and version("torch").endswith("+cpu"):
        return f"there is a GPU, and the installed torch {version('torch')} is built for the CPU; install one for CUDA"
    return ""


def open_tsdsr(settings: Settings, *, chosen_for_gpu: bool) -> TsdsrModels:
    """Load TSD-SR.

    Args:
        settings: where its weights are and how it runs.
        chosen_for_gpu: a GPU is why it was chosen, so that one is used or the start fails, never a silent CPU.

    Raises:
        MissingExtra, ModelMissing, ModelInvalid, DeviceUnused, OutOfMemory: it cannot be loaded.
    """
    from upscale_server.models.tsdsr.loading import load_tsdsr  # noqa: PLC0415 - an extra

    if chosen_for_gpu and settings.tsdsr.device == "auto":
        chosen = settings.tsdsr.model_copy(update={"device": "cuda"})
        settings = settings.model_copy(update={"tsdsr": chosen})
    return TsdsrModels(load_tsdsr(tsdsr_options(settings), log_event))
