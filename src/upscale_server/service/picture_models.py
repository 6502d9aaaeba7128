"""Which network the image server runs, behind one seam: the built-in family, a model of the user's, or TSD-SR.

It opens models and says what they are; pictures go through them in `picture_work`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

from upscale_server.errors import BadRequest
from upscale_server.events import Observer
from upscale_server.geometry import passes_for
from upscale_server.media.types import Size
from upscale_server.models.at_hand import Models, choices_of, family_for_pictures, model_for
from upscale_server.models.base import Upscaler
from upscale_server.models.device import usable_cores
from upscale_server.models.ladder import at_working_point
from upscale_server.models.working_point import WorkingPoint
from upscale_server.settings import Settings

FACTORS = (2, 4)

_DTYPES = {"f16": "torch.float16", "bf16": "torch.bfloat16", "f32": "torch.float32"}
_GPU_ENGINES = ("cuda", "tensorrt", "torch-cuda")


@dataclass(frozen=True, slots=True)
class Ask:
    """What a caller wants of a picture: its factor, the processing size, and a seed for a model that takes one."""

    factor: int
    process_size: int
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """What runs, as `/health` and `/info` tell it.

    `dtype` is in torch's spelling, which callers know; `process_size_matters` is false where a network takes any size.
    """

    name: str
    transformer: bool
    vae: bool
    device: str
    dtype: str
    engine: str
    process_size_matters: bool
    details: tuple[tuple[str, str], ...] = ()


class PictureModels(Protocol):
    """A loaded network, or several of a family; safe to call from several threads at once."""

    @property
    def facts(self) -> Facts:
        """Return what runs."""

    def at(self, ask: Ask, size: Size, observer: Observer) -> Sequence[Upscaler]:
        """Return the passes over a picture of this size; `observer` is told where less is asked of the device.

        Raises:
            BadRequest: the model has no use for a seed.
        """

    def close(self) -> None:
        """Release the models; safe to call twice."""


class FamilyModels:
    """A family of networks that take a picture of any size: the built-in one, or a model of the user's."""

    def __init__(self, settings: Settings, name: str | None) -> None:
        """Load every pass that a request may need.

        Args:
            settings: for the user's folders, and how many processes share the cores.
            name: a model's name or file; None is the built-in one.

        Raises:
            ModelMissing, ModelInvalid: it is not there, damaged, or fails its self-test.
        """
        choices = choices_of(settings)
        self._points = choices.points
        self._models = Models(choices, threads=max(1, usable_cores() // settings.image.workers))
        try:
            cards = family_for_pictures(model_for("auto", name, settings))
            scales = {factor: passes_for(Fraction(factor), cards) for factor in FACTORS}
            self._passes = {
                factor: [self._models.get(cards[scale], "auto", "auto") for scale in chosen]
                for factor, chosen in scales.items()
            }
        except BaseException:
            self._models.close()
            raise

    @property
    def facts(self) -> Facts:
        """Return what runs."""
        first = self._passes[FACTORS[0]][0]
        working = first.working
        passes = ((f"x{factor}", " then ".join(map(_title, passes))) for factor, passes in self._passes.items())
        return Facts(
            name=first.card.name,
            transformer=False,
            vae=False,
            device="cuda" if working.engine in _GPU_ENGINES else "cpu",
            dtype=_DTYPES.get(working.precision, working.precision),
            engine=working.engine,
            process_size_matters=False,
            details=(("device", working.device), *passes),
        )

    def at(self, ask: Ask, size: Size, observer: Observer) -> Sequence[Upscaler]:
        """Return the passes, each of which asks for less where memory does not suffice.

        Raises:
            BadRequest: a seed is given, and nothing here is drawn by chance.
        """
        if ask.seed is not None:
            raise BadRequest(f"seed is {ask.seed}; the model {self.facts.name} draws nothing by chance")
        wrapped: list[Upscaler] = []
        for one in self._passes[ask.factor]:
            asked = WorkingPoint(1, 1, size.pixels, one.working.precision)
            wrapped.append(at_working_point(one, size, asked, self._points, observer))
            size = size.times(one.card.scale)
        return wrapped

    def close(self) -> None:
        """Release the models; safe to call twice."""
        self._models.close()


def open_models(settings: Settings) -> PictureModels:
    """Load what the settings ask for.

    Raises:
        ModelMissing, ModelInvalid: it is not there, damaged, or fails its self-test.
    """
    asked = settings.image.model
    return FamilyModels(settings, None if asked == "auto" else asked)


def _title(upscaler: Upscaler) -> str:
    return f"{upscaler.card.name}-x{upscaler.card.scale}"
