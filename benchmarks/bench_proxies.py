"""Asks what it costs that a job can be watched: the same segments with and without their small copies, in turns.

    python -m benchmarks.bench_proxies [--model NAME] [--rounds N]

The bound is for the processor seconds of the copies alone, made in one thread of the same frames: at most 0.03 of those
of the whole without. The ratio of the whole with and without is told beside; it is about the same and spreads more.
`others_cores` says how many cores other programs took meanwhile.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import Spent, others_cores, publish, spent_on
from benchmarks.material import arguments_of, facts_of, loaded
from upscale_server.checkpoint import WorkDir
from upscale_server.events import ignore
from upscale_server.media.decode import decode_segment
from upscale_server.media.types import Tally
from upscale_server.models.luma import FrameUpscaler
from upscale_server.opening import Tools
from upscale_server.pipeline import upscale_segment
from upscale_server.plan import Plan, make_plan
from upscale_server.proxies import shown
from upscale_server.wish import Wish

ALLOWED = 0.03


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and save; the exit code says whether the bound held."""
    parser = arguments_of(__doc__)
    parser.add_argument("--codec", default="hevc")
    options = parser.parse_args(arguments)
    plan = make_plan(options.clip, Wish(scale=2, model=options.model, codec=options.codec))
    result = measure(plan, options.rounds)
    publish("proxies", result)
    return 0 if result["copies_alone"] <= ALLOWED else 1


def measure(plan: Plan, rounds: int) -> dict[str, Any]:
    """Return medians over the rounds; the side that begins changes from round to round."""
    runs: dict[bool, list[Spent]] = {True: [], False: []}
    with loaded(plan) as upscale:
        copy_bytes, _ = _spent(plan, upscale, watched=True)  # the first run pays for what is loaded once
        for number in range(rounds):
            for watched in (number % 2 == 0, number % 2 == 1):
                runs[watched].append(_spent(plan, upscale, watched=watched)[1])
        alone = [_alone(plan, upscale) for _ in range(rounds)]
    processor = [after.processor / before.processor for after, before in zip(runs[True], runs[False], strict=True)]
    wall = [after.wall / before.wall for after, before in zip(runs[True], runs[False], strict=True)]
    return {
        **facts_of(plan),
        "copy_bytes": copy_bytes,
        "processor_seconds": {
            "watched": round(statistics.median(one.processor for one in runs[True]), 3),
            "unwatched": round(statistics.median(one.processor for one in runs[False]), 3),
        },
        "seconds_of_copies_alone": round(statistics.median(alone), 3),
        "copies_alone": round(statistics.median(alone) / statistics.median(one.processor for one in runs[False]), 4),
        "processor_ratio": round(statistics.median(processor), 4),
        "processor_ratio_of_each_round": [round(value, 4) for value in processor],
        "wall_ratio": round(statistics.median(wall), 4),
        "wall_ratio_of_each_round": [round(value, 4) for value in wall],
        "allowed": ALLOWED,
        "others_cores": others_cores(runs[True] + runs[False]),
    }


def _spent(plan: Plan, upscale: FrameUpscaler, *, watched: bool) -> tuple[int, Spent]:
    """Return the bytes of the copies, and what all segments took."""
    with tempfile.TemporaryDirectory() as folder:
        copies = Path(folder) / "proxies"
        work = WorkDir(Path(folder) / "work", plan.digest, copies if watched else None)

        def run() -> None:
            for segment in plan.segments:
                upscale_segment(plan, segment, Tools(upscale), work, ignore)

        spent = spent_on(run)
        return sum(path.stat().st_size for path in copies.rglob("*.mp4")), spent


def _alone(plan: Plan, upscale: FrameUpscaler) -> float:
    """Return the processor seconds of the copies of all segments: everything is done in the thread that shows."""
    spent = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for segment in plan.segments:
            frames = [
                larger for frame in decode_segment(plan.source, segment, Tally()) for larger in upscale([frame])[0]
            ]
            started = time.thread_time()
            with shown(Path(folder), plan, segment) as show:
                for frame in frames:
                    show(frame)
            spent += time.thread_time() - started
    return spent


if __name__ == "__main__":
    sys.exit(main())
