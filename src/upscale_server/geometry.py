"""Which size comes out and how many times the network runs: pure arithmetic, tested without a pixel.

It knows no file and no model, only sizes, boxes and the scales on offer.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations_with_replacement
from math import prod

from upscale_server.errors import BadRequest, BadScale, NothingToUpscale, UnknownTask
from upscale_server.media.types import Size

TASKS = {
    "SD2HD": Size(1920, 1080),
    "SD24K": Size(3840, 2160),
    "HD24K": Size(3840, 2160),
    "4K28K": Size(7680, 4320),
}
"""The documented tasks and their boxes."""

BOXES = {
    "720p": Size(1280, 720),
    "1080p": Size(1920, 1080),
    "1440p": Size(2560, 1440),
    "4k": Size(3840, 2160),
    "2160p": Size(3840, 2160),
    "8k": Size(7680, 4320),
    "4320p": Size(7680, 4320),
}
SCALES = (2, 3, 4)
FITS = ("contain", "exact", "scale")

MOST_BY_NETWORK = 4
"""The network enlarges by at most this; past it every sample would be invented from a sixteenth of one."""
LEFTOVER = Fraction(5, 4)
"""What Lanczos may enlarge after the last pass without looking soft."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """The picture's size, the canvas it is centred on (larger only with bars), and the enlargement asked for."""

    picture: Size
    canvas: Size
    enlargement: Fraction


@dataclass(frozen=True, slots=True)
class Target:
    """What the user asked for: a box to fit into, or a factor.

    `turns`: a portrait source turns the box. True for tasks and names like `1080p`, not for a size in numbers.
    """

    box: Size | None = None
    scale: int | None = None
    fit: str = "contain"
    turns: bool = False


def target_of(task: str | None, to: str | None, scale: int | None, fit: str | None) -> Target:
    """Read the three ways to name a size; with none of them the factor is 2.

    Raises:
        BadRequest: more than one is given, or the fit does not go with it.
        UnknownTask, BadScale: the value is not on offer.
    """
    given = [name for name, value in (("--task", task), ("--to", to), ("--scale", scale)) if value is not None]
    if len(given) > 1:
        raise BadRequest(f"{' and '.join(given)} are given; choose one")
    if fit is not None and fit not in FITS:
        raise BadRequest(f"fit is {fit!r}; expected one of {', '.join(FITS)}")
    if task is not None:
        return _boxed(_task_box(task), fit, turns=True)
    if to is not None:
        named = BOXES.get(to.lower())
        return _boxed(named or _size_in_numbers(to), fit, turns=named is not None)
    factor = 2 if scale is None else scale
    if factor not in SCALES:
        raise BadScale(f"scale is {factor}; expected one of {', '.join(map(str, SCALES))}")
    if fit not in (None, "scale"):
        raise BadRequest(f"fit {fit!r} needs a box", hint="give --task or --to, or leave --fit out")
    return Target(scale=factor, fit="scale")


def _size_in_numbers(text: str) -> Size:
    try:
        return Size.parse(text)
    except BadRequest as err:
        raise BadRequest(f"size is {text!r}; expected {', '.join(BOXES)}, or WIDTHxHEIGHT such as 1920x1080") from err


def _task_box(task: str) -> Size:
    box = TASKS.get(task.upper())
    if box is None:
        raise UnknownTask(f"task is {task!r}; expected one of {', '.join(TASKS)}")
    return box


def _boxed(box: Size, fit: str | None, *, turns: bool) -> Target:
    if fit == "scale":
        raise BadRequest("fit 'scale' needs a factor", hint="give --scale instead of a box")
    return Target(box=box, fit=fit or "contain", turns=turns)


def fit_to(source: Size, target: Target) -> Fitted:
    """Return the output's size.

    Sides are rounded to the nearest even number, ties down.

    Raises:
        NothingToUpscale: the source already fills the box.
    """
    if target.box is None:
        factor = target.scale or 2
        size = source.times(factor)
        return Fitted(size, size, Fraction(factor))
    box = _turned(target.box, source) if target.turns else target.box
    enlargement = min(Fraction(box.width, source.width), Fraction(box.height, source.height))
    if enlargement <= 1:
        raise NothingToUpscale(
            f"source is {source}, already as large as {box}", hint="ask for a larger size, or for a factor"
        )
    picture = Size(_even(source.width * enlargement), _even(source.height * enlargement))
    return Fitted(picture, box if target.fit == "exact" else picture, enlargement)


def _turned(box: Size, source: Size) -> Size:
    portrait = source.height > source.width
    return Size(box.height, box.width) if portrait != (box.height > box.width) else box


def _even(side: Fraction) -> int:
    """Round to the nearest even number, ties down."""
    lower = int(side) // 2 * 2
    return max(2, lower if side - lower <= 1 else lower + 2)


def passes_for(enlargement: Fraction, scales: Collection[int]) -> tuple[int, ...]:
    """Return the scales of the network's passes: the fewest that leave at most `LEFTOVER` to Lanczos.

    Among equally many the smaller product wins. At least one pass runs; together at most `MOST_BY_NETWORK`, or one
    pass of a model that only does more.

    Args:
        enlargement: target through source.
        scales: what the model's family offers.
    """
    runs = [
        chosen
        for count in (1, 2)
        for chosen in combinations_with_replacement(sorted(scales), count)
        if prod(chosen) <= MOST_BY_NETWORK or count == 1
    ]
    enough = [chosen for chosen in runs if enlargement / prod(chosen) <= LEFTOVER]
    if enough:
        return min(enough, key=lambda chosen: (len(chosen), prod(chosen)))
    return max(runs, key=lambda chosen: (prod(chosen), -len(chosen)))
