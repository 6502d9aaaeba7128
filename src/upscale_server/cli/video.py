"""`upscale video`: options become a wish, the wish a plan, the plan a file that takes its name when it is whole.

The work itself is `pipeline.upscale_video`; this module only brings inputs, a work folder and an observer.
"""

from __future__ import annotations

import fcntl
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from upscale_server.cli import options, talk
from upscale_server.cli.loading import load_pass
from upscale_server.cli.outputs import Job, Suffixes, check, jobs_of, make_folder, move_into_place
from upscale_server.cli.progress import Watcher
from upscale_server.cli.session import run_each, session_of
from upscale_server.cli.video_report import record_of, show
from upscale_server.errors import AuditFailed, BadRequest, Interrupted, SourceError, StorageError, UnsupportedFormat
from upscale_server.events import both
from upscale_server.logs import log_event
from upscale_server.models.at_hand import choices_of
from upscale_server.settings import Settings

if TYPE_CHECKING:
    from upscale_server.lessons import Lesson
    from upscale_server.plan import Plan
    from upscale_server.wish import Limits, Wish
    from upscale_server.workers.in_process import InProcess

_PLAN_DIGEST = re.compile(r"[0-9a-f]{16}")
# Suffixes that a folder is searched for; a file that is named is opened whatever it is called.
_VIDEOS = {
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts", ".m2ts", ".mts", ".mpg", ".mpeg", ".vob", ".flv", ".wmv",
    ".asf", ".ogv", ".3gp", ".3g2", ".mxf", ".nut", ".ivf", ".y4m", ".gif", ".264", ".h264", ".265", ".hevc", ".obu",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Run:
    """What all jobs of one command share."""

    inputs: list[Path]
    output: Path | None
    work_dir: Path | None
    overwrite: bool
    as_json: bool
    measured: bool = False


def video(
    context: typer.Context,
    inputs: Annotated[list[Path], typer.Argument(metavar="IN...", help="Videos, or folders of videos.")],
    output: options.Output = None,
    task: options.Task = None,
    to: options.To = None,
    scale: options.Scale = None,
    fit: options.Fit = None,
    model: options.Model = None,
    engine: options.Engine = "auto",
    precision: options.Precision = "auto",
    codec: options.Codec = "hevc",
    crf: options.Crf = None,
    preset: options.Preset = None,
    pixel_format: options.PixelFormat = None,
    decoder: options.Decoder = "cpu",
    start: options.Start = None,
    duration: options.Duration = None,
    threads: options.Threads = 0,
    segment_seconds: options.SegmentSeconds = 10.0,
    quality: options.Measured = False,
    work_dir: options.WorkDir = None,
    overwrite: options.Overwrite = False,
    as_json: options.Json = False,
) -> None:
    """Upscale videos. Stopped work goes on where it was when the same command is given again."""
    from upscale_server.models.at_hand import model_for
    from upscale_server.quality import require_quality
    from upscale_server.wish import Wish

    if quality:
        require_quality()
    settings = session_of(context).settings
    wish = Wish(
        task=task, to=to, scale=scale, fit=fit, model=model_for(engine, model, settings), engine=engine,
        precision=precision, codec=codec, crf=crf, preset=preset, pixel_format=pixel_format, decoder=decoder,
        start_seconds=start, duration_seconds=duration, threads=threads, segment_seconds=segment_seconds,
    )  # fmt: skip
    _upscale_all(_Run(inputs, output, work_dir, overwrite, as_json, quality), wish, settings)


def _upscale_all(run: _Run, wish: Wish, settings: Settings) -> None:
    from upscale_server.calibration import Calibration
    from upscale_server.lessons import Lesson
    from upscale_server.workers.in_process import InProcess

    jobs = jobs_of(run.inputs, run.output, suffixes_for(wish.codec))
    if len(jobs) > 1 and run.output is not None:
        make_folder(run.output)

    def plan(job: Job) -> Plan:
        from upscale_server.plan import make_plan

        check(job, overwrite=run.overwrite)
        wished = replace(wish, container=muxer_of(job.output))
        return make_plan(job.source, wished, limits_of(settings), choices)

    choices, calibration = choices_of(settings), Calibration.in_folder(settings.state_dir)
    load = partial(load_pass, engines=str(choices.builds.folder) if choices.builds else "")
    kept = "run the same command again to go on from the finished segments"
    with InProcess(load, choices.points) as executor:
        run_each(
            jobs,
            lambda job: _upscale(job, Lesson(plan(job), calibration, executor.at_once), executor, run),
            lambda job: str(job.source),
            as_json=run.as_json,
            kept=kept,
        )


def suffixes_for(codec: str) -> Suffixes:
    """Return how videos are found and written: in the source's container where it holds the codec, else Matroska."""
    from upscale_server.media.tracks import CONTAINERS

    holds = {suffix: suffix for suffix, muxer in CONTAINERS.items() if muxer != "webm" or "av1" in codec}
    return Suffixes(found=_VIDEOS, written_as=holds, otherwise=".mkv")


def limits_of(settings: Settings) -> Limits:
    """Return the settings' limits as the plan takes them."""
    from upscale_server import limits

    return limits.limits_of(settings)


def muxer_of(output: Path) -> str:
    """Return the container that an output's suffix stands for.

    Raises:
        UnsupportedFormat: it is none that can be written.
    """
    from upscale_server.media.tracks import CONTAINERS, container_for

    muxer = container_for(output)
    if muxer is None:
        raise UnsupportedFormat(
            f"videos cannot be written as {output.suffix or 'a file without suffix'}; "
            f"expected one of {' '.join(sorted(CONTAINERS))}"
        )
    return muxer


def _upscale(job: Job, lesson: Lesson, executor: InProcess, run: _Run) -> None:
    from upscale_server.pipeline import upscale_video
    from upscale_server.quality import told

    plan = lesson.plan
    root = run.work_dir or job.output.with_name(job.output.name + ".work")
    talk.say(f"{job.source}: {describe(plan)}")
    started = time.monotonic()
    stopped: BaseException | None = None
    quality: dict[str, Any] | None = None
    with Watcher(job.source.name) as watcher:
        with _work_folder(root, plan.digest, root_is_ours=run.work_dir is None) as work:
            result = upscale_video(plan, executor, work, both(lesson, both(watcher, log_event)))
            seconds = time.monotonic() - started
            learned = lesson.end(result, alone=executor.alone)
            move_into_place(result.path, job.output)
        try:
            quality = (
                told(lambda: executor.measure(result.plan, job.output, watcher), watcher) if run.measured else None
            )
        except KeyboardInterrupt as err:
            stopped = err
    record = record_of(job, result, seconds) | learned | ({"quality": quality} if quality else {})
    record["warnings"] = [{"code": code, "detail": detail} for code, detail in watcher.warnings]
    if run.as_json:
        talk.result_json(record)
    else:
        show(record)
    if stopped is not None:
        raise Interrupted("stopped while the quality was measured", hint=f"{job.output} is whole") from stopped


def describe(plan: Plan) -> str:
    """Return a plan as one line: sizes, model and encoder."""
    passes = " ".join(f"×{one.card.scale}" for one in plan.passes)
    encoder = f"{plan.encoder.codec} crf {plan.encoder.crf} {plan.encoder.preset} {plan.encoder.pixel_format}"
    return (
        f"{plan.source.size} to {plan.target}, {plan.frame_count} frames in {len(plan.segments)} segments, "
        f"{plan.model} {passes} ({plan.engine}, {plan.precision}), {encoder}"
    )


@contextmanager
def _work_folder(root: Path, digest: str, *, root_is_ours: bool) -> Iterator[Path]:
    """Give the job's folder for unfinished work, held by this process alone.

    It is removed after success, and after a failure that running again would only repeat. Work that can go on
    (interrupted, disk full) and an output that failed its audit are kept.
    """
    folder = root / digest
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # One run per output: work for it with other options would be removed with the folder at the end.
        lock = ((root if root_is_ours else folder) / "lock").open("w")
    except OSError as err:
        raise StorageError(f"work folder {folder} cannot be made: {(err.strerror or str(err)).lower()}") from err
    keep = False
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as err:
            raise BadRequest(f"another run is working on this in {folder}", hint="wait for it, or stop it") from err
        try:
            yield folder
        except BaseException as err:
            keep = _worth_keeping(err, folder)
            raise
        finally:
            if not keep:
                _remove_work(root, folder, root_is_ours=root_is_ours)


def _remove_work(root: Path, folder: Path, *, root_is_ours: bool) -> None:
    """Remove what runs made, and nothing else: the folder's name may have been the user's before."""
    works = [one for one in root.iterdir() if _PLAN_DIGEST.fullmatch(one.name)] if root_is_ours else [folder]
    for work in works:
        shutil.rmtree(work, ignore_errors=True)
    if root_is_ours:
        (root / "lock").unlink(missing_ok=True)
    with suppress(OSError):  # other files are in it
        root.rmdir()


def _worth_keeping(error: BaseException, folder: Path) -> bool:
    if isinstance(error, (SourceError, BadRequest)):
        return False
    if isinstance(error, AuditFailed):
        return True
    return not isinstance(error, Exception) or any(folder.glob("segment-*.json"))
