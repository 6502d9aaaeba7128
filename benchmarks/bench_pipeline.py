"""Asks whether the stages of a segment really overlap: the whole may take hardly longer than its slowest part.

    python -m benchmarks.bench_pipeline [--model NAME] [--rounds N]

It times decode, upscale and encode alone on the same frames as the pipeline, in one process, in turns. The bound is
1.15 x max(slowest stage alone, processor seconds of all stages / cores): the first holds where one stage has no
more parallelism, the second where all cores are busy. `others_cores` says how many cores other programs took
meanwhile (from /proc/stat): above a few hundredths the ratio says more about them than about us.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import Spent, others_cores, publish, spent_on, usable_cores
from benchmarks.material import arguments_of, facts_of, loaded
from upscale_server.checkpoint import WorkDir
from upscale_server.events import ignore
from upscale_server.media.decode import decode_segment
from upscale_server.media.encode import SegmentWriter
from upscale_server.media.types import Frame, Tally
from upscale_server.models.luma import FrameUpscaler
from upscale_server.opening import Tools
from upscale_server.ordered import batched, map_in_order
from upscale_server.pipeline import upscale_segment
from upscale_server.plan import Plan, make_plan
from upscale_server.wish import Wish

ALLOWED = 1.15


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and save; the exit code says whether the bound held."""
    options = arguments_of(__doc__).parse_args(arguments)
    plan = make_plan(options.clip, Wish(scale=2, model=options.model))
    result = measure(plan, options.rounds)
    publish(f"pipeline_{plan.model}", result)
    return 0 if result["ratio"] <= ALLOWED else 1


def measure(plan: Plan, rounds: int) -> dict[str, Any]:
    """Return medians over the rounds; every round runs each stage alone and then the whole."""
    with loaded(plan) as upscale:
        decoded = _decoded(plan)
        larger = _upscaled(plan, upscale, decoded)
        work: dict[str, Callable[[], object]] = {
            "decode": lambda: _drain_decoder(plan),
            "upscale": lambda: _upscaled(plan, upscale, decoded),
            "encode": lambda: _encode(plan, larger),
            "pipeline": lambda: _whole(plan, upscale),
        }
        spent: dict[str, list[Spent]] = {name: [] for name in work}
        for _ in range(rounds):
            for name, do in work.items():
                spent[name].append(spent_on(do))
    return _judged(plan, spent)


def _judged(plan: Plan, spent: dict[str, list[Spent]]) -> dict[str, Any]:
    alone = [name for name in spent if name != "pipeline"]
    wall = {name: statistics.median(one.wall for one in runs) for name, runs in spent.items()}
    processor = {name: statistics.median(one.processor for one in runs) for name, runs in spent.items()}
    bound = max(*(wall[name] for name in alone), sum(processor[name] for name in alone) / usable_cores())
    ratios = [_ratio(spent, place, alone) for place in range(len(spent["pipeline"]))]
    return {
        **facts_of(plan),
        "wall_seconds": {name: round(value, 3) for name, value in wall.items()},
        "processor_seconds": {name: round(value, 3) for name, value in processor.items()},
        "frames_per_second": round(plan.frame_count / wall["pipeline"], 1),
        "bound_seconds": round(bound, 3),
        "ratio": round(statistics.median(ratios), 3),
        "ratio_of_each_round": [round(value, 3) for value in ratios],
        "allowed": ALLOWED,
        "others_cores": others_cores([one for runs in spent.values() for one in runs]),
    }


def _ratio(spent: dict[str, list[Spent]], place: int, alone: list[str]) -> float:
    """Return one round's ratio: both sides of it met the same other load on the machine."""
    runs = [spent[name][place] for name in alone]
    bound = max(*(one.wall for one in runs), sum(one.processor for one in runs) / usable_cores())
    return spent["pipeline"][place].wall / bound


def _decoded(plan: Plan) -> list[list[Frame]]:
    return [
        list(decode_segment(plan.source, segment, Tally(), threads=plan.decoder_threads)) for segment in plan.segments
    ]


def _drain_decoder(plan: Plan) -> int:
    return sum(
        1
        for segment in plan.segments
        for _ in decode_segment(plan.source, segment, Tally(), threads=plan.decoder_threads)
    )


def _upscaled(plan: Plan, upscale: FrameUpscaler, segments: list[list[Frame]]) -> list[list[Frame]]:
    result = []
    for frames in segments:
        batches = batched(iter(frames), plan.batch)
        done = map_in_order(upscale, batches, workers=plan.lanes, ahead=plan.lanes)
        result.append([frame for larger, _ in done for frame in larger])
    return result


def _encode(plan: Plan, segments: list[list[Frame]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for place, frames in enumerate(segments):
            with SegmentWriter(Path(folder) / f"{place}.mkv", plan.encoder, plan.spec) as writer:
                for frame in frames:
                    writer.write(frame)
                writer.finish()


def _whole(plan: Plan, upscale: FrameUpscaler) -> None:
    with tempfile.TemporaryDirectory() as folder:
        work = WorkDir(Path(folder), plan.digest)
        for segment in plan.segments:
            upscale_segment(plan, segment, Tools(upscale), work, ignore)


if __name__ == "__main__":
    sys.exit(main())
