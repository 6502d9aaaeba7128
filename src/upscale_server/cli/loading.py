"""Models for one command: each is found by name, loaded once, and released at the end.

Which engine can run a card is decided in `models`; this module only remembers what is loaded.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, cast

from upscale_server.errors import BadRequest

if TYPE_CHECKING:
    from upscale_server.models.base import Precision, Upscaler
    from upscale_server.models.card import ModelCard
    from upscale_server.models.choices import Choices
    from upscale_server.plan import Pass, Plan
    from upscale_server.settings import Settings

_FOR_PICTURES = ("quality-clean", "fast-clean")
"""The families for sources without compression noise, best first; stills use them when nothing is asked for."""

_PRECISIONS = ("auto", "bf16", "f16", "f32")


def model_for(engine: str, model: str | None, settings: Settings) -> str | None:
    """Return the model that is meant: a name, or the file of one that was added.

    `--engine lanczos` alone names the model of the same name.
    """
    from upscale_server.models.added import path_of

    return "lanczos" if model is None and engine == "lanczos" else path_of(model, models_folder(settings))


def models_folder(settings: Settings) -> Path:
    """Return where the models that the user added are."""
    return settings.state_dir / "models"


def choices_of(settings: Settings) -> Choices:
    """Return the memory of which engine was measured to be fastest, in the user's state folder."""
    from upscale_server.models.choices import Choices

    return Choices(settings.state_dir / "choices.json")


def family_for_pictures(name: str | None) -> dict[int, ModelCard]:
    """Return the cards of a family by scale; without a name the best one for clean pictures that is here.

    Raises:
        ModelMissing: no such model.
    """
    from upscale_server.models.catalogue import available, family

    here = {card.name for card in available()}
    chosen = name or next((one for one in _FOR_PICTURES if one in here), None)
    return dict(family(chosen))


class Models:
    """Loaded models by card, engine and precision; a context manager that releases them."""

    def __init__(self) -> None:
        self._loaded: dict[tuple[str, int, str, str], Upscaler] = {}

    def get(self, card: ModelCard, engine: str, precision: str) -> Upscaler:
        """Return a loaded model.

        Raises:
            BadRequest: no such engine or precision, or one that cannot run this model.
            ModelMissing, ModelInvalid: its file is gone, damaged or fails its self-test.
        """
        from upscale_server.models.load import load

        if precision not in _PRECISIONS:
            raise BadRequest(f"precision is {precision!r}; expected one of {', '.join(_PRECISIONS)}")
        key = (card.path or card.name, card.scale, engine, precision)
        if key not in self._loaded:
            self._loaded[key] = load(card, engine=engine, precision=cast("Precision", precision))
        return self._loaded[key]

    def for_pass(self, plan: Plan, one: Pass) -> Upscaler:
        """Return the model of a plan's pass."""
        precision = plan.precision if one.card.path else "auto"
        return self.get(one.card, plan.engine, precision)

    def close(self) -> None:
        """Release the models; safe to call twice."""
        for upscaler in self._loaded.values():
            upscaler.close()
        self._loaded.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
