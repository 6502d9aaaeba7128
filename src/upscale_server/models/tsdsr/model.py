"""TSD-SR loaded: one set of networks on one device, and an `Upscaler` of it for each factor and process size.

One picture runs at a time; its tiles fill the device. The same request always gives the same bytes: the tile batch and
the strips follow from the size, the device and the memory that was free when the model was loaded, and noise from the
request's seed.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from functools import partial
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from upscale_server.errors import BadRequest, BadScale, ModelsNotLoaded
from upscale_server.events import Observer, SteppedDown, both, ignore
from upscale_server.media.types import Size
from upscale_server.models.base import Pixels, Upscaled, Working
from upscale_server.models.card import ModelCard
from upscale_server.models.tsdsr import geometry as sizes
from upscale_server.models.tsdsr import pixels
from upscale_server.models.tsdsr.device import host_free_bytes, repeatable, told_out_of_memory
from upscale_server.models.tsdsr.geometry import Geometry
from upscale_server.models.tsdsr.memory import STRIP_VALUES, Maps, Point, fitting, require_host
from upscale_server.models.tsdsr.networks import Networks
from upscale_server.models.tsdsr.options import Mode, TsdsrOptions
from upscale_server.models.tsdsr.stages import Made, Request, Stages

NAME = "tsdsr"
FACTORS = (2, 4)
PROCESS_SIZES = range(16, 1025)
"""What `at` takes; a face offers less."""

_LATENT_CHANNELS = 16
_MOST_POINTS = 1024
_STRIPS = {"auto": STRIP_VALUES, "on": STRIP_VALUES >> 4, "off": 0}
_SEED_OF_SAMPLES = 0
"""Where the posterior is sampled and no seed is given: fixed, so that the same request gives the same bytes."""


@dataclass(frozen=True, slots=True)
class TsdsrFacts:
    """What runs, as it really is; `sha256s` are (file, digest) pairs of LoRA and embeddings."""

    transformer: bool
    vae: bool
    device: str
    dtype: str
    mode: Mode
    sha256s: tuple[tuple[str, str], ...]
    tile_batch: int
    memory_bytes: int


class Tsdsr:
    """The loaded model; safe to use from any number of threads, of which one works at a time."""

    def __init__(
        self, networks: Networks, options: TsdsrOptions, facts: TsdsrFacts, card: ModelCard, observer: Observer
    ) -> None:
        """Take what `loading` made.

        Args:
            networks: on their device.
            options: how they were asked to run.
            facts: what runs.
            card: of the model; each view has one with its own factor.
            observer: is told where memory did not suffice.
        """
        self._networks: Networks | None = networks
        self._options = options
        self._facts = facts
        self._card = card
        self._observer = observer
        self._points: dict[Size, Point] = {}
        self._one = threading.Lock()

    @property
    def facts(self) -> TsdsrFacts:
        """Return what runs; after `close` neither network is there."""
        return self._facts

    @property
    def card(self) -> ModelCard:
        """Return the card of the model, with the smallest factor."""
        return self._card

    def at(self, factor: int, process_size: int, seed: int | None = None, observer: Observer = ignore) -> TsdsrUpscaler:
        """Return an upscaler for one factor and process size; it costs nothing.

        Args:
            factor: 2 or 4.
            process_size: pixels that a small picture's shorter side is worked on with.
            seed: of the noise; without one the posterior is the options' (mean, or a sample of a fixed seed).
            observer: is told where memory did not suffice for a picture of this one, beside the model's own.

        Raises:
            BadScale: the factor is another.
            BadRequest: the process size or the seed is out of range.
        """
        if factor not in FACTORS:
            raise BadScale(f"factor is {factor}; TSD-SR offers 2 and 4")
        if process_size not in PROCESS_SIZES:
            raise BadRequest(f"process size is {process_size}; expected {PROCESS_SIZES[0]} to {PROCESS_SIZES[-1]}")
        if seed is not None and not 0 <= seed < 2**63:
            raise BadRequest(f"seed is {seed}; expected 0 to 2**63 - 1")
        if seed is None and self._options.posterior == "sample":
            seed = _SEED_OF_SAMPLES
        return TsdsrUpscaler(self, factor, process_size, seed, observer)

    def geometry(self, source: Size, factor: int, process_size: int) -> Geometry:
        """Return the sizes that a picture takes on its way."""
        if self._options.mode == "reference":
            return sizes.reference(source, factor, process_size, self._options.latent_tile)
        return sizes.exact(source, factor, process_size)

    def made(self, values: torch.Tensor, request: Request) -> Made:
        """Take values through the networks; for tests and benchmarks, which want what lies between."""
        with self._one, repeatable(self._loaded().vae.device):
            return self._stages(request.geometry, ignore).made(values, request)

    def upscaled(
        self, rgb: NDArray[np.generic], white: int, view: TsdsrUpscaler, *, exact: bool
    ) -> tuple[NDArray[np.generic], bool]:
        """Upscale one picture `(H, W, 3)`; return the result and whether every value was finite.

        Raises:
            OutOfMemory: the device cannot hold the smallest step; foretold before any work where sizes tell.
        """
        geometry = self.geometry(Size(rgb.shape[1], rgb.shape[0]), view.factor, view.process_size)
        request = Request(geometry, noise_of(geometry, view.seed), full_precision=exact)
        as_reference = self._options.mode == "reference"
        with self._one, repeatable(self._loaded().vae.device), told_out_of_memory():
            stages, device = self._stages(geometry, view.observer), self._loaded().vae.device
            given = pixels.to_bytes(rgb, white) if as_reference else rgb
            values = pixels.values_of(given, 255 if as_reference else white, device)
            made = stages.made(values, request)
            if as_reference:
                done = stages.finished_as_reference(cast("pixels.Bytes", given), made, geometry)
                return pixels.widened(done, white), made.finite
            return stages.finished_exactly(values, made, geometry, white), made.finite

    def close(self) -> None:
        """Release the networks and their memory; safe to call twice."""
        with self._one:
            self._networks = None
            self._facts = replace(self._facts, transformer=False, vae=False)

    def _loaded(self) -> Networks:
        if self._networks is None:
            raise ModelsNotLoaded("TSD-SR was closed", hint="load it again")
        return self._networks

    def _stages(self, geometry: Geometry, observer: Observer) -> Stages:
        """Return the stages at the point that fits a size: known from before, else foretold.

        Raises:
            OutOfMemory: no point fits.
        """
        networks, size = self._loaded(), geometry.padded
        if size not in self._points:
            maps = Maps(_STRIPS[self._options.vae_tiling])
            begin = Point(self._facts.tile_batch, self._options.latent_tile, maps, maps)
            point = fitting(geometry, begin, networks.costs, self._facts.memory_bytes)
            self._keep(size, point)

        def tell(point: Point) -> None:
            both(self._observer, observer)(SteppedDown(NAME, str(size), str(point)))

        if self._points[size].encoder.on_host or self._points[size].decoder.on_host:
            require_host(networks.costs.maps_bytes(geometry), host_free_bytes())
        return Stages(networks, self._options, self._points[size], tell, partial(self._keep, size))

    def _keep(self, size: Size, point: Point) -> None:
        if size not in self._points and len(self._points) >= _MOST_POINTS:
            self._points.pop(next(iter(self._points)))
        self._points[size] = point


@dataclass(frozen=True, slots=True)
class TsdsrUpscaler:
    """`Tsdsr` for one factor, process size and seed, as `models.base.Upscaler` wants it."""

    model: Tsdsr
    factor: int
    process_size: int
    seed: int | None = None
    observer: Observer = ignore

    @property
    def card(self) -> ModelCard:
        """Return the card with this factor."""
        return replace(self.model.card, scale=self.factor)

    @property
    def working(self) -> Working:
        """Return how it computes; no self-test compares it with float32, so that PSNR is unknown (NaN)."""
        facts = self.model.facts
        precision = {"torch.float32": "f32", "torch.bfloat16": "bf16", "torch.float16": "f16"}[facts.dtype]
        return Working("tsdsr", facts.device, precision, float("nan"))

    def upscale(self, lr: Pixels, *, bits: int = 8, exact: bool = False) -> Upscaled:
        """Upscale a batch of RGB pictures; see `Upscaler`. `exact` has the VAE compute in float32."""
        done = [self.model.upscaled(one, (1 << bits) - 1, self, exact=exact) for one in lr]
        hr = np.stack([one for one, _ in done]).astype(lr.dtype)
        return Upscaled(cast("Pixels", hr), np.array([finite for _, finite in done], np.bool_))

    def close(self) -> None:
        """Release nothing: the model is closed by whoever loaded it."""


def noise_of(geometry: Geometry, seed: int | None) -> torch.Tensor | None:
    """Return a request's noise, drawn on the CPU so that every device gets the same; None without a seed."""
    if seed is None:
        return None
    generator = torch.Generator().manual_seed(seed)
    shape = (1, _LATENT_CHANNELS, geometry.latent.height, geometry.latent.width)
    return torch.randn(shape, generator=generator)
