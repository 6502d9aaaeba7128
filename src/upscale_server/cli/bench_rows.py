"""One row of `upscale bench`: a model on an engine through the real path, in a process of its own.

A process of its own has a peak of memory of its own, and one that hangs is ended. What the rows are and how they are
shown is `bench`'s business.
"""

from __future__ import annotations

import multiprocessing
import resource
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from upscale_server.cli.check_codecs import CLIP
from upscale_server.errors import UpscaleError

if TYPE_CHECKING:
    from upscale_server.plan import Plan
    from upscale_server.workers.in_process import InProcess

ENCODER = "encoder alone"
"""The model of the row without one: frames that are ready are only encoded."""
MOST_FRAMES = 30
LEAST_FRAMES = 2
_RUN_SECONDS = 1.0
"""Length of a run that is aimed at: long against starting threads, short enough for a table in a minute."""
_BUDGET_SECONDS = 4.0
_RUNS = (3, 5)
LIMIT_SECONDS = 120.0
"""When a row is given up: a network so slow is of no use for video here."""


@dataclass(frozen=True, slots=True)
class Row:
    """What is measured; `choices` is where paces are remembered, as for any job."""

    model: str
    scale: int
    engine: str = "auto"
    precision: str = "auto"
    choices: Path | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it: the speed of each run in frames per second, or why there is none."""

    rates: tuple[float, ...] = ()
    frames: int = 0
    memory_bytes: int = 0
    engine: str = ""
    precision: str = ""
    source: str = ""
    target: str = ""
    encoder: str = ""
    fault: str = ""

    @property
    def rate(self) -> float:
        """Return the median of the runs, 0 where there is none."""
        return statistics.median(self.rates) if self.rates else 0.0

    @property
    def spread(self) -> float | None:
        """Return how far the runs lie apart, as a part of their median; None of a single run."""
        return (max(self.rates) - min(self.rates)) / self.rate if len(self.rates) > 1 else None


def measured(row: Row, limit_seconds: float = LIMIT_SECONDS) -> Outcome:
    """Measure a row in a process of its own; a fault is an outcome.

    What it writes lies in a folder of ours: a process that is ended cannot remove its own.
    """
    with TemporaryDirectory(prefix="upscale-bench-") as folder:
        return _measured_in(Path(folder), row, limit_seconds)


def _measured_in(folder: Path, row: Row, limit_seconds: float) -> Outcome:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    child = context.Process(target=_work, args=(theirs, row, folder), name="bench", daemon=True)
    try:
        child.start()
        theirs.close()
        if not ours.poll(limit_seconds):
            return Outcome(fault=f"gave no figure within {limit_seconds:g} s")
        found = ours.recv()
        return found if isinstance(found, Outcome) else Outcome(fault="gave no figure")
    except EOFError:
        child.join()
        return Outcome(fault=f"its process ended with {child.exitcode}")
    finally:
        if child.pid is not None:
            child.kill()
            child.join()
        ours.close()


def _work(pipe: Connection, row: Row, folder: Path) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches it as well; who started it ends it, without a trace
    tempfile.tempdir = str(folder)  # what the engines put aside goes with it
    try:
        outcome = _encoder_alone(row, folder) if row.model == ENCODER else _through_the_pipeline(row, folder)
    except UpscaleError as err:
        outcome = Outcome(fault=err.detail)
    pipe.send(replace(outcome, memory_bytes=_peak_bytes()))


def _through_the_pipeline(row: Row, folder: Path) -> Outcome:
    """Decode, upscale and encode the beginning of the clip, as a job does."""
    from upscale_server.cli.loading import load_pass
    from upscale_server.workers.in_process import InProcess

    plan = _plan(row)
    with InProcess(load_pass) as executor:
        _run(executor, _shortened(plan, LEAST_FRAMES), folder)  # loads the model and compiles its shape
        frame_seconds = _run(executor, _shortened(plan, LEAST_FRAMES), folder) / LEAST_FRAMES
        frames = min(MOST_FRAMES, max(LEAST_FRAMES, int(_RUN_SECONDS / frame_seconds)))
        short = _shortened(plan, frames)
        return _outcome(plan, frames, _repeated(lambda: _run(executor, short, folder)))


def _encoder_alone(row: Row, folder: Path) -> Outcome:
    """Encode frames of the size that the networks give, which are ready before the clock starts."""
    from upscale_server.media.decode import decode_segment
    from upscale_server.media.encode import SegmentWriter
    from upscale_server.media.types import Tally
    from upscale_server.models.load import load
    from upscale_server.models.luma import FrameUpscaler

    plan = _shortened(_plan(replace(row, model="bicubic", engine="auto", precision="auto")), MOST_FRAMES)
    with closing(load(plan.passes[0].card)) as upscaler:
        upscale = FrameUpscaler((upscaler,), plan.picture, plan.target, plan.source.colour)
        decoded = decode_segment(plan.source, plan.segments[0], Tally())
        frames = [larger for frame in decoded for larger in upscale([frame])[0]]

        def encode() -> float:
            started = time.perf_counter()
            with SegmentWriter(folder / "encoded.mkv", plan.encoder, plan.spec) as writer:
                for frame in frames:
                    writer.write(frame)
                writer.finish()
            return time.perf_counter() - started

        outcome = _outcome(plan, len(frames), _repeated(encode))
        return replace(outcome, engine="none", precision="")


def _plan(row: Row) -> Plan:
    from upscale_server.models.choices import Choices
    from upscale_server.plan import make_plan
    from upscale_server.wish import Wish

    wish = Wish(scale=row.scale, model=row.model, engine=row.engine, precision=row.precision)
    return make_plan(CLIP, wish, None, None if row.choices is None else Choices(row.choices))


def _shortened(plan: Plan, frames: int) -> Plan:
    """Return the plan of the clip's first frames alone."""
    step = round(1 / (plan.source.average_rate * plan.source.time_base))
    first = replace(plan.segments[0], end_pts=(plan.first_pts or 0) + frames * step)
    return replace(plan, segments=(first,))


def _run(executor: InProcess, plan: Plan, folder: Path) -> float:
    """Return the seconds of one run; nothing of an earlier one is used."""
    from upscale_server.checkpoint import WorkDir
    from upscale_server.events import ignore

    started = time.perf_counter()
    for _done in executor.run(plan, plan.segments, WorkDir(folder, plan.digest), ignore):
        pass
    return time.perf_counter() - started


def _repeated(run: Callable[[], float]) -> tuple[float, ...]:
    """Return the seconds of several runs: at least three, unless they take too long, at most five."""
    seconds: list[float] = []
    least, most = _RUNS
    until = time.perf_counter() + _BUDGET_SECONDS
    while len(seconds) < most and (not seconds or time.perf_counter() < until):
        if len(seconds) >= least and sum(seconds) > _BUDGET_SECONDS / 2:
            break
        seconds.append(run())
    return tuple(seconds)


def _outcome(plan: Plan, frames: int, seconds: tuple[float, ...]) -> Outcome:
    return Outcome(
        rates=tuple(frames / one for one in seconds),
        frames=frames,
        engine=plan.engine,
        precision=plan.precision,
        source=str(plan.source.size),
        target=str(plan.target),
        encoder=f"{plan.encoder.codec} {plan.encoder.preset} crf {plan.encoder.crf}",
    )


def _peak_bytes() -> int:
    """Return the most memory that this process has had; Linux counts in KiB, macOS in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
