"""`upscale models`: what can be named with --model, and what each is good for; how fast each engine runs one.

Measuring and choosing belong to `models.select`.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from upscale_server.cli import options, talk
from upscale_server.cli.loading import choices_of
from upscale_server.cli.session import session_of

if TYPE_CHECKING:
    from upscale_server.models.card import ModelCard
    from upscale_server.models.select import Measured

app = typer.Typer(add_completion=False)


@app.callback(invoke_without_command=True)
def models(context: typer.Context, as_json: options.Json = False) -> None:
    """List the models that are here."""
    from upscale_server.media.types import record
    from upscale_server.models.catalogue import available

    if context.invoked_subcommand is not None:
        return
    cards = available()
    if as_json:
        for card in cards:
            talk.result_json(record(card))
        return
    rows = [
        (card.name, f"×{card.scale}", card.domain, f"{card.parameters:,}", card.for_sources, card.licence, card.summary)
        for card in cards
    ]
    talk.result_table("", ("name", "scale", "domain", "parameters", "for", "licence", "summary"), rows)


@app.command()
def bench(
    context: typer.Context,
    model: Annotated[
        str | None, typer.Argument(metavar="NAME", help="A model's name or an ONNX file. Default: the default model.")
    ] = None,
    scale: Annotated[
        int | None, typer.Option("--scale", help="Which of the model's scales; default: the least.")
    ] = None,
    size: Annotated[
        str, typer.Option("--size", help="Size of the frames; large ones are measured on a part.", metavar="WxH")
    ] = "1920x1080",
    as_json: options.Json = False,
) -> None:
    """Measure a model on every engine that is here, and remember the fastest right one for `--engine auto`."""
    from upscale_server.media.types import Size
    from upscale_server.models.choices import Candidate
    from upscale_server.models.select import candidates, fastest, measure, remember

    frame = Size.parse(size)
    card = _card(model, scale)
    measured = measure(card, candidates(card, Candidate("auto", "auto")), frame)
    remember(card, measured, frame, choices_of(session_of(context).settings))
    best = fastest(measured)
    for one in measured if as_json else ():
        talk.result_json({"model": card.name, "scale": card.scale, **asdict(one), "chosen": one is best})
    if not as_json:
        columns = ("engine", "precision", "ms", "LR MP/s", "dB from f32", "", "device")
        talk.result_table(f"{card.name} ×{card.scale}", columns, [_row(one, best) for one in measured])


def _card(model: str | None, scale: int | None) -> ModelCard:
    """Return the card of a family with a scale; the least where none is named."""
    from upscale_server.errors import BadRequest
    from upscale_server.models.catalogue import family

    cards = family(model)
    wanted = min(cards) if scale is None else scale
    if wanted not in cards:
        raise BadRequest(f"scale is {wanted}; {cards[min(cards)].name} has {', '.join(map(str, sorted(cards)))}")
    return cards[wanted]


def _row(one: Measured, best: Measured | None) -> tuple[str, ...]:
    if one.fault:
        return one.engine, one.precision, "", "", "", one.fault, one.device
    rate = one.pixels / one.seconds / 1e6
    word = "chosen" if one is best else ""
    return one.engine, one.precision, f"{one.seconds * 1e3:.1f}", f"{rate:.2f}", f"{one.psnr:.1f}", word, one.device
