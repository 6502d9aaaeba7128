"""The models that a job may ask for, and how fast each was measured to be on this machine.

It reads cards and what is remembered; no network is opened and nothing is measured for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from upscale_server.errors import ModelInvalid
from upscale_server.media.types import Size
from upscale_server.models.catalogue import (
    CLASSICAL,
    DEFAULT_FAMILIES,
    MODEL_SUFFIXES,
    available,
    family,
    is_file_name,
    read_card,
)
from upscale_server.models.choices import Candidate, Choices
from upscale_server.models.metadata import card_facts
from upscale_server.settings import Settings
from upscale_server.workers.pool import Pool

_SHOWN_SIZES = (Size(854, 480), Size(1920, 1080))
"""The nominal sources of the documented tasks."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A model; `engine` and the speeds are None where nothing was measured here.

    `seconds_per_megapixel` is what the network takes for a million pixels of the source.
    """

    name: str
    scales: tuple[int, ...]
    summary: str
    for_sources: str
    licence: str
    parameters: int
    domain: Literal["luma", "rgb"]
    default: bool = False
    engine: str | None = None
    seconds_per_megapixel: float | None = None

    @property
    def frames_per_second(self) -> dict[str, float] | None:
        """Return how many frames the network makes in a second, one after the other, by the source's size."""
        if not self.seconds_per_megapixel:
            return None
        return {str(size): round(1e6 / self.seconds_per_megapixel / size.pixels, 2) for size in _SHOWN_SIZES}


class Offers:
    """The models of one server."""

    def __init__(self, settings: Settings, pool: Pool) -> None:
        self._settings = settings
        self._pool = pool

    def models(self) -> tuple[Offer, ...]:
        """Return all models: ours, the classical kernels, and those that were added."""
        choices = Choices(self._settings.state_dir / "choices.json")
        names = dict.fromkeys(card.name for card in available())
        known = (*(_ours(name) for name in names), *_added(self._settings.state_dir / "models"))
        return tuple(self._here(offer, choices) for offer in known)

    def _here(self, offer: Offer, choices: Choices) -> Offer:
        """Return a model as it runs on this machine; of several scales the smallest that was measured speaks."""
        is_default = offer.name == self._default_name()
        if offer.name in CLASSICAL:
            return replace(offer, default=is_default, engine=offer.name)
        for scale in offer.scales:
            speeds = {
                way: speed
                for way in self._ways(offer.name, scale, choices)
                if (speed := choices.seconds_per_megapixel(offer.name, scale, way)) is not None
            }
            if speeds:
                best = min(speeds, key=lambda way: speeds[way])
                speed = round(speeds[best], 4)
                return replace(offer, default=is_default, engine=best.engine, seconds_per_megapixel=speed)
        return replace(offer, default=is_default, engine=self._engine_of_lanes(offer.name))

    def _ways(self, name: str, scale: int, choices: Choices) -> Iterable[Candidate]:
        """Return how a network runs here: as the lanes run it, or as was chosen for it earlier."""
        lanes = (lane for lane in self._pool.status().lanes if lane.engine and lane.model == name)
        lane = next(lanes, None)
        if lane is not None and choices.seconds_per_megapixel(name, scale, Candidate(lane.engine, lane.precision)):
            return (Candidate(lane.engine, lane.precision),)
        return choices.chosen_for(name, scale)

    def _engine_of_lanes(self, name: str) -> str | None:
        return next((lane.engine for lane in self._pool.status().lanes if lane.engine and lane.model == name), None)

    def _default_name(self) -> str:
        asked = self._settings.model_path
        if not asked:
            return DEFAULT_FAMILIES[0]
        stem = Path(asked).stem if is_file_name(asked) else asked
        names = {text: card.name for card in available() for text in (card.name, f"{card.name}-x{card.scale}")}
        return names.get(stem, stem)


def _ours(name: str) -> Offer:
    cards = family(name)
    first = next(iter(cards.values()))
    return Offer(
        name, tuple(sorted(cards)), first.summary, first.for_sources, first.licence, first.parameters, first.domain
    )


def _added(folder: Path) -> list[Offer]:
    """Return the models that were added, by what the cards beside them say."""
    paths = sorted(path for path in folder.glob("*") if path.suffix in MODEL_SUFFIXES)
    return [_of_facts(path.stem, _facts(path.with_suffix(".json"))) for path in paths]


def _facts(card: Path) -> Mapping[str, Any]:  # JSON values of many types
    """Return what a card says; nothing where there is none that can be read: a job of the model says why."""
    try:
        return card_facts(read_card(card)) if card.is_file() else {}
    except ModelInvalid:
        return {}


def _of_facts(name: str, said: Mapping[str, Any]) -> Offer:
    scale, parameters = said.get("scale"), said.get("parameters")
    return Offer(
        name=name,
        scales=(scale,) if isinstance(scale, int) else (),
        summary=str(said.get("summary", "")),
        for_sources=str(said.get("for_sources", "any")),
        licence=str(said.get("licence", "unknown")),
        parameters=parameters if isinstance(parameters, int) else 0,
        domain="rgb" if said.get("domain") == "rgb" else "luma",
    )
