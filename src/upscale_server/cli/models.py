"""`upscale models`: what can be named with --model, and what each is good for; how fast each engine runs one.

Measuring and choosing belong to `models.select`.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from upscale_server.cli import options, talk
from upscale_server.cli.pull import pull
from upscale_server.cli.session import session_of
from upscale_server.models.at_hand import MEASURED_SIZE, choices_of, model_for, models_folder

if TYPE_CHECKING:
    from upscale_server.media.types import Size
    from upscale_server.models.card import ModelCard
    from upscale_server.models.pace import Pace
    from upscale_server.models.select import Measured
    from upscale_server.settings import Settings

app = typer.Typer(add_completion=False)
app.command("pull")(pull)


@app.callback(invoke_without_command=True)
def models(context: typer.Context, as_json: options.Json = False) -> None:
    """List the models that are here."""
    from upscale_server.models.added import added
    from upscale_server.models.catalogue import available
    from upscale_server.records import record

    if context.invoked_subcommand is not None:
        return
    cards = [*available(), *added(models_folder(session_of(context).settings))]
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
        str | None, typer.Argument(metavar="NAME", help="A model's name or its file. Default: the default model.")
    ] = None,
    scale: Annotated[
        int | None, typer.Option("--scale", help="Which of the model's scales; default: the least.")
    ] = None,
    size: Annotated[
        str, typer.Option("--size", help="Size of the frames; large ones are measured on a part.", metavar="WxH")
    ] = MEASURED_SIZE,
    as_json: options.Json = False,
) -> None:
    """Measure a model on every engine that is here, and remember the fastest right one for `--engine auto`.

    For that one, it is also found out how many calls at once (lanes) and how many frames in each (batch) are fastest.
    """
    from upscale_server.media.types import Size
    from upscale_server.models.choices import Candidate
    from upscale_server.models.select import candidates, fastest, measure, remember

    settings = session_of(context).settings
    frame = Size.parse(size)
    card = _card(model_for("auto", model, settings), scale)
    measured = measure(card, candidates(card, Candidate("auto", "auto")), frame)
    remember(card, measured, frame, choices_of(settings))
    best = fastest(measured)
    pace = None if best is None else _pace(card, best, frame, settings)
    for one in measured if as_json else ():
        lanes_and_batch = asdict(pace) if pace and one is best else {}
        record = {"model": card.name, "scale": card.scale, **asdict(one), "chosen": one is best, **lanes_and_batch}
        talk.result_json(record)
    if not as_json:
        columns = ("engine", "precision", "ms", "LR MP/s", "dB from f32", "", "device")
        chosen = f"chosen: lanes {pace.lanes}, batch {pace.batch}" if pace else ""
        rows = [_row(one, chosen if one is best else "") for one in measured]
        talk.result_table(f"{card.name} ×{card.scale}", columns, rows)


@app.command()
def add(
    context: typer.Context,
    source: Annotated[
        str,
        typer.Argument(
            metavar="FILE|URL", help="An ONNX or safetensors file, a pickled checkpoint, or an https address."
        ),
    ],
    sha256: Annotated[
        str, typer.Option("--sha256", help="What the file must have; needed for an address.", metavar="HEX")
    ] = "",
    name: Annotated[str, typer.Option("--name", help="The name to be found by; default: the file's.")] = "",
    scale: Annotated[int, typer.Option("--scale", min=0, help="The scale it must have; 0: any.")] = 0,
    licence: Annotated[str, typer.Option("--licence", help="Its licence, for the card.")] = "",
    metadata: Annotated[
        str,
        typer.Option("--metadata", help="A JSON file about it, OpenModelDB's or a card; default: NAME.json beside it."),
    ] = "",
    allow_pickle: Annotated[
        bool, typer.Option("--allow-pickle", help="Convert a .pth, .pt or .ckpt; code in it is refused, not run.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Copy a model from outside beside our own, after trying what it is; then `--model NAME` finds it."""
    from upscale_server.models.added import Addition
    from upscale_server.models.added import add as add_model
    from upscale_server.records import record

    folder = models_folder(session_of(context).settings)
    card = add_model(Addition(source, sha256, name, scale, licence, metadata, allow_pickle), folder)
    if as_json:
        talk.result_json(record(card))
        return
    talk.result(
        f"{card.name}: {card.architecture}{', ' if card.architecture else ''}×{card.scale}, {card.domain}, "
        f"{card.layout}, white is {card.value_range:g}, tiles overlap by {card.receptive_field}, "
        f"licence {card.licence}; in {card.path}"
    )


def _card(model: str | None, scale: int | None) -> ModelCard:
    """Return the card of a family with a scale; the least where none is named."""
    from upscale_server.errors import BadRequest
    from upscale_server.models.catalogue import family

    cards = family(model)
    wanted = min(cards) if scale is None else scale
    if wanted not in cards:
        raise BadRequest(f"scale is {wanted}; {cards[min(cards)].name} has {', '.join(map(str, sorted(cards)))}")
    return cards[wanted]


def _pace(card: ModelCard, best: Measured, size: Size, settings: Settings) -> Pace:
    """Measure and remember how many lanes, and frames in a call, are fastest for the chosen engine."""
    from upscale_server.models.choices import Candidate
    from upscale_server.models.pace import remember_pace
    from upscale_server.models.ways import load_way, options_for

    choices = choices_of(settings)
    with closing(load_way(card, Candidate(best.engine, best.precision), size, choices)) as loaded:
        return remember_pace(loaded, size, choices, options_for(size, choices))


def _row(one: Measured, word: str) -> tuple[str, ...]:
    if one.fault:
        return one.engine, one.precision, "", "", "", one.fault, one.device
    rate = one.pixels / one.seconds / 1e6
    return one.engine, one.precision, f"{one.seconds * 1e3:.1f}", f"{rate:.2f}", f"{one.psnr:.1f}", word, one.device
