"""The way of one picture: input, latent, prediction, decoded picture, colour; memory is answered stage by stage.

It loads nothing and keeps nothing between pictures but where memory sufficed. A stage that runs out of memory is
repeated with less, from that stage's beginning; what came before is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from upscale_server.errors import OutOfMemory
from upscale_server.media.types import Size
from upscale_server.models.tsdsr import colour, pixels
from upscale_server.models.tsdsr.device import give_back, told_out_of_memory
from upscale_server.models.tsdsr.geometry import Geometry
from upscale_server.models.tsdsr.memory import Maps, Point, smaller_call, smaller_maps
from upscale_server.models.tsdsr.networks import Networks
from upscale_server.models.tsdsr.options import Align, TsdsrOptions
from upscale_server.models.tsdsr.prediction import predict
from upscale_server.models.tsdsr.tiles import plan_tiles
from upscale_server.models.tsdsr.vae import SCALE, Holding, Vae

Result = TypeVar("Result")
Steps = Callable[[Point], None]
"""Told each smaller point before it is tried."""


@dataclass(frozen=True, slots=True)
class Made:
    """What one picture became on its way, float32; `decoded` has the working size and is not clamped."""

    given: torch.Tensor
    mean: torch.Tensor
    deviation: torch.Tensor
    latent: torch.Tensor
    prediction: torch.Tensor
    decoded: torch.Tensor
    finite: bool


@dataclass(frozen=True, slots=True)
class Request:
    """One picture's sizes, its noise (None is the distribution's mean), and whether the VAE computes in float32."""

    geometry: Geometry
    noise: torch.Tensor | None = None
    full_precision: bool = False


@dataclass(frozen=True, slots=True)
class Stages:
    """The networks, how they were asked to run, and the point where memory suffices for a picture.

    `keep` is told of the steps that later pictures of the size begin with: none of a run in float32, which needs more.
    """

    networks: Networks
    options: TsdsrOptions
    point: Point
    tell: Steps
    keep: Steps

    def made(self, values: torch.Tensor, request: Request) -> Made:
        """Take a picture's values, `(1, 3, H, W)` in 0..1, through the networks.

        Raises:
            OutOfMemory: the smallest step of a stage does not fit.
        """
        vae = self.networks.vae
        ladder = _Ladder(self.point, (self.tell, self.keep), vae.device)
        if not request.full_precision or vae.dtype == torch.float32:
            made = self._made_by(vae, values, request, ladder)
            if made.finite or vae.dtype == torch.float32:
                return made
            # 16-bit maps of the VAE overflow on rare pictures; its config says force_upcast. What they became is let
            # go first: the copy in float32 needs the room.
            del made
        give_back(vae.device)
        with told_out_of_memory():
            exact = vae.in_float32()
        # From where the first way ended: the next picture of the size begins there, and has to end alike.
        return self._made_by(exact, values, request, _Ladder(ladder.point, (self.tell,), vae.device))

    def _made_by(self, vae: Vae, values: torch.Tensor, request: Request, ladder: _Ladder) -> Made:
        geometry = request.geometry
        given = pixels.network_input(values, geometry.resized, geometry.padded)
        mean, deviation = ladder.climbed(partial(self._moments, vae, given), self._smaller_encoder)
        noise = request.noise
        latent = SCALE * (mean if noise is None else mean + deviation * noise.to(mean.device))
        prediction = ladder.climbed(partial(self._predicted, latent), smaller_call)
        decoded = ladder.climbed(partial(self._decoded, vae, latent - prediction), self._smaller_decoder)
        return Made(given, mean, deviation, latent, prediction, decoded, finite=_finite(decoded))

    def finished_exactly(self, values: torch.Tensor, made: Made, geometry: Geometry, white: int) -> NDArray[np.generic]:
        """Cut off what was padded, resize where the source was enlarged, align, and round once."""
        picture = (made.decoded[:, :, : geometry.resized.height, : geometry.resized.width].clamp(-1, 1) + 1) / 2
        with told_out_of_memory():
            return pixels.rounded(aligned(pixels.fit(picture, geometry.final), values, self.options.align), white)

    def finished_as_reference(self, given: pixels.Bytes, made: Made, geometry: Geometry) -> pixels.Bytes:
        """Finish as the official script does, with its truncations to 8 bits."""
        picture = pixels.truncated(made.decoded.clamp(-1, 1) / 2 + 0.5)
        if geometry.stretches:
            picture = pixels.pillow_fit(picture, geometry.final)
        align = self.options.align
        if align == "none":
            return picture
        source = pixels.pillow_fit(given, geometry.final) if align == "wavelet" else given
        device = made.decoded.device
        picture_values, source_values = (pixels.values_of(one, 255, device) for one in (picture, source))
        return pixels.truncated(_align(picture_values, source_values, align))

    def _moments(self, vae: Vae, given: torch.Tensor, point: Point) -> tuple[torch.Tensor, torch.Tensor]:
        return vae.moments(given, self._holding(point.encoder))

    def _predicted(self, latent: torch.Tensor, point: Point) -> torch.Tensor:
        height, width = latent.shape[2:]
        longest = self.networks.longest
        is_exact = self.options.mode == "exact"
        # The official script keeps the overlap of a tile that a thin latent clamps: nearly all of it is done again.
        side = min(point.latent_tile, height, width, longest) if is_exact else point.latent_tile
        asked = self.options.latent_overlap
        overlap = asked if side == self.options.latent_tile else min(asked, side // 2)
        grid = plan_tiles(height, width, point.latent_tile, overlap, longest)
        return predict(self.networks.transformer, latent, grid, point.tile_batch)

    def _decoded(self, vae: Vae, latent: torch.Tensor, point: Point) -> torch.Tensor:
        return vae.picture(latent, self._holding(point.decoder))

    def _holding(self, maps: Maps) -> Holding:
        if self.options.mode == "reference" and self.options.vae_tiling == "on":
            return Holding(encoder_tile=self.options.vae_encoder_tile, decoder_tile=self.options.vae_decoder_tile)
        return Holding(maps.strip_values, maps.on_host)

    def _smaller_encoder(self, point: Point) -> Point | None:
        maps = smaller_maps(point.encoder, can_host=self.networks.costs.can_host)
        return None if maps is None else replace(point, encoder=maps)

    def _smaller_decoder(self, point: Point) -> Point | None:
        maps = smaller_maps(point.decoder, can_host=self.networks.costs.can_host)
        return None if maps is None else replace(point, decoder=maps)


def aligned(picture: torch.Tensor, values: torch.Tensor, align: Align) -> torch.Tensor:
    """Give a picture in 0..1 the colours of its source, resized in floats where the method wants it."""
    if align == "none":
        return picture
    height, width = picture.shape[2:]
    source = pixels.fit(values, Size(width, height)) if align == "wavelet" else values
    return _align(picture, source, align)


def _align(picture: torch.Tensor, source: torch.Tensor, align: Align) -> torch.Tensor:
    return colour.wavelet(picture, source) if align == "wavelet" else colour.adain(picture, source)


def _finite(values: torch.Tensor) -> bool:
    return bool(torch.isfinite(values).all())


class _Ladder:
    """The working point of one picture; it only goes down."""

    def __init__(self, point: Point, told: Sequence[Steps], device: torch.device) -> None:
        self.point = point
        self._told = told
        self._device = device

    def climbed(self, run: Callable[[Point], Result], smaller: Callable[[Point], Point | None]) -> Result:
        """Run a stage, again with less each time that memory does not suffice.

        Raises:
            OutOfMemory: nothing is left to do without.
        """
        while True:
            try:
                with told_out_of_memory():
                    return run(self.point)
            except OutOfMemory as err:
                # A new one, without traceback and cause: they hold the stage's tensors, whose memory is needed now.
                fault = OutOfMemory(err.detail, hint=err.hint)
            step = smaller(self.point)
            if step is None:
                raise fault
            give_back(self._device)
            for tell in self._told:
                tell(step)
            self.point = step
