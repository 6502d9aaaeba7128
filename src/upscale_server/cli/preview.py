"""`upscale preview`: a few seconds through several models, as files to look at and a table to choose by.

The work itself is `upscale_server.preview`; this module brings a source, a folder and a table.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from upscale_server.cli import options, talk
from upscale_server.cli.loading import load_pass
from upscale_server.cli.outputs import make_folder, move_into_place
from upscale_server.cli.preview_report import Whole, record_of, table_of
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


@dataclass(frozen=True, slots=True)
class _Run:
    """What is asked for, where it goes, and whether it may replace what is there."""

    asked: Asked
    folder: Path
    overwrite: bool


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
    from upscale_server.preview import BEFORE, Asked, Candidate
    from upscale_server.wish import Wish

    settings = session_of(context).settings
    candidates = Candidate.named([(_name(one), model_for("auto", one, settings)) for one in models or ()])
    wish = Wish(task=task, to=to, scale=scale, fit=fit)
    asked = Asked(source, wish, candidates, start, seconds, self_test)
    folder = output or source.with_name(source.stem + _MARK)
    if not source.is_file():
        raise SourceNotFound(f"source {source} does not exist, or is no file")
    run = _Run(asked, folder, overwrite)
    _check(run, [BEFORE, *(one.name for one in asked.models)])
    with interruptible("run the same command again"), naming_memory():
        made = _made(run, settings)
        wholes = {one.name: _whole(asked, one, made, settings) for one in made.items if one.plan is not None}
    _tell(run, made, wholes, as_json=as_json)


def _name(model: str) -> str:
    """Return what a model's file here is called: a model that is a file lends its name, not its folder."""
    return Path(model).stem if Path(model).suffix in {".onnx", ".safetensors"} else model


def _check(run: _Run, names: Iterable[str]) -> None:
    """Refuse before any work to write over what is there.

    Raises:
        BadRequest: something of a name that will be written is there.
    """
    if run.folder.exists() and not run.folder.is_dir():
        raise BadRequest(f"output {run.folder} is a file; expected a folder")
    paths = [run.folder / STRIP, *(run.folder / f"{name}.mp4" for name in names)]
    there = [path for path in paths if os.path.lexists(path)]
    if there and not run.overwrite:
        raise BadRequest(f"{there[0]} exists", hint="give -y to replace it, or another folder with -o")


def _made(run: _Run, settings: Settings) -> Preview:
    """Make a preview beside the folder and move its files there when all are whole."""
    from upscale_server.media.strip import write_strip
    from upscale_server.preview import BEFORE, LocalStudio, make_preview
    from upscale_server.workers.in_process import InProcess

    choices = choices_of(settings)
    load = partial(load_pass, engines=str(choices.builds.folder) if choices.builds else "")
    with (
        InProcess(load, choices.points) as executor,
        Watcher(run.asked.source.name) as watcher,
        _work_folder(run.folder) as work,
    ):
        studio = LocalStudio(executor, limits_of(settings), choices)
        found = None
        for grown in make_preview(run.asked, studio, work, both(watcher, log_event)):
            if found is None and not run.asked.models:  # only now it is known which model is taken
                _check(run, [one.name for one in grown.items])
            found = grown
        if found is None:
            raise UpscaleError("a preview ended without a word")
        sides = [(one.name, one.path) for one in (found.before, *found.items) if one.path is not None]
        labelled = [(f"{name} (bicubic)" if name == BEFORE else name, path) for name, path in sides]
        write_strip(labelled, found.frame_count // 2, work / STRIP)
        for path in [work / STRIP, *(path for _, path in sides)]:
            move_into_place(path, run.folder / path.name)
    return found


def _whole(asked: Asked, shown: Shown, made: Preview, settings: Settings) -> Whole:
    """Return how long the whole video would take: by this machine's own jobs, else at the speed of the preview."""
    from upscale_server.cli.estimating import Estimating
    from upscale_server.plan import make_plan
    from upscale_server.preview import named

    here = Whole(made.whole_seconds(shown.fps) if shown.fps else None, "preview")
    if shown.plan is None:
        return here
    wish = replace(asked.wish, model=named(shown.plan))
    try:
        plan = make_plan(asked.source, wish, limits_of(settings), choices_of(settings))
        with Estimating(settings, measure=False) as estimating:
            _, estimate = estimating.of(plan)
    except UpscaleError:  # what the preview shows in 8 bits may not be possible as a job; its command says why
        return here
    known = estimate.basis.seconds in ("measured", "calibrated")
    return Whole(estimate.seconds, estimate.basis.seconds, estimate.seconds_error) if known else here


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


def _tell(run: _Run, made: Preview, wholes: Mapping[str, Whole], *, as_json: bool) -> None:
    for code, detail in made.warnings:
        talk.warn(code, detail)
    for one in (made.before, *made.items):
        if one.fault is not None:
            talk.fail(one.fault, about=one.name)
        if one.quality_fault is not None:
            talk.warn("not_measured", f"{one.name}: {one.quality_fault}")
    if as_json:
        record = record_of(run.folder, made, wholes)
        talk.result_json({"source": str(run.asked.source), **record, "strip": str(run.folder / STRIP)})
    else:
        talk.result_table("", *table_of(made, wholes))
        if made.self_test is not None and made.self_test.ranking is not None:
            talk.result(made.self_test.ranking.text)
        talk.result(f"{run.folder}: {made.size}, {made.frame_count} frames from {made.start_seconds:g} s")
    faults = [one.fault.exit_code for one in made.items if one.fault is not None]
    if faults:
        raise typer.Exit(max(faults))
