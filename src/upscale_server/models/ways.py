"""From what was asked for to how it will run: the engine, loaded once to see how it really works, and its pace.

Measuring belongs to `select` (engines) and `pace` (lanes and batch); the plan keeps the answer.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

from upscale_server.media.types import Size
from upscale_server.models.base import EngineOptions, Upscaler, Working
from upscale_server.models.card import ModelCard
from upscale_server.models.choices import Candidate, Choices
from upscale_server.models.load import load_with
from upscale_server.models.pace import Pace, pace_of, usual_pace
from upscale_server.models.select import choose, choose_built, precision_named

Way = tuple[Working, Pace]
"""How a network really works, and how much is asked of it at once."""


def way_of(card: ModelCard, asked: Candidate, size: Size, choices: Choices | None) -> Way:
    """Return how a model works as asked, or where that leaves a choice as chosen by measurement, and at which pace.

    Args:
        card: the model.
        asked: names as `load` takes them.
        size: of the frames to come.
        choices: where measurements are remembered; None measures nothing.

    Raises:
        BadRequest: no such engine or precision, or an engine that cannot run the model.
        ModelMissing, ModelInvalid: the file is gone, damaged or fails its self-test.
        DeviceUnused, MissingExtra: the engine asked for does not work here.
    """
    precision_named(asked.precision)
    wanted = asked if choices is None else choose(card, asked, size, choices)
    with closing(load_way(card, wanted, size, choices)) as one:
        if choices is None:
            return one.working, usual_pace(size)
        return one.working, pace_of(one, size, choices, options_for(size, choices))


def settled_way(card: ModelCard, settled: Candidate, size: Size, choices: Choices | None) -> Way:
    """Return how a model works in the way that a server settled on, or on the engine that was built for it meanwhile.

    The pace is the server's business: its lanes are loaded already.
    """
    wanted = settled if choices is None else choose_built(card, settled, size, choices)
    with closing(load_way(card, wanted, size, choices)) as one:
        return one.working, usual_pace(size)


def load_way(card: ModelCard, way: Candidate, size: Size, choices: Choices | None) -> Upscaler:
    """Load a model in a way, with one lane; the caller closes it."""
    return load_with(card, way.engine, replace(options_for(size, choices), precision=precision_named(way.precision)))


def options_for(size: Size, choices: Choices | None) -> EngineOptions:
    """Return how a model is loaded for frames of a size: with what was built for them, where that is kept."""
    kept = "" if choices is None or choices.builds is None else str(choices.builds.folder)
    return EngineOptions(frame_size=(size.height, size.width), engines=kept)
