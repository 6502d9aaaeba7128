"""Which network the image server runs, behind one seam: the built-in family, a model of the user's, or TSD-SR.

It opens models and says what they are; pictures go through them in `picture_work`.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Protocol

from upscale_server.errors import BadRequest
from upscale_server.events import Observer, both
from upscale_server.geometry import passes_for
from upscale_server.logs import get_logger
from upscale_server.media.types import Size
from upscale_server.models.at_hand import Models, choices_of, family_for_pictures, model_for
from upscale_server.models.base import Upscaler
from upscale_server.models.device import usable_cores
from upscale_server.models.ladder import at_working_point
from upscale_server.models.working_point import WorkingPoint
from upscale_server.service import tsdsr_models
from upscale_server.service.picture_facts import Ask, Facts
from upscale_server.settings import Settings

FACTORS = (2, 4)
AUTO = "auto"

_DTYPES = {"f16": "torch.float16", "bf16": "torch.bfloat16", "f32": "torch.float32"}
_GPU_ENGINES = ("cuda", "tensorrt", "torch-cuda")


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

    def __init__(self, settings: Settings, name: str | None, details: tuple[tuple[str, str], ...] = ()) -> None:
        """Load every pass that a request may need.

        Args:
            settings: for the user's folders, and how many processes share the cores.
            name: a model's name or file; None is the built-in one.
            details: further facts, such as why it was chosen.

        Raises:
            ModelMissing, ModelInvalid: it is not there, damaged, or fails its self-test.
        """
        choices = choices_of(settings)
        self._details = details
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
            details=(("device", working.device), *passes, *self._details),
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


class Watched:
    """Models whose steps are told to somebody else, too.

    Args:
        inner: what enlarges; closed with this.
        observer: told of every step.
    """

    def __init__(self, inner: PictureModels, observer: Observer) -> None:
        self._inner = inner
        self._observer = observer

    @property
    def facts(self) -> Facts:
        """Return what runs."""
        return self._inner.facts

    def at(self, ask: Ask, size: Size, observer: Observer) -> Sequence[Upscaler]:
        """Return the passes; see `PictureModels`."""
        return self._inner.at(ask, size, both(observer, self._observer))

    def close(self) -> None:
        """Release the models; safe to call twice."""
        self._inner.close()


def open_models(settings: Settings) -> PictureModels:
    """Load what the settings ask for; `auto` is TSD-SR where it can be, else the built-in family.

    Raises:
        ModelMissing, ModelInvalid: it is not there, damaged, or fails its self-test.
        MissingExtra, DeviceUnused, OutOfMemory: TSD-SR is meant and cannot be loaded.
    """
    asked = settings.image.model
    if asked == tsdsr_models.NAME:
        return tsdsr_models.open_tsdsr(settings, chosen_for_gpu=False)
    if asked != AUTO:
        return FamilyModels(settings, asked)
    why_not = tsdsr_models.why_not(settings)
    if not why_not:
        return tsdsr_models.open_tsdsr(settings, chosen_for_gpu=True)
    get_logger().info("tsdsr_not_chosen", why=why_not)
    return FamilyModels(settings, None, (("tsdsr", f"not chosen: {why_not}"),))


def _title(upscaler: Upscaler) -> str:
    return f"{upscaler.card.name}-x{upscaler.card.scale}"
