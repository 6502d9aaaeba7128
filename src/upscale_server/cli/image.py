"""`upscale image`: a picture in, a larger one out, with everything that came along.

The work itself is `pipeline_image.upscale_image`; this module brings inputs, models and a file name.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from upscale_server.cli import options, talk
from upscale_server.cli.outputs import Job, Suffixes, check, jobs_of, make_folder, publishing
from upscale_server.cli.session import run_each, session_of
from upscale_server.errors import TooManyPixels
from upscale_server.settings import Settings

if TYPE_CHECKING:
    from upscale_server.events import Event, Observer
    from upscale_server.geometry import Fitted, Target
    from upscale_server.media.picture import Picture
    from upscale_server.media.types import Size
    from upscale_server.models.at_hand import Models
    from upscale_server.models.base import Upscaler
    from upscale_server.models.choices import Points

_READ = {
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".tif", ".tiff", ".bmp", ".dib", ".gif", ".avif", ".jp2", ".j2k",
    ".jpx", ".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".ico",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Wish:
    """What all pictures of one command share."""

    target: Target
    model: str | None
    engine: str
    precision: str
    quality: int | None
    overwrite: bool
    as_json: bool


def image(
    context: typer.Context,
    inputs: Annotated[list[Path], typer.Argument(metavar="IN...", help="Pictures, or folders of pictures.")],
    output: options.Output = None,
    task: options.Task = None,
    to: options.To = None,
    scale: options.Scale = None,
    fit: options.Fit = None,
    model: options.Model = None,
    engine: options.Engine = "auto",
    precision: options.Precision = "auto",
    quality: options.Quality = None,
    overwrite: options.Overwrite = False,
    as_json: options.Json = False,
) -> None:
    """Upscale pictures; depth, transparency, profile and metadata are kept."""
    from upscale_server.geometry import target_of
    from upscale_server.models.at_hand import Models, choices_of

    settings = session_of(context).settings
    wish = _Wish(target_of(task, to, scale, fit), model, engine, precision, quality, overwrite, as_json)
    jobs = jobs_of(inputs, output, _suffixes())
    if len(jobs) > 1 and output is not None:
        make_folder(output)
    with Models(choices_of(settings)) as models:
        run_each(
            jobs,
            lambda job: _upscale(job, wish, models, settings),
            lambda job: str(job.source),
            as_json=as_json,
            kept="pictures that are finished are kept",
        )


def _suffixes() -> Suffixes:
    from upscale_server.media.image_write import CONTAINERS

    return Suffixes(found=_READ, written_as={suffix: suffix for suffix in CONTAINERS}, otherwise=".png")


def _upscale(job: Job, wish: _Wish, models: Models, settings: Settings) -> None:
    from upscale_server.geometry import fit_to, passes_for
    from upscale_server.media.image import load
    from upscale_server.media.image_write import check_writable, container_of, encode, fitted
    from upscale_server.models.at_hand import choices_of, family_for_pictures, model_for
    from upscale_server.pipeline_image import upscale_image

    check(job, overwrite=wish.overwrite)
    container_of(job.output.suffix)
    limits = settings.limits
    started = time.monotonic()
    source = load(job.source, max_pixels=limits.max_image_pixels, max_side=limits.max_source_side)
    size = fit_to(source.size, wish.target)
    _within_limits(size, limits.max_output_side)
    check_writable(job.output.suffix, size.canvas, wish.quality)
    cards = family_for_pictures(model_for(wish.engine, wish.model, settings))
    chosen = [cards[scale] for scale in passes_for(size.enlargement, cards)]
    passes = [models.get(card, wish.engine, wish.precision) for card in chosen]
    talk.say(f"{job.source}: {source.size} to {size.canvas}, {passes[0].card.name} ({passes[0].working.engine})")
    steps: list[Event] = []
    roomy = _at_working_points(source.size, passes, choices_of(settings).points, steps.append)
    result = fitted(_warned(upscale_image(source, roomy, size), steps), job.output.suffix)
    content = encode(result, job.output.suffix, quality=wish.quality)
    with publishing(job.output) as part:
        part.write_bytes(content)
    for code, detail in result.warnings:
        talk.warn(code, detail)
    record = _record(job, source, result, passes)
    _show(
        {**record, "memory_steps": len(steps), "bytes": len(content), "seconds": round(time.monotonic() - started, 3)},
        as_json=wish.as_json,
    )


def _at_working_points(size: Size, passes: list[Upscaler], points: Points, observer: Observer) -> list[Upscaler]:
    """Wrap the passes over a picture of this size so that they ask for less where memory does not suffice."""
    from upscale_server.models.ladder import at_working_point
    from upscale_server.models.working_point import WorkingPoint

    wrapped: list[Upscaler] = []
    for one in passes:
        asked = WorkingPoint(1, 1, size.pixels, one.working.precision)
        wrapped.append(at_working_point(one, size, asked, points, observer))
        size = size.times(one.card.scale)
    return wrapped


def _warned(picture: Picture, steps: list[Event]) -> Picture:
    for step in steps:
        picture = picture.warn("out_of_memory", f"less was asked of the device: {getattr(step, 'point', step)}")
    return picture


def _within_limits(size: Fitted, max_side: int) -> None:
    if max(size.canvas.width, size.canvas.height) > max_side:
        raise TooManyPixels(
            f"output is {size.canvas}; the longest side allowed is {max_side}, see UPSCALE_LIMITS__MAX_OUTPUT_SIDE"
        )


def _record(job: Job, source: Picture, result: Picture, passes: list[Upscaler]) -> dict[str, object]:
    working = passes[0].working
    return {
        "source": str(job.source),
        "output": str(job.output),
        "source_size": str(source.size),
        "size": str(result.size),
        "bits": result.bits,
        "model": passes[0].card.name,
        "passes": [one.card.scale for one in passes],
        "engine": working.engine,
        "device": working.device,
        "precision": working.precision,
        "warnings": [{"code": code, "detail": detail} for code, detail in result.warnings],
    }


def _show(record: dict[str, object], *, as_json: bool) -> None:
    if as_json:
        talk.result_json(record)
        return
    talk.result(f"{record['output']}: {record['size']}, {record['bits']} bits, {record['seconds']} s")
