"""What a picture needs of memory, foretold from sizes, and what is given up first where that is too much.

Arithmetic only; nothing is measured and nothing runs here. In order: fewer tiles at once, smaller tiles, smaller strips
of the VAE, maps in the machine's memory. Only smaller tiles change a picture beyond its last rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

from upscale_server.errors import OutOfMemory
from upscale_server.models.tsdsr.geometry import LATENT, Geometry
from upscale_server.models.tsdsr.options import LEAST_TILE

STRIP_VALUES = 1 << 27
"""Values of a VAE strip to begin with: 0.5 GiB in float32, and larger than the maps of a 512 x 512 picture."""

LEAST_STRIP_VALUES = 1 << 20
TILE_BATCH = {"cuda": 16, "cpu": 4}
"""Tiles in one call. 16 of SD3 Medium fill a GPU (22 000 tokens); on a CPU more than a few gain nothing."""

_TOKEN_VALUES = 16
"""Values of one width that live for each token at the widest place of a block: feed-forward 4 + 4, and eight more."""

_FLOAT, _SCORE_BYTES = 4, 1 << 30

Step = TypeVar("Step")


@dataclass(frozen=True, slots=True)
class Maps:
    """How a half of the VAE holds its maps; `strip_values` 0 is no bound."""

    strip_values: int = STRIP_VALUES
    on_host: bool = False

    def __str__(self) -> str:
        strips = f"strips of {self.strip_values} values" if self.strip_values else "no strips"
        return f"{strips}, maps on the host" if self.on_host else strips


@dataclass(frozen=True, slots=True)
class Point:
    """How much is asked of the device at once.

    The halves of the VAE step down apart: a picture that lacks memory in the decoder was encoded as the next one of
    its size will be, so that the same request gives the same bytes.
    """

    tile_batch: int
    latent_tile: int
    encoder: Maps = Maps()
    decoder: Maps = Maps()

    def __str__(self) -> str:
        apart = f"{self.encoder} (encoder), {self.decoder} (decoder)"
        maps = self.encoder if self.encoder == self.decoder else apart
        return f"{self.tile_batch} tiles of {self.latent_tile} at once, {maps}"


@dataclass(frozen=True, slots=True)
class Costs:
    """What the networks' shapes say: widths, tokens of the prompt, bytes of a value, channels of the VAE's levels."""

    width: int
    prompt_tokens: int
    value_bytes: int
    channels: tuple[int, ...]
    can_host: bool = False

    def transformer_bytes(self, geometry: Geometry, point: Point) -> int:
        """Foretell what a call of the transformer needs beside its weights."""
        area = geometry.latent.width * geometry.latent.height
        tile = point.latent_tile**2
        tokens = (area if area <= tile else tile * point.tile_batch) // 4
        calls = 1 if area <= tile else point.tile_batch
        return (tokens + calls * self.prompt_tokens) * self.width * _TOKEN_VALUES * self.value_bytes

    def vae_bytes(self, geometry: Geometry, maps: Maps) -> int:
        """Foretell what the VAE needs on the device beside its weights."""
        pixels = geometry.padded.width * geometry.padded.height
        held = 0 if maps.on_host else self.maps_bytes(geometry)
        largest = pixels * self.channels[1]
        row = geometry.padded.width * self.channels[1] * 3
        strip = min(largest, max(maps.strip_values, row)) if maps.strip_values else largest
        temporaries = strip * (3 * _FLOAT + 3 * self.value_bytes)
        tokens = pixels // LATENT**2
        attention = tokens * self.channels[-1] * (2 * _FLOAT + 5 * self.value_bytes)
        return max(held + temporaries, attention + min(_FLOAT * tokens**2, _SCORE_BYTES))

    def maps_bytes(self, geometry: Geometry) -> int:
        """Foretell the maps that live together: a block's input and two of its own, at full size."""
        pixels = geometry.padded.width * geometry.padded.height
        return pixels * (self.channels[1] + 2 * self.channels[0]) * self.value_bytes


def smaller_call(point: Point) -> Point | None:
    """Return what to try when the transformer did not fit; None where nothing is left."""
    if point.tile_batch > 1:
        return replace(point, tile_batch=point.tile_batch // 2)
    if point.latent_tile > LEAST_TILE:
        return replace(point, latent_tile=max(LEAST_TILE, point.latent_tile * 3 // 4 // 2 * 2))
    return None


def smaller_maps(maps: Maps, *, can_host: bool) -> Maps | None:
    """Return what to try when a half of the VAE did not fit; None where nothing is left."""
    if maps.strip_values == 0:
        return Maps(STRIP_VALUES)
    if maps.strip_values > LEAST_STRIP_VALUES:
        return replace(maps, strip_values=max(LEAST_STRIP_VALUES, maps.strip_values // 4))
    return replace(maps, on_host=True) if can_host and not maps.on_host else None


def fitting(geometry: Geometry, point: Point, costs: Costs, budget: int) -> Point:
    """Step down until what is foretold fits, before any work is done.

    Args:
        geometry: of the picture.
        point: where to begin.
        costs: of the networks.
        budget: bytes that may be used beside the weights.

    Raises:
        OutOfMemory: the smallest step does not fit.
    """
    calls = _down(point, smaller_call)
    maps = _down(point.decoder, lambda at: smaller_maps(at, can_host=costs.can_host))
    call = _first_that_fits(calls, lambda at: costs.transformer_bytes(geometry, at), geometry, budget)
    held = _first_that_fits(maps, lambda at: costs.vae_bytes(geometry, at), geometry, budget)
    return replace(call, encoder=held, decoder=held)


def require_host(needed: int, free: int) -> None:
    """Demand room for maps in the machine's memory.

    Raises:
        OutOfMemory: there is less.
    """
    if needed > free:
        raise OutOfMemory(
            f"the VAE's maps need {needed / 2**30:.1f} GiB of the machine's memory; {free / 2**30:.1f} GiB are free",
            hint="take a smaller picture or factor",
        )


def _first_that_fits(steps: Iterable[Step], need: Callable[[Step], int], geometry: Geometry, budget: int) -> Step:
    least = 0
    for step in steps:
        least = need(step)
        if least <= budget:
            return step
    raise OutOfMemory(
        f"a result of {geometry.final} needs {least / 2**30:.1f} GiB beside the weights, worked on as "
        f"{geometry.padded}; {budget / 2**30:.1f} GiB are free",
        hint="take a smaller picture or factor, or another device; UPSCALE_TSDSR__MEMORY_BYTES is the bound",
    )


def _down(begin: Step, smaller: Callable[[Step], Step | None]) -> Iterator[Step]:
    at: Step | None = begin
    while at is not None:
        yield at
        at = smaller(at)
