"""`upscale preview`: a few seconds through several models, as files to look at and a table to choose by.

The work itself is `upscale_server.preview`; this module brings a source, a folder and a table.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from upscale_server.cli import options, talk
from upscale_server.cli.loading import load_pass
from upscale_server.cli.outputs import make_folder, move_into_place
from upscale_server.cli.progress import Watcher
from upscale_server.cli.session import interruptible, naming_memory, session_of
from upscale_server.cli.video import limits_of
from upscale_server.errors import BadRequest, SourceNotFound, UpscaleError
from upscale_server.events import both
from upscale_server.logs import log_event
from upscale_server.models.at_hand import choices_of, model_for

if TYPE_CHECKING:
    from upscale_server.preview import Asked, Preview, Shown
    from upscale_server.settings import Settings

STRIP = "compare.png"
_MARK = "_preview"

Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model", help="A model's name or file; give it again for each model. Default: the one that would be taken.",
        rich_help_panel="Model",
    ),
]  # fmt: skip
Start = Annotated[
    float | None,
    typer.Option("--start", help="Begin here, in seconds. Default: the middle.", metavar="SECONDS"),
]
Folder = Annotated[
    Path | None, typer.Option("-o", "--output", help="Folder for the files. Default: NAME_preview beside the input.")
]


def preview(
    context: typer.Context,
    source: Annotated[Path, typer.Argument(metavar="IN", help="A video.")],
    output: Folder = None,
    models: Models = None,
    start: Start = None,
    seconds: Annotated[float, typer.Option("--seconds", help="How much of it.", metavar="SECONDS")] = 3.0,
    self_test: Annotated[
        bool,
        typer.Option("--self-test", help="Also make it smaller, restore it with each model, and measure the result."),
    ] = False,
    task: options.Task = None,
    to: options.To = None,
    scale: options.Scale = None,
    fit: options.Fit = None,
    overwrite: options.Overwrite = False,
    as_json: options.Json = False,
) -> None:
    """Show a few seconds of a video through several models, beside the source enlarged by bicubic."""
    from upscale_server.preview import Asked, Candidate
    from upscale_server.wish import Wish

    settings = session_of(context).settings
    candidates = Candidate.named([(_name(one), model_for("auto", one, settings)) for one in models or ()])
    wish = Wish(task=task, to=to, scale=scale, fit=fit)
    asked = Asked(source, wish, candidates, start, seconds, self_test)
    folder = output or source.with_name(source.stem + _MARK)
    if not source.is_file():
        raise SourceNotFound(f"source {source} does not exist, or is no file")
    _check(folder, asked, overwrite=overwrite)
    with interruptible("run the same command again"), naming_memory():
        made = _made(asked, folder, settings)
    _tell(source, folder, made, as_json=as_json)


def _name(model: str) -> str:
    """Return what a model's file here is called: a model that is a file lends its name, not its folder."""
    return Path(model).stem if Path(model).suffix in {".onnx", ".safetensors"} else model


def _check(folder: Path, asked: Asked, *, overwrite: bool) -> None:
    """Refuse before any work to write over what is there.

    Raises:
        BadRequest: something of a name that will be written is there.
    """
    from upscale_server.preview import BEFORE

    names = [f"{BEFORE}.mp4", STRIP, *(f"{one.name}.mp4" for one in asked.models)]
    there = [name for name in names if os.path.lexists(folder / name)]
    if there and not overwrite:
        raise BadRequest(f"{folder / there[0]} exists", hint="give -y to replace it, or another folder with -o")
    if folder.exists() and not folder.is_dir():
        raise BadRequest(f"output {folder} is a file; expected a folder")


def _made(asked: Asked, folder: Path, settings: Settings) -> Preview:
    """Make a preview beside the folder and move its files there when all are whole."""
    from upscale_server.media.strip import write_strip
    from upscale_server.preview import LocalStudio, make_preview
    from upscale_server.workers.in_process import InProcess

    choices = choices_of(settings)
    load = partial(load_pass, engines=str(choices.builds.folder) if choices.builds else "")
    with (
        InProcess(load, choices.points) as executor,
        Watcher(asked.source.name) as watcher,
        _work_folder(folder) as work,
    ):
        studio = LocalStudio(executor, limits_of(settings), choices)
        for grown in make_preview(asked, studio, work, both(watcher, log_event)):
            found = grown
        sides = [(one.name, one.path) for one in (found.before, *found.items) if one.path is not None]
        write_strip(sides, found.frame_count // 2, work / STRIP)
        for path in [work / STRIP, *(path for _, path in sides)]:
            move_into_place(path, folder / path.name)
    return found


@contextmanager
def _work_folder(folder: Path) -> Iterator[Path]:
    """Give a folder on the disk that the results go to; it is gone afterwards, and so is an empty result."""
    fresh = not folder.exists()
    make_folder(folder)
    try:
        with TemporaryDirectory(prefix=".work-", dir=folder) as work:
            yield Path(work)
    finally:
        if fresh and not any(folder.iterdir()):
            folder.rmdir()


def _tell(source: Path, folder: Path, made: Preview, *, as_json: bool) -> None:
    for code, detail in made.warnings:
        talk.warn(code, detail)
    for one in (made.before, *made.items):
        if one.fault is not None:
            talk.fail(one.fault, about=one.name)
    if as_json:
        talk.result_json(_record(source, folder, made))
    else:
        talk.result_table("", *_table(made))
        if made.self_test is not None and made.self_test.ranking is not None:
            talk.result(made.self_test.ranking.text)
        talk.result(f"{folder}: {made.size}, {made.frame_count} frames from {made.start_seconds:g} s")
    faults = [one.fault.exit_code for one in made.items if one.fault is not None]
    if faults:
        raise typer.Exit(max(faults))


def _table(made: Preview) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
    columns: tuple[str, ...] = ("model", "fps", "whole video")
    if made.self_test is not None:
        columns += ("VMAF", "PSNR-Y", "SSIM", "flicker")
    rows = []
    for one in (made.before, *made.items):
        row: tuple[object, ...] = (one.name, _or_dash(one.fps, ".1f"), _length(_whole_seconds(made, one)))
        if made.self_test is not None:
            row += _measured(one)
        rows.append(row)
    return columns, rows


def _measured(one: Shown) -> tuple[str, ...]:
    found = one.quality
    if found is None:
        return ("–",) * 4
    return _or_dash(found.vmaf, ".2f"), f"{found.psnr_y:.2f}", f"{found.ssim:.4f}", _or_dash(found.flicker, ".3f")


def _or_dash(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def _whole_seconds(made: Preview, one: Shown) -> float | None:
    """Return how long the whole video would take at the measured speed."""
    return made.whole_frames / one.fps if one.fps else None


def _length(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _record(source: Path, folder: Path, made: Preview) -> dict[str, Any]:  # JSON values of many types
    from upscale_server.media.types import record

    return {
        "source": str(source),
        "output": str(folder),
        "size": str(made.size),
        "start_seconds": made.start_seconds,
        "frames": made.frame_count,
        "frame_times": [round(one, 6) for one in made.frame_times],
        "crop": record(made.crop),
        "before": _side(folder, made, made.before),
        "items": [_side(folder, made, one) for one in made.items],
        "strip": str(folder / STRIP),
        "self_test": record(made.self_test),
        "warnings": [{"code": code, "detail": detail} for code, detail in made.warnings],
    }


def _side(folder: Path, made: Preview, one: Shown) -> dict[str, Any]:  # JSON values of many types
    from upscale_server.media.types import record

    whole = _whole_seconds(made, one)
    return {
        "model": one.name,
        "file": None if one.path is None else str(folder / one.path.name),
        "bytes": one.byte_count,
        "seconds": one.seconds,
        "frames_per_second": one.fps,
        "whole_video_seconds": None if whole is None else round(whole, 1),
        "quality": record(one.quality),
        "fault": one.fault.as_record() if isinstance(one.fault, UpscaleError) else None,
    }
