"""Asks what it costs that strangers' bytes are opened in a cage: the same segments decoded there and here, in turns.

    python -m benchmarks.bench_cage [--model NAME] [--rounds N]

The bound is for the wall seconds of a whole upscaling, probe included: at most 1.05 of those without a cage. The
processor seconds are those that the whole machine spent meanwhile, since an inmate's are counted nowhere else.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from benchmarks.machine import busy_seconds, publish
from benchmarks.material import arguments_of, facts_of, loaded
from upscale_server.cage import Cage
from upscale_server.checkpoint import WorkDir
from upscale_server.events import ignore
from upscale_server.media.look import Looked, look_at
from upscale_server.models.luma import FrameUpscaler
from upscale_server.opening import Tools
from upscale_server.pipeline import upscale_segment
from upscale_server.plan import Plan, make_plan
from upscale_server.wish import Wish

ALLOWED = 1.05

Timed = tuple[float, float]
"""Wall seconds, and processor seconds of the whole machine."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and save; the exit code says whether the bound held."""
    options = arguments_of(__doc__).parse_args(arguments)
    plan = make_plan(options.clip, Wish(scale=2, model=options.model))
    with closing(Cage(("upscale_server.media.look",))) as cage:
        result = measure(plan, cage, options.rounds)
    publish("cage", result)
    return 0 if result["wall_ratio"] <= ALLOWED else 1


def measure(plan: Plan, cage: Cage, rounds: int) -> dict[str, Any]:
    """Return medians over the rounds; the side that begins changes from round to round."""
    runs: dict[bool, list[Timed]] = {True: [], False: []}
    source = Path(plan.source.path)
    with loaded(plan) as upscale:
        _whole(plan, upscale, cage)  # the first run pays for what is loaded once
        for number in range(rounds):
            for caged in (number % 2 == 0, number % 2 == 1):
                runs[caged].append(_whole(plan, upscale, cage if caged else None))
    looks = [_timed(lambda: cage.call(look_at, source, kind=Looked))[0] for _ in range(rounds * 4)]
    looks_here = [_timed(lambda: look_at(source))[0] for _ in range(rounds * 4)]
    walls = [there[0] / here[0] for there, here in zip(runs[True], runs[False], strict=True)]
    busy = [there[1] / here[1] for there, here in zip(runs[True], runs[False], strict=True)]
    return {
        **facts_of(plan),
        "wall_seconds": {
            "caged": round(statistics.median(one[0] for one in runs[True]), 3),
            "here": round(statistics.median(one[0] for one in runs[False]), 3),
        },
        "wall_ratio": round(statistics.median(walls), 4),
        "wall_ratio_of_each_round": [round(value, 4) for value in walls],
        "processor_ratio": round(statistics.median(busy), 4),
        "processor_ratio_of_each_round": [round(value, 4) for value in busy],
        "probe_ms": {
            "caged": round(1000 * statistics.median(looks), 1),
            "here": round(1000 * statistics.median(looks_here), 1),
        },
        "locks": {"own_network": cage.locks.own_network, "calls_refused": cage.locks.calls_refused},
        "allowed": ALLOWED,
    }


def _whole(plan: Plan, upscale: FrameUpscaler, cage: Cage | None) -> Timed:
    """Time a look and all segments, with the source opened in a cage or here."""
    source = Path(plan.source.path)
    tools = Tools(upscale) if cage is None else Tools(upscale, cage.frames)
    with tempfile.TemporaryDirectory() as folder:
        work = WorkDir(Path(folder), plan.digest)

        def run() -> None:
            look_at(source) if cage is None else cage.call(look_at, source, kind=Looked)
            for segment in plan.segments:
                upscale_segment(plan, segment, tools, work, ignore)

        return _timed(run)


def _timed(run: Callable[[], object]) -> Timed:
    wall, busy = time.perf_counter(), busy_seconds()
    run()
    return time.perf_counter() - wall, busy_seconds() - busy


if __name__ == "__main__":
    sys.exit(main())
