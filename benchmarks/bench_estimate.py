"""Asks how right the estimates are: ten different clips, each predicted, done, and held against what was said.

    python -m benchmarks.bench_estimate [--clips FOLDER] [--codec hevc] [--processor-time]

It begins as a new installation does, with nothing known. Each clip is predicted twice: by its own pieces, as
`upscale plan --measure` does, and by the finished jobs before it alone. The bounds are a median error of 15 % of time
and of size, for what was measured. Time is worth something on a quiet machine only; `others_cores` says how many cores
other programs took meanwhile. `--processor-time` counts the seconds of our own processor time in place of the wall's:
it says how good the formula is on a machine that is not quiet, and not what a user will see.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.machine import busy_seconds, save
from upscale_server import bystanders, pieces
from upscale_server.calibration import Calibration
from upscale_server.cli.loading import load_pass
from upscale_server.estimate import Estimate, estimate_of
from upscale_server.events import ignore
from upscale_server.lessons import Lesson
from upscale_server.models.choices import Choices
from upscale_server.pipeline import upscale_video
from upscale_server.plan import Plan, make_plan
from upscale_server.wish import Wish
from upscale_server.workers.in_process import InProcess

CLIPS = Path(__file__).parents[2] / "shared" / "clips"
BUNDLED = Path(__file__).parents[1] / "src" / "upscale_server" / "clips" / "nasa.mp4"
ALLOWED = 0.15
COUNT = 10
LARGE_PIXELS = 500_000
SECONDS, LARGE_SECONDS = 10.0, 4.0
"""Of a clip that are upscaled; of large pictures fewer, so that one clip does not take as long as all others."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What all clips share: where jobs are learned from, what runs them, and which clock counts."""

    calibration: Calibration
    executor: InProcess
    choices: Choices
    clock: Callable[[], float]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and save; the exit code says whether the bounds held."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, default=CLIPS, help="a folder of videos; default: ../shared/clips")
    parser.add_argument("--codec", default="hevc")
    parser.add_argument("--processor-time", action="store_true")
    options = parser.parse_args(arguments)
    clock = time.process_time if options.processor_time else time.monotonic
    pieces._Clock = partial(pieces._Clock, now=clock)  # type: ignore[assignment,misc] # noqa: SLF001 - the clock is its only secret
    if options.processor_time:  # others do not take ours: what is learned beside them counts, too
        bystanders.spent_now = lambda: None
    rows = list(measured_rows(list(wishes(options.clips, options.codec)), clock))
    result = judged(rows) | {"clock": "processor" if options.processor_time else "wall", "codec": options.codec}
    name = "estimate" if options.codec == "hevc" else f"estimate_{options.codec}"
    path = save(f"{name}_processor" if options.processor_time else name, result)
    print(json.dumps(result, indent=2))
    print(f"written to {path}", file=sys.stderr)
    return 0 if all(error <= ALLOWED for error in result["median_error"]["measured"].values()) else 1


def wishes(folder: Path, codec: str) -> Iterator[tuple[Path, Wish]]:
    """Yield ten clips and what is asked for: real ones, or windows of the bundled one at both scales."""
    found = sorted(folder.glob("*.mp4"))[:COUNT]
    for path in found:
        yield path, Wish(scale=2, codec=codec)
    for place in range(COUNT - len(found)):
        start, scale = 0.35 * (place // 2), 2 + 2 * (place % 2)
        yield BUNDLED, Wish(scale=scale, codec=codec, start_seconds=start, duration_seconds=3.0)


def measured_rows(asked: Sequence[tuple[Path, Wish]], clock: Callable[[], float]) -> Iterator[dict[str, Any]]:
    """Yield what was said and what was true of each clip, one after the other."""
    with tempfile.TemporaryDirectory() as folder:
        choices = Choices(Path(folder) / "choices.json")
        with InProcess(load_pass, choices.points) as executor:
            machine = Machine(Calibration.in_folder(Path(folder)), executor, choices, clock)
            for place, (path, wish) in enumerate(asked):
                row = _row(_plan(path, wish, machine), machine, Path(folder) / f"work-{place}")
                print(json.dumps(row), file=sys.stderr, flush=True)
                yield row


def _plan(path: Path, wish: Wish, machine: Machine) -> Plan:
    plan = make_plan(path, wish, choices=machine.choices)
    seconds = LARGE_SECONDS if plan.source.size.pixels > LARGE_PIXELS else SECONDS
    if wish.duration_seconds is not None or plan.source.duration_seconds <= seconds:
        return plan
    return make_plan(path, replace(wish, start_seconds=0.0, duration_seconds=seconds), choices=machine.choices)


def _row(plan: Plan, machine: Machine, work: Path) -> dict[str, Any]:
    """Predict a clip, do it, and return both."""
    by_jobs = estimate_of(plan, machine.calibration)
    wall, busy, own = time.monotonic(), busy_seconds(), time.process_time()
    plan, measured = pieces.measure_pieces(plan, machine.executor, work, ignore)
    if measured is not None:
        machine.calibration.keep_measured(plan, measured)
    took = time.monotonic() - wall
    by_pieces = estimate_of(plan, machine.calibration, measured)
    lesson = Lesson(plan, machine.calibration, clock=machine.clock)
    result = upscale_video(plan, machine.executor, work, lesson)
    actual = lesson.end(result, alone=True)["actual"]
    others = busy_seconds() - busy - (time.process_time() - own)
    return {
        "clip": Path(plan.source.path).name,
        "size": f"{plan.source.size} to {plan.target}",
        "frames": plan.frame_count,
        "actual": actual,
        "measured": _said(by_pieces, actual),
        "calibrated": _said(by_jobs, actual),
        "measuring_seconds": round(took, 1),
        "others_cores": round(max(0.0, others) / (time.monotonic() - wall), 2),
    }


def _said(estimate: Estimate, actual: dict[str, float]) -> dict[str, Any]:
    return {
        "seconds": estimate.seconds,
        "byte_count": estimate.byte_count,
        "basis": {"seconds": estimate.basis.seconds, "byte_count": estimate.basis.byte_count},
        "seconds_error": _error(estimate.seconds, actual["seconds"]),
        "byte_count_error": _error(estimate.byte_count, actual["byte_count"]),
    }


def _error(said: float | None, actual: float) -> float | None:
    return None if said is None else round(said / actual - 1, 3)


def judged(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the medians of the errors, of what was measured and of what finished jobs alone said."""
    return {
        "clips": len(rows),
        "median_error": {kind: _medians(rows, kind) for kind in ("measured", "calibrated")},
        "allowed": ALLOWED,
        "others_cores": round(statistics.mean(row["others_cores"] for row in rows), 2),
        "rows": list(rows),
    }


def _medians(rows: Sequence[dict[str, Any]], kind: str) -> dict[str, float]:
    """Return the median error of time, where a job or a piece had shown it, and of size."""
    earnest = ("measured", "calibrated")
    times = [row[kind]["seconds_error"] for row in rows if row[kind]["basis"]["seconds"] in earnest]
    sizes = [row[kind]["byte_count_error"] for row in rows]
    return {
        name: round(statistics.median(abs(error) for error in errors), 3)
        for name, errors in (("seconds", times), ("byte_count", sizes))
        if errors
    }


if __name__ == "__main__":
    sys.exit(main())
