"""Asks what a segment costs beside its frames, and what the end of a job costs: what the length of segments rests on.

    python -m benchmarks.bench_segments [--model NAME] [--rounds N] [--clip-seconds 20]

One clip is cut into segments of several lengths and done in one process, in turns. What each further segment adds, to
the wall's seconds, to the processor's and to the output's bytes, is the slope of a straight line through them. The
bound: at ten seconds, which a plan takes by itself, at most 5 % of the processor's seconds of a segment.

`finish` is joining and auditing, which one server does for a whole job: here, and for a few frames of 3840x2160 that
Lanczos made. `travels` is what an order and its answer weigh on the way to another machine and back, as pickles.
"""

from __future__ import annotations

import pickle
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import Spent, others_cores, publish, spent_on
from benchmarks.material import RATE, arguments_of, clip_of, facts_of, loaded
from upscale_server.checkpoint import Done, WorkDir
from upscale_server.events import ignore
from upscale_server.media.types import Size
from upscale_server.models.luma import FrameUpscaler
from upscale_server.opening import Tools
from upscale_server.pipeline import finish_video, upscale_segment
from upscale_server.plan import Plan, make_plan
from upscale_server.wish import Wish
from upscale_server.workers.messages import RunSegment

LENGTHS = (1.0, 2.5, 5.0, 10.0, 20.0)
USUAL = 10.0
SOURCE = Size(480, 270)
LARGE, LARGE_FRAMES = Size(1920, 1080), 48
ALLOWED = 0.05


@dataclass(frozen=True, slots=True)
class Run:
    """All segments of a plan done once: what that took, and what they are."""

    spent: Spent
    done: tuple[Done, ...]

    @property
    def byte_count(self) -> int:
        """Return the bytes of all segments."""
        return sum(one.byte_count for one in self.done)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and save; the exit code says whether the bound held."""
    parser = arguments_of(__doc__)
    parser.set_defaults(rounds=3)
    parser.add_argument("--clip-seconds", type=int, default=20)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip = clip_of(folder / "clip.mp4", SOURCE, options.clip_seconds * RATE)
        plans = {
            length: make_plan(clip, Wish(scale=2, model=options.model, segment_seconds=length)) for length in LENGTHS
        }
        result = measure(plans, folder, options.rounds)
        large = make_plan(clip_of(folder / "large.mp4", LARGE, LARGE_FRAMES), Wish(scale=2, model="lanczos"))
        result["finish_large"] = _finish_of(large, folder / "large", options.rounds)
    publish("segments", result)
    return 0 if result["held"] else 1


def measure(plans: dict[float, Plan], folder: Path, rounds: int) -> dict[str, Any]:
    """Return medians over the rounds; every round does the clip in segments of each length."""
    usual, runs = plans[USUAL], {length: list[Run]() for length in plans}
    began = time.perf_counter()
    with loaded(usual) as upscale:
        load_seconds = time.perf_counter() - began
        run_of(usual, upscale, folder / "warm")
        for number in range(rounds):
            for length, plan in plans.items():
                runs[length].append(run_of(plan, upscale, folder / f"{number}-{length}"))
        finish = _finish_of(usual, folder / "finish", rounds, upscale)
    wall = [statistics.median(one.spent.wall for one in each) for each in runs.values()]
    processor = [statistics.median(one.spent.processor for one in each) for each in runs.values()]
    further = {
        "wall_seconds": _slope(runs, wall),
        "processor_seconds": _slope(runs, processor),
        "bytes": _slope(runs, [each[0].byte_count for each in runs.values()]),
    }
    place, number = list(plans).index(USUAL), len(usual.segments)
    part = {
        "wall": further["wall_seconds"] * number / wall[place],
        "processor": further["processor_seconds"] * number / processor[place],
    }
    return {
        **facts_of(usual),
        "source_bytes": Path(usual.source.path).stat().st_size,
        "load_seconds": round(load_seconds, 3),
        "lengths": {f"{length:g} s": _row(each) for length, each in runs.items()},
        "a_further_segment": {name: round(value, 4) for name, value in further.items()},
        "part_of_a_usual_segment": {name: round(value, 4) for name, value in part.items()},
        "finish": finish,
        "travels": _travels(usual, runs[USUAL][0].done[0]),
        "allowed": ALLOWED,
        "held": part["processor"] <= ALLOWED,
        "others_cores": others_cores([one.spent for each in runs.values() for one in each]),
    }


def run_of(plan: Plan, upscale: FrameUpscaler, folder: Path) -> Run:
    """Do all segments of a plan."""
    work, done = WorkDir(folder, plan.digest), list[Done]()
    tools = Tools(upscale)

    def run() -> None:
        done.extend(upscale_segment(plan, one, tools, work, ignore) for one in plan.segments)

    return Run(spent_on(run), tuple(done))


def _finish_of(plan: Plan, folder: Path, rounds: int, upscale: FrameUpscaler | None = None) -> dict[str, Any]:
    """Return what joining and auditing a plan's output takes, as medians."""
    if upscale is None:
        with loaded(plan) as own:
            return _finish_of(plan, folder, rounds, own)
    done = run_of(plan, upscale, folder).done
    work = WorkDir(folder, plan.digest)
    spent = [spent_on(lambda: finish_video(plan, done, work, ignore)) for _ in range(rounds)]
    wall = statistics.median(one.wall for one in spent)
    processor = statistics.median(one.processor for one in spent)
    megapixels = plan.frame_count * plan.target.pixels / 1e6
    return {
        "size": str(plan.target),
        "frames": plan.frame_count,
        "wall_seconds": round(wall, 3),
        "processor_seconds": round(processor, 3),
        "frames_per_second": round(plan.frame_count / wall, 1),
        "processor_seconds_per_output_megapixel": round(processor / megapixels, 5),
    }


def _row(runs: list[Run]) -> dict[str, Any]:
    return {
        "segments": len(runs[0].done),
        "wall_seconds": round(statistics.median(one.spent.wall for one in runs), 3),
        "wall_seconds_of_rounds": [round(one.spent.wall, 3) for one in runs],
        "processor_seconds": round(statistics.median(one.spent.processor for one in runs), 3),
        "decode_seconds": round(statistics.median(sum(d.decode_seconds for d in one.done) for one in runs), 3),
        "bytes": runs[0].byte_count,
    }


def _slope(runs: dict[float, list[Run]], values: Sequence[float]) -> float:
    """Return what one more segment adds: the slope of the straight line nearest to all."""
    counts = [len(each[0].done) for each in runs.values()]
    return float(np.polyfit(counts, values, 1)[0])


def _travels(plan: Plan, done: Done) -> dict[str, int]:
    order = RunSegment(plan, plan.segments[0], Path("work"), None)
    return {"order_bytes": len(pickle.dumps(order)), "answer_bytes": len(pickle.dumps(done))}


if __name__ == "__main__":
    sys.exit(main())
