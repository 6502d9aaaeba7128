"""From a card to a running upscaler, on the engine that suits it.

It chooses and checks; the engines do the work. OpenVINO is imported only when a network is loaded.
"""

from __future__ import annotations

from upscale_server.errors import BadRequest
from upscale_server.models.base import EngineOptions, Precision, Upscaler
from upscale_server.models.card import ModelCard
from upscale_server.models.catalogue import LANCZOS, verify
from upscale_server.models.engines.lanczos import LanczosUpscaler

ENGINES = ("auto", "openvino", LANCZOS)
"""The engines that can be asked for by name."""


def load(
    card: ModelCard, *, engine: str = "auto", precision: Precision = "auto", lanes: int = 1, threads: int = 0
) -> Upscaler:
    """Load a model, self-tested and ready; close it when done (`contextlib.closing` suits).

    Args:
        card: from `catalogue.find`.
        engine: `auto`, or one of `ENGINES` that can run the card.
        precision: what the network computes in; an explicit one is kept or refused, never replaced.
        lanes: batches worked on at once; more callers than lanes wait for each other.
        threads: cores for all lanes together, 0 for all that this process may use.

    Raises:
        BadRequest: the engine does not exist or cannot run this card.
        ModelMissing: the card's file is gone.
        ModelInvalid: the file was changed, is no model, or fails its self-test.
    """
    if engine not in ENGINES:
        raise BadRequest(f"engine is {engine!r}; expected one of {', '.join(ENGINES)}")
    needed = LANCZOS if card.name == LANCZOS and not card.path else "openvino"
    if engine not in {"auto", needed}:
        raise BadRequest(f"engine {engine} cannot run the model {card.name}; {needed} can")
    if lanes < 1 or threads < 0:
        raise BadRequest(f"lanes is {lanes} and threads is {threads}; expected at least 1 and at least 0")
    if needed == LANCZOS:
        return LanczosUpscaler(card)
    verify(card)
    from upscale_server.models.engines.openvino import OpenVinoUpscaler  # noqa: PLC0415 - half a second of start-up

    return OpenVinoUpscaler(card, EngineOptions(precision, lanes, threads))
