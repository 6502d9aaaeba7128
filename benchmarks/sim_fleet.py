"""Picks the length of segments for a fleet of GPUs, by simulation: what is lost to starts, deaths, and slow nodes?

    python -m benchmarks.sim_fleet [--gpus 100] [--jobs 10000] [--seeds 2] [--load 0.7]

It is calibrated with what was measured (`bench_segments`, `bench_estimate`; `bench_gpu` where it was run) and with
assumptions, which the result tells apart. The length it picks is the shortest one at which a segment's start and
the work lost with nodes take at most 5 % of the useful GPU seconds. The exit code says whether that is half a minute
or less at the documents' pace. What a start takes on a GPU is not known, so the shortest length is reckoned for
several guesses, too. The same seeds give the same numbers on any machine. It takes up to half an hour.

Jobs come before and after those that are counted, each time for a third of the counted time. Waiting times are those
of all seeds together.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

from benchmarks import fleet_jobs
from benchmarks.figures import KINDS, frames_of_a_segment_start, hardness, paces, seconds_of_a_segment_start
from benchmarks.fleet import ORDERS, Costs, Ended, Fleet, Job, Simulation, Spent
from benchmarks.machine import save

LENGTHS = (5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0)
USUAL, MOST = 10.0, 30.0
ALLOWED = 0.05
FILM_SECONDS = 7200.0
AROUND = 1 / 3
"""Of the counted time: so long jobs come before it, and after it."""
ENOUGH = 1000
"""Values of which the 99th of a hundred is told: ten are above it then."""
HARSH = Fleet(
    100, gpus_of_a_node=8, hours_between_failures=24, notice_seconds=13.9, return_seconds=60,
    slow_share=0.1, slow_times=1.5, jitter=0.1,
)  # fmt: skip
"""Assumed, and harsher than most: a node leaves every day, as rented ones do, and one GPU in ten is half as slow again.
13.9 s is what Ray 2.60 took to notice a killed node on loopback, by its defaults."""
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Run:
    """One history: the part of all GPU seconds that the counted jobs ask for, what was spent, and how they ended."""

    load: float
    spent: Spent
    redone: int
    ended: tuple[Ended, ...]

    @property
    def is_overloaded(self) -> bool:
        """Tell whether the fleet gets more work than it can ever do: its queue grows as long as it is watched."""
        return self.load * self.spent.cost >= 1 - self.spent.down / self.spent.capacity


@dataclass(frozen=True, slots=True)
class Setting:
    """What all parts share: jobs that are counted, seeds, the part of the fleet that the jobs ask for, how hard."""

    jobs: int
    seeds: int
    load: float
    hard: list[float]

    def seconds(self, fleet: Fleet, costs: Costs) -> float:
        """Return how long is counted."""
        return self.jobs * fleet_jobs.seconds_between_jobs(costs.work, self.load * fleet.gpus)

    def runs(self, fleet: Fleet, costs: Costs, length: float, order: str = "turns") -> list[Run]:
        """Simulate the same jobs in the same fleet once for each seed, each in a process of its own."""
        with ProcessPoolExecutor(self.seeds) as pool:
            return list(pool.map(partial(self.run, fleet, costs, length, order), range(self.seeds)))

    def run(self, fleet: Fleet, costs: Costs, length: float, order: str, seed: int) -> Run:
        """Simulate one history."""
        counted = self.seconds(fleet, costs)
        since, until, end = AROUND * counted, (1 + AROUND) * counted, (1 + 2 * AROUND) * counted
        jobs = fleet_jobs.mixed_jobs(end, costs.work, self.load * fleet.gpus, seed, self.hard)
        ours = {one.index: one for one in jobs if since <= one.arrives < until}
        work = sum(one.seconds * one.hardness for one in ours.values()) * costs.work
        outcome = Simulation(fleet, costs, length, ORDERS[order], seed).run(jobs, since, until)
        ended = tuple(one for one in outcome.ended if one.job.index in ours)
        return Run(work / (fleet.gpus * counted), outcome.spent, outcome.redone, ended)


def main(arguments: Sequence[str] | None = None) -> int:
    """Simulate, print tables and save; the exit code says whether short segments will do."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpus", type=int, default=100)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--load", type=float, default=0.7)
    options = parser.parse_args(arguments)
    setting = Setting(options.jobs, options.seeds, options.load, hardness())
    found = simulate(setting, replace(HARSH, gpus=options.gpus))
    for title, rows in _tables(found):
        print(f"\n{title}\n{_table(rows)}")
    print(f"\nsegment length to take: {found['picked']}")
    print(f"written to {save('sim_fleet', found)}", file=sys.stderr)
    return 0 if found["held"] else 1


def simulate(setting: Setting, fleet: Fleet) -> dict[str, Any]:  # JSON values
    """Return everything that is asked of the simulation."""
    each = {name: fleet_jobs.costs(one.value) for name, one in paces().items()}
    lengths = {
        name: [_row(setting.runs(fleet, costs, one), seconds=one) for one in LENGTHS] for name, costs in each.items()
    }
    picked = {name: pick(rows) for name, rows in lengths.items()}
    usual = each["documented"]
    return {
        "fleet": asdict(fleet),
        "jobs": setting.jobs, "seeds": setting.seeds, "load": setting.load,
        "calibration": {name: one.as_record() for name, one in fleet_jobs.calibration().items()},
        "seconds_counted": {name: round(setting.seconds(fleet, costs)) for name, costs in each.items()},
        "lengths": lengths,
        "picked": picked,
        "shortest": shortest(),
        "film_alone": film_alone(usual),
        "orders": [_row(setting.runs(fleet, usual, USUAL, order), order=order) for order in ORDERS],
        "failures": [
            _row(setting.runs(replace(fleet, hours_between_failures=hours), usual, length), hours=hours, seconds=length)
            for hours in (math.inf, 24.0, 1.0) for length in (USUAL, 60.0, 300.0)
        ],
        "assumptions": _assumptions(setting, fleet, usual),
        "desks": _desks(setting, fleet, usual),
        "allowed": ALLOWED,
        "held": is_short(picked["documented"]),
    }  # fmt: skip


def pick(rows: Sequence[Row]) -> float | None:
    """Return the shortest length at which starts and lost work take at most `ALLOWED` of the useful seconds."""
    good: list[float] = [
        row["seconds"] for row in rows if row["overhead"] + row["lost"] <= ALLOWED and not row["overloaded"]
    ]
    return min(good, default=None)


def is_short(picked: float | None) -> bool:
    """Tell whether a length was picked that leaves jobs shorter than most clips in one piece."""
    return picked is not None and picked <= MOST


def shortest() -> list[Row]:
    """Return from which length on starts alone take at most `ALLOWED`, by what a start may take on a GPU."""
    rows = list[Row]()
    for pace, fps in paces().items():
        for by in ("wall", "processor"):
            guesses = {
                "as many frames": frames_of_a_segment_start(by).value / fps.value,
                "as many seconds": seconds_of_a_segment_start(by).value,
            }
            for guess, seconds in guesses.items():
                costs = fleet_jobs.costs(fps.value)
                with_store = seconds + fleet_jobs.REQUESTS * fleet_jobs.REQUEST_SECONDS
                each = {"stored": with_store, "hidden": seconds}
                lengths = {name: round(one / (ALLOWED * costs.work), 1) for name, one in each.items()}
                rows.append({"pace": pace, "start": guess, "by": by, "start_seconds": round(seconds, 3), **lengths})
    return rows


def film_alone(costs: Costs) -> list[Row]:
    """Return what part of a fleet without failures one film of two hours keeps at useful work, from first to last."""
    rows = list[Row]()
    for gpus in (10, 100, 1000):
        for length in LENGTHS:
            fleet = replace(HARSH, gpus=gpus, hours_between_failures=math.inf)
            took = (
                Simulation(fleet, replace(costs, finish=0.0), length).run([Job(0, "film", 0.0, FILM_SECONDS)]).makespan
            )
            ideal = FILM_SECONDS * costs.work / gpus
            rows.append({"gpus": gpus, "seconds": length, "took": round(took, 1), "efficiency": round(ideal / took, 3)})
    return rows


def _assumptions(setting: Setting, fleet: Fleet, costs: Costs) -> list[Row]:
    """Return what the fleet would do if it were not as it is assumed to be."""
    others = {
        "as assumed": (setting, fleet),
        "no slow GPUs": (setting, replace(fleet, slow_share=0.0)),
        "all segments alike": (setting, replace(fleet, jitter=0.0)),
        "a load of a half": (replace(setting, load=0.5), fleet),
    }
    return [_row(one.runs(machines, costs, USUAL), fleet=name) for name, (one, machines) in others.items()]


def _desks(setting: Setting, fleet: Fleet, costs: Costs) -> list[Row]:
    """Return how jobs wait for their end where servers have too few desks, just enough, and as many as are wanted."""
    busy = setting.load * fleet.gpus / costs.work * costs.finish
    rows = []
    for desks in [*(math.ceil(busy * times) for times in (0.8, 1.1, 1.5)), None]:
        row = _row(setting.runs(replace(fleet, desks=desks), costs, USUAL), desks=desks, busy=round(busy, 1))
        row["overloaded"] |= desks is not None and desks < busy
        rows.append(row)
    return rows


def _row(runs: Sequence[Run], **named: object) -> Row:
    """Return what matters: parts as medians over the seeds, waiting times of all together."""
    spent = [one.spent for one in runs]
    per_useful = {
        name: statistics.median(getattr(one, name) / one.useful for one in spent)
        for name in ("overhead", "stretched", "lost")
    }
    row: Row = {name: None if value == math.inf else value for name, value in named.items()}
    row["load"] = round(statistics.median(one.load for one in runs), 3)
    row["utilisation"] = round(statistics.median(one.utilisation for one in spent), 3)
    row["overloaded"] = any(one.is_overloaded for one in runs)
    row["down"] = round(statistics.median(one.down / one.capacity for one in spent), 5)
    row |= {name: round(value, 5) for name, value in per_useful.items()}
    row["redone"] = sum(one.redone for one in runs)
    for kind in [one.name for one in KINDS]:
        ends = [end for one in runs for end in one.ended if end.job.kind == kind]
        row[f"{kind}_rendered"] = _percentiles([end.rendered for end in ends])
        row[f"{kind}_finished"] = _percentiles([end.finished for end in ends])
    return row


def _percentiles(seconds: Sequence[float]) -> dict[str, float]:
    parts = (50, 95, 99) if len(seconds) >= ENOUGH else (50, 95)
    return {f"p{part}": round(percentile(seconds, part), 1) for part in parts} if seconds else {}


def percentile(values: Sequence[float], part: int) -> float:
    """Return the value that so many of a hundred do not exceed."""
    return sorted(values)[max(0, math.ceil(len(values) * part / 100) - 1)]


def _tables(found: dict[str, Any]) -> Iterator[tuple[str, list[Row]]]:
    for pace, rows in found["lengths"].items():
        yield f"segment length, at the pace {pace}", rows
    yield "one film of two hours alone, at the pace documented", found["film_alone"]
    for part in ("shortest", "orders", "failures", "assumptions", "desks"):
        yield part, found[part]


def _table(rows: Sequence[Row]) -> str:
    """Return rows as text; of waiting times the median, the 95th and, where there are enough, the 99th of a hundred."""

    def cell(value: object) -> str:
        return "/".join(f"{one:.0f}" for one in value.values()) if isinstance(value, dict) else str(value)

    lines = [list(rows[0]), *([cell(value) for value in row.values()] for row in rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(lines[0]))]
    return "\n".join("  ".join(text.rjust(width) for text, width in zip(line, widths, strict=True)) for line in lines)


if __name__ == "__main__":
    sys.exit(main())
