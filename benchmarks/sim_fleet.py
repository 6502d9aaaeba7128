"""Picks the length of segments for a fleet of GPUs, by simulation: what is lost to starts, deaths, and slow nodes?

    python -m benchmarks.sim_fleet [--gpus 100] [--jobs 1500] [--seeds 3] [--load 0.7]

It is calibrated with what was measured (`bench_segments`, `bench_estimate`; `bench_gpu` where it was run) and with
assumptions, which the result tells apart. The length it picks is the shortest one at which a segment's start and
the work lost with nodes take at most 5 % of the useful GPU seconds: a longer one gains less than that, and every job
waits longer for its last segment. The exit code says whether the length that a plan takes by itself, ten seconds, is
the one that is picked at the pace of the documents. The same seeds give the same numbers on any machine.
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
HARSH = Fleet(
    100, gpus_of_a_node=8, hours_between_failures=24, notice_seconds=13.9, return_seconds=60,
    slow_share=0.1, slow_times=1.5, jitter=0.1,
)  # fmt: skip
"""Assumed, and harsher than most: a node leaves every day, as rented ones do, and one GPU in ten is half as slow again.
13.9 s is what Ray 2.60 took to notice a killed node on loopback, by its defaults."""
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Setting:
    """What all parts share: jobs for each seed, seeds, the part of the fleet that the jobs ask for, and how hard."""

    jobs: int
    seeds: int
    load: float
    hard: list[float]

    def runs(self, fleet: Fleet, costs: Costs, length: float, order: str = "turns") -> list[Outcome]:
        """Simulate the same jobs in the same fleet once for each seed."""
        found = []
        for seed in range(self.seeds):
            busy = self.load * fleet.gpus
            until = self.jobs * fleet_jobs.seconds_between_jobs(costs.work, busy)
            jobs = fleet_jobs.mixed_jobs(until, costs.work, busy, seed, self.hard)
            found.append(Simulation(fleet, costs, length, ORDERS[order], seed).run(jobs, until))
        return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Simulate, print tables and save; the exit code says whether the usual length is the one to pick."""
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
    each = {name: fleet_jobs.costs(one.value) for name, one in paces().items()}
    each["asked, store's waits hidden"] = fleet_jobs.costs(paces()["asked"].value, requests=0)
    lengths = {
        name: [_row(setting.runs(fleet, costs, one), seconds=one) for one in LENGTHS] for name, costs in each.items()
    }
    picked = {name: pick(rows) for name, rows in lengths.items()}
    usual = each["documented"]
    return {
        "fleet": asdict(fleet),
        "jobs": setting.jobs, "seeds": setting.seeds, "load": setting.load,
        "calibration": {name: one.as_record() for name, one in fleet_jobs.calibration().items()},
        "lengths": lengths,
        "picked": picked,
        "film_alone": {name: film_alone(costs) for name, costs in each.items()},
        "fleets": [
            _row(setting.runs(replace(fleet, gpus=gpus), usual, USUAL), gpus=gpus) for gpus in (10, 100, 1000)
        ],
        "orders": [_row(setting.runs(fleet, usual, USUAL, order), order=order) for order in ORDERS],
        "failures": [
            _row(setting.runs(replace(fleet, hours_between_failures=hours), usual, length), hours=hours, seconds=length)
            for hours in (math.inf, 24.0, 1.0) for length in (USUAL, 60.0, 300.0)
        ],
        "desks": _desks(setting, fleet, usual),
        "allowed": ALLOWED,
        "held": picked["documented"] == USUAL,
    }  # fmt: skip


def pick(rows: Sequence[Row]) -> float:
    """Return the shortest length at which starts and lost work take at most `ALLOWED` of the useful seconds."""
    good: list[float] = [row["seconds"] for row in rows if row["overhead"] + row["lost"] <= ALLOWED]
    return min(good, default=max(LENGTHS))


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


def _desks(setting: Setting, fleet: Fleet, costs: Costs) -> list[Row]:
    """Return how jobs wait for their end where servers have too few desks, just enough, and as many as are wanted."""
    busy = setting.load * fleet.gpus / costs.work * costs.finish
    counts = [math.ceil(busy * times) for times in (0.5, 0.8, 1.0, 1.5)]
    return [_row(setting.runs(replace(fleet, desks=desks), costs, USUAL), desks=desks) for desks in [*counts, None]]


def _row(runs: Sequence[Outcome], **named: object) -> Row:
    """Return the medians over the seeds of what matters."""
    per_useful = {
        name: statistics.median(getattr(one.spent, name) / one.spent.useful for one in runs)
        for name in ("overhead", "stretched", "lost")
    }
    row: Row = {name: None if value == math.inf else value for name, value in named.items()}
    row["utilisation"] = round(statistics.median(one.spent.utilisation for one in runs), 3)
    row |= {name: round(value, 5) for name, value in per_useful.items()}
    row["redone"] = sum(one.redone for one in runs)
    for kind in [one.name for one in KINDS]:
        of_kind = [[end for end in run.ended if end.job.kind == kind] for run in runs]
        row[f"{kind}_rendered"] = _percentiles([[end.rendered for end in ends] for ends in of_kind])
        row[f"{kind}_finished"] = _percentiles([[end.finished for end in ends] for ends in of_kind])
    return row


def _percentiles(runs: Sequence[Sequence[float]]) -> dict[str, float]:
    """Return seconds, as the medians over the seeds."""
    return {
        f"p{part}": round(statistics.median(percentile(one, part) for one in runs if one), 1) for part in (50, 95, 99)
    }


def percentile(values: Sequence[float], part: int) -> float:
    """Return the value that so many of a hundred do not exceed."""
    return sorted(values)[max(0, math.ceil(len(values) * part / 100) - 1)]


def _tables(found: dict[str, Any]) -> Iterator[tuple[str, list[Row]]]:
    for pace, rows in found["lengths"].items():
        yield f"segment length, at the {pace} pace", rows
    for pace, rows in found["film_alone"].items():
        yield f"one film of two hours alone, at the {pace} pace", rows
    for part in ("fleets", "orders", "failures", "desks"):
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
