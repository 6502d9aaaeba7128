"""Models for one command or server: each is found by name, loaded once, and released at the end.

Which engine can run a card is decided beside it; this module only knows the user's folders and what is loaded.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from upscale_server.models.base import Upscaler
    from upscale_server.models.card import ModelCard
    from upscale_server.models.choices import Choices
    from upscale_server.models.tsdsr.options import TsdsrOptions
    from upscale_server.settings import Settings

_FOR_PICTURES = ("quality-clean", "fast-clean")
"""The families for sources without compression noise, best first; stills use them when nothing is asked for."""

MEASURED_SIZE = "1920x1080"
"""What engines are measured at where sizes differ from picture to picture, and by `upscale models bench`."""


def model_for(engine: str, model: str | None, settings: Settings) -> str | None:
    """Return the model that is meant: a name, or the file of one that was added.

    `--engine lanczos` or `bicubic` alone names the model of the same name.

    Raises:
        ModelMissing: a name, not a file, that nothing has.
    """
    from upscale_server.models.added import path_of  # noqa: PLC0415 - the command line must answer at once
    from upscale_server.models.catalogue import CLASSICAL, available, no_such_model  # noqa: PLC0415 - the command line must answer at once

    if model is None:
        return engine if engine in CLASSICAL else None
    folder = models_folder(settings)
    found = path_of(model, folder)
    ours = {text for card in available() for text in (card.name, f"{card.name}-x{card.scale}")}
    if found == model and model not in ours and not Path(model).suffix:
        raise no_such_model(model, sorted(path.stem for path in folder.glob("*.json")))
    return found


def models_folder(settings: Settings) -> Path:
    """Return where the models that the user added are."""
    return settings.state_dir / "models"


def choices_of(settings: Settings) -> Choices:
    """Return the memory of which engine was measured to be fastest, in the user's state folder."""
    from upscale_server.models.choices import Choices, builds_beside  # noqa: PLC0415 - the command line must answer at once

    path = choices_path(settings)
    return Choices(path, builds_beside(path))


def choices_path(settings: Settings) -> Path:
    """Return where that memory lies."""
    return settings.state_dir / "choices.json"


def family_for_pictures(name: str | None) -> dict[int, ModelCard]:
    """Return the cards of a family by scale; without a name the best one for clean pictures that is here.

    Raises:
        ModelMissing: no such model.
    """
    from upscale_server.models.catalogue import available, family  # noqa: PLC0415 - the command line must answer at once

    here = {card.name for card in available()}
    chosen = name or next((one for one in _FOR_PICTURES if one in here), None)
    return dict(family(chosen))


def tsdsr_options(settings: Settings) -> TsdsrOptions:
    """Return how TSD-SR is asked to run.

    Raises:
        BadRequest: a tile and its overlap do not go together.
    """
    from upscale_server.models.tsdsr.options import TsdsrOptions  # noqa: PLC0415 - as above

    return TsdsrOptions(**settings.tsdsr.model_dump())


class Models:
    """Loaded models by card, engine and precision; a context manager that releases them."""

    def __init__(self, choices: Choices | None = None, *, threads: int = 0) -> None:
        """Hold nothing yet.

        Args:
            choices: where it is given, what is left to `auto` is measured once, at a size that stands for all.
            threads: cores for each model, 0 for all that this process may use.
        """
        self._choices = choices
        self._threads = threads
        self._loaded: dict[tuple[str, int, str, str], Upscaler] = {}

    def get(self, card: ModelCard, engine: str, precision: str) -> Upscaler:
        """Return a loaded model.

        Raises:
            BadRequest: no such engine or precision, or one that cannot run this model.
            ModelMissing, ModelInvalid: its file is gone, damaged or fails its self-test.
        """
        from upscale_server.media.types import Size  # noqa: PLC0415 - the command line must answer at once
        from upscale_server.models.choices import Candidate  # noqa: PLC0415 - the command line must answer at once
        from upscale_server.models.load import load  # noqa: PLC0415 - the command line must answer at once
        from upscale_server.models.select import choose, precision_named  # noqa: PLC0415 - the command line must answer at once

        asked = Candidate(engine, precision_named(precision))
        key = (card.path or card.name, card.scale, engine, precision)
        if key not in self._loaded:
            found = asked if self._choices is None else choose(card, asked, Size.parse(MEASURED_SIZE), self._choices)
            wanted = precision_named(found.precision)
            self._loaded[key] = load(card, engine=found.engine, precision=wanted, threads=self._threads)
        return self._loaded[key]

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
