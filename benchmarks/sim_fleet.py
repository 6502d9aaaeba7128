"""Picks the length of segments for a fleet of GPUs, by simulation: what is lost to starts, deaths, and slow nodes?

    python -m benchmarks.sim_fleet [--gpus 100] [--jobs 1500] [--seeds 3] [--load 0.7]

It is calibrated with what was measured (`bench_segments`, `bench_estimate`; `bench_gpu` where it was run) and with
assumptions, which the result tells apart. The length it picks is the shortest one at which a segment's start and
the work lost with nodes take at most 5 % of the useful GPU seconds: a longer one gains less than that, and every job
waits longer for its last segment. A start is told in the wall's and in the processor's seconds, and so are the picks.
The exit code says whether there is such a length each time. The same seeds give the same numbers on any machine.

A quarter of the time goes by before anything is counted. Waiting times are those of all seeds together.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from benchmarks import fleet_jobs
from benchmarks.figures import KINDS, hardness, paces
from benchmarks.fleet import ORDERS, Costs, Fleet, Job, Outcome, Simulation
from benchmarks.machine import save

LENGTHS = (2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0)
USUAL = 10.0
ALLOWED = 0.05
FILM_SECONDS = 7200.0
WARM_PART = 0.25
"""Of the time in which jobs come: what comes first finds an empty fleet and is not counted."""
DESK_SECONDS = 60_000.0
"""In which jobs come where desks are looked at: several times what one long film's audit takes."""
HARSH = Fleet(
    100, gpus_of_a_node=8, hours_between_failures=24, notice_seconds=13.9, return_seconds=60,
    slow_share=0.1, slow_times=1.5, jitter=0.1,
)  # fmt: skip
"""Assumed, and harsher than most: a node leaves every day, as rented ones do, and one GPU in ten is half as slow again.
13.9 s is what Ray 2.60 took to notice a killed node on loopback, by its defaults."""
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Run:
    """One history: the jobs that came while it was counted, the part of the GPUs that they asked for, the outcome."""

    counted: frozenset[int]
    asked: float
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Setting:
    """What all parts share: jobs that are counted, seeds, the part of the fleet that the jobs ask for, how hard."""

    jobs: int
    seeds: int
    load: float
    hard: list[float]

    def runs(self, fleet: Fleet, costs: Costs, length: float, order: str = "turns") -> list[Run]:
        """Simulate the same jobs in the same fleet once for each seed."""
        busy = self.load * fleet.gpus
        until = self.jobs * fleet_jobs.seconds_between_jobs(costs.work, busy) / (1 - WARM_PART)
        since = WARM_PART * until
        found = []
        for seed in range(self.seeds):
            jobs = fleet_jobs.mixed_jobs(until, costs.work, busy, seed, self.hard)
            counted = [one for one in jobs if one.arrives >= since]
            asked = sum(one.seconds * one.hardness for one in counted) * costs.work / (fleet.gpus * (until - since))
            outcome = Simulation(fleet, costs, length, ORDERS[order], seed).run(jobs, since, until)
            found.append(Run(frozenset(one.index for one in counted), asked, outcome))
        return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Simulate, print tables and save; the exit code says whether there is a length to pick each time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpus", type=int, default=100)
    parser.add_argument("--jobs", type=int, default=1500)
    parser.add_argument("--seeds", type=int, default=3)
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
    each = {
        f"{name}, start by {by} seconds": fleet_jobs.costs(one.value, by)
        for name, one in paces().items()
        for by in ("wall", "processor")
    }
    each["asked, start by processor seconds, store's waits hidden"] = fleet_jobs.costs(
        paces()["asked"].value, "processor", requests=0
    )
    lengths = {
        name: [_row(setting.runs(fleet, costs, one), seconds=one) for one in LENGTHS] for name, costs in each.items()
    }
    picked = {name: pick(rows) for name, rows in lengths.items()}
    usual = fleet_jobs.costs(paces()["documented"].value)
    return {
        "fleet": asdict(fleet),
        "jobs": setting.jobs, "seeds": setting.seeds, "load": setting.load, "warm_part": WARM_PART,
        "calibration": {name: one.as_record() for name, one in fleet_jobs.calibration().items()},
        "seconds_counted": {
            name: round(setting.jobs * fleet_jobs.seconds_between_jobs(costs.work, setting.load * fleet.gpus))
            for name, costs in each.items()
        },
        "lengths": lengths,
        "picked": picked,
        "film_alone": film_alone(usual),
        "orders": [_row(setting.runs(fleet, usual, USUAL, order), order=order) for order in ORDERS],
        "failures": [
            _row(setting.runs(replace(fleet, hours_between_failures=hours), usual, length), hours=hours, seconds=length)
            for hours in (math.inf, 24.0, 1.0) for length in (USUAL, 60.0, 300.0)
        ],
        "assumptions": _assumptions(setting, fleet, usual),
        "desks": _desks(setting, fleet, usual),
        "allowed": ALLOWED,
        "held": None not in picked.values(),
    }  # fmt: skip


def pick(rows: Sequence[Row]) -> float | None:
    """Return the shortest length at which starts and lost work take at most `ALLOWED` of the useful seconds."""
    good: list[float] = [row["seconds"] for row in rows if row["overhead"] + row["lost"] <= ALLOWED]
    return min(good, default=None)


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
        "half of the GPUs asked for": (replace(setting, load=0.5), fleet),
    }
    return [_row(one.runs(machines, costs, USUAL), fleet=name) for name, (one, machines) in others.items()]


def _desks(setting: Setting, fleet: Fleet, costs: Costs) -> list[Row]:
    """Return how jobs wait for their end where servers have too few desks, just enough, and as many as are wanted."""
    busy = setting.load * fleet.gpus / costs.work * costs.finish
    longer = replace(
        setting, jobs=round(DESK_SECONDS / fleet_jobs.seconds_between_jobs(costs.work, setting.load * fleet.gpus))
    )
    rows = []
    for desks in [*(math.ceil(busy * times) for times in (0.8, 1.1, 1.5)), None]:
        row = _row(longer.runs(replace(fleet, desks=desks), costs, USUAL), desks=desks, busy=round(busy, 1))
        rows.append({**row, "overloaded": desks is not None and desks < busy})
    return rows


def _row(runs: Sequence[Run], **named: object) -> Row:
    """Return what matters: parts as medians over the seeds, waiting times of all together.

    `overloaded` says that the fleet gets more work than it can ever do: its waiting times only tell how long it ran.
    """
    spent = [one.outcome.spent for one in runs]
    per_useful = {
        name: statistics.median(getattr(one, name) / one.useful for one in spent)
        for name in ("overhead", "stretched", "lost")
    }
    row: Row = {name: None if value == math.inf else value for name, value in named.items()}
    row["asked"] = round(statistics.median(one.asked for one in runs), 3)
    row["utilisation"] = round(statistics.median(one.utilisation for one in spent), 3)
    row["overloaded"] = row["asked"] * statistics.median(one.cost for one in spent) >= 1
    row["down"] = round(statistics.median(one.down / one.capacity for one in spent), 5)
    row |= {name: round(value, 5) for name, value in per_useful.items()}
    row["redone"] = sum(one.outcome.redone for one in runs)
    for kind in [one.name for one in KINDS]:
        ends = [
            end for one in runs for end in one.outcome.ended if end.job.kind == kind and end.job.index in one.counted
        ]
        row[f"{kind}_rendered"] = _percentiles([end.rendered for end in ends])
        row[f"{kind}_finished"] = _percentiles([end.finished for end in ends])
    return row


def _percentiles(seconds: Sequence[float]) -> dict[str, float]:
    return {f"p{part}": round(percentile(seconds, part), 1) for part in (50, 95, 99)} if seconds else {}


def percentile(values: Sequence[float], part: int) -> float:
    """Return the value that so many of a hundred do not exceed."""
    return sorted(values)[max(0, math.ceil(len(values) * part / 100) - 1)]


def _tables(found: dict[str, Any]) -> Iterator[tuple[str, list[Row]]]:
    for pace, rows in found["lengths"].items():
        yield f"segment length, at the pace {pace}", rows
    yield "one film of two hours alone, at the pace documented", found["film_alone"]
    for part in ("orders", "failures", "assumptions", "desks"):
        yield part, found[part]


def _table(rows: Sequence[Row]) -> str:
    """Return rows as text; of waiting times the median and the 95th and 99th of a hundred."""

    def cell(value: object) -> str:
        return "/".join(f"{one:.0f}" for one in value.values()) if isinstance(value, dict) else str(value)

    lines = [list(rows[0]), *([cell(value) for value in row.values()] for row in rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(lines[0]))]
    return "\n".join("  ".join(text.rjust(width) for text, width in zip(line, widths, strict=True)) for line in lines)


if __name__ == "__main__":
    sys.exit(main())
