"""`upscale bench`: how fast this machine upscales, measured through the real path on the bundled clip.

It chooses the rows and shows them; one row is measured in `bench_rows`. Nothing here is a promise about other videos.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from upscale_server.cli import options, talk
from upscale_server.cli.bench_rows import ENCODER, Outcome, Row, measured
from upscale_server.cli.session import interruptible, session_of
from upscale_server.errors import BadScale, UpscaleError
from upscale_server.models.at_hand import choices_of, choices_path, models_folder

if TYPE_CHECKING:
    from upscale_server.models.card import ModelCard
    from upscale_server.settings import Settings

_MINUTE_FRAMES = 30 * 60
_FULL_HD = 1920 * 1080
_BUSY_PART = 0.3
"""Part of the cores that others may keep busy before a word about it: a table made then is about them as well."""


@dataclass(frozen=True, slots=True)
class Line:
    """A row, what came of it, and whether it is what would be taken without being asked for."""

    row: Row
    outcome: Outcome
    chosen: str = ""


def bench(
    context: typer.Context,
    compare: Annotated[
        bool, typer.Option("--compare", help="Every model on every engine, the kernels without weights, the encoder.")
    ] = False,
    scale: Annotated[
        int, typer.Option("--scale", min=2, max=4, help="Enlargement; a model without it is left out.")
    ] = 2,
    as_json: options.Json = False,
) -> None:
    """Measure how fast this machine upscales: the bundled clip, decoded, upscaled and encoded as a job would.

    Alone it takes some seconds and tells of what a job would take here. With --compare it takes a minute or so and
    shows what each network costs over the encoder. Others that use this machine meanwhile spoil it; `±` tells how much.
    """
    settings = session_of(context).settings
    _warn_of_others()
    with interruptible(""):
        lines = []
        for row, chosen in _compared(settings, scale) if compare else _default(settings, scale):
            talk.say(f"measuring {row.model} ×{row.scale} {row.engine} {row.precision}".rstrip())
            lines.append(Line(row, measured(row), chosen))
    fastest = max((line.outcome.rate for line in lines), default=0.0)
    if as_json:
        for line in lines:
            talk.result_json(_record(line, fastest))
        return
    _show(lines, fastest)


def _default(settings: Settings, scale: int) -> Iterator[tuple[Row, str]]:
    """Give what a job would take."""
    from upscale_server.models.catalogue import family

    cards = family(None)
    if scale not in cards:
        raise BadScale(f"scale is {scale}; the default model has {', '.join(map(str, sorted(cards)))}")
    yield _chosen_row(cards[scale], settings), "auto"


def _compared(settings: Settings, scale: int) -> Iterator[tuple[Row, str]]:
    """Give the encoder, the kernels, and each network on each engine."""
    from upscale_server.models.added import added
    from upscale_server.models.catalogue import CLASSICAL, available, family
    from upscale_server.models.choices import Candidate
    from upscale_server.models.select import candidates

    yield Row(ENCODER, scale, "", ""), ""
    for kernel in reversed(CLASSICAL):
        yield Row(kernel, scale), ""
    default = family(None).get(scale)
    networks = [card for card in available() if card.path]
    for card in [*networks, *added(models_folder(settings))]:
        if card.scale != scale:
            continue
        try:
            best = _chosen_row(card, settings)
        except UpscaleError as err:  # an added model whose file is gone or damaged; the others are measured
            talk.warn(err.code, f"{card.name}: {err.detail}")
            continue
        for one in candidates(card, Candidate("auto", "auto")):
            is_best = (one.engine, one.precision) == (best.engine, best.precision)
            mark = ("auto, default" if card == default else "auto") if is_best else ""
            yield replace(best, engine=one.engine, precision=one.precision), mark


def _chosen_row(card: ModelCard, settings: Settings) -> Row:
    """Return the engine that a job would take for a model, measured now where that was never done."""
    from upscale_server.cli.check_codecs import CLIP
    from upscale_server.media.probe import probe
    from upscale_server.models.choices import Candidate
    from upscale_server.models.select import choose

    best = choose(card, Candidate("auto", "auto"), probe(CLIP).size, choices_of(settings))
    return Row(_named(card), card.scale, best.engine, best.precision, choices_path(settings))


def _named(card: ModelCard) -> str:
    from upscale_server.models.catalogue import available

    return card.name if any(one == card for one in available()) else str(card.path)


def _warn_of_others() -> None:
    busy, cores = os.getloadavg()[0], len(os.sched_getaffinity(0))
    if busy > _BUSY_PART * cores:
        talk.warn(
            "busy", f"other programs kept {busy:.1f} of {cores} cores busy in the last minute; figures come out low"
        )


def _minute(outcome: Outcome) -> float | None:
    """Return the seconds that a minute of 1080p at 30 pictures a second would take, reckoned by its pixels."""
    if not outcome.rates:
        return None
    width, _, height = outcome.source.partition("x")
    return _MINUTE_FRAMES / outcome.rate * _FULL_HD / (int(width) * int(height))


def _record(line: Line, fastest: float) -> dict[str, Any]:  # JSON values of many types
    outcome, minute = line.outcome, _minute(line.outcome)
    return {
        "model": line.row.model,
        "scale": line.row.scale,
        "engine": outcome.engine or line.row.engine,
        "precision": outcome.precision,
        "frames_per_second": round(outcome.rate, 3) or None,
        "spread": None if outcome.spread is None else round(outcome.spread, 3),
        "runs": len(outcome.rates),
        "frames": outcome.frames,
        "of_fastest": round(outcome.rate / fastest, 4) if outcome.rates else None,
        "minute_of_1080p_seconds": None if minute is None else round(minute, 1),
        "memory_bytes": outcome.memory_bytes,
        "chosen": bool(line.chosen),
        "source": outcome.source,
        "target": outcome.target,
        "encoder": outcome.encoder,
        "fault": outcome.fault or None,
    }


def _show(lines: list[Line], fastest: float) -> None:
    good = next((line.outcome for line in lines if line.outcome.rates), None)
    title = "" if good is None else f"bundled clip, {good.source} to {good.target}, {good.encoder}"
    columns = ("model", "engine", "", "fps", "±", "of the fastest", "a minute of 1080p", "memory", "")
    talk.result_table(title, columns, [_cells(line, fastest) for line in lines])
    for line in lines:
        if line.outcome.fault:
            talk.say(f"{line.row.model} {line.row.engine} {line.row.precision}: {line.outcome.fault}")


def _cells(line: Line, fastest: float) -> tuple[str, ...]:
    outcome = line.outcome
    name = f"{line.row.model} ×{line.row.scale}" if line.row.model != ENCODER else ENCODER
    engine, precision = outcome.engine or line.row.engine, outcome.precision or line.row.precision
    if not outcome.rates:
        return name, engine, precision, "none", "", "", "", "", line.chosen
    spread = "" if outcome.spread is None else f"{outcome.spread / 2:.0%}"
    memory = f"{outcome.memory_bytes / 2**20:.0f} MiB"
    share = f"{outcome.rate / fastest:.2f}"
    return name, engine, precision, f"{outcome.rate:.1f}", spread, share, _clock(_minute(outcome)), memory, line.chosen


def _clock(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"
