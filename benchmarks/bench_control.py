"""Asks how much the jobs' database carries, on SQLite and on a real Postgres, from one caller to sixteen.

    python -m benchmarks.bench_control [--seconds 2] [--rounds 3] [--only sqlite|postgres]

submit   jobs handed in a second
life     jobs a second that are handed in, claimed, planned, renewed ten times and finished
renew    leases renewed a second, with new progress: every running job asks for one a second
claim    jobs claimed a second

Each by the threads of one server, and by processes, as by several servers. Then how submit and claim do with many jobs
waiting, how renew does with a film's plan in the row, and what renewals in other forms would give (Postgres alone:
SQLite has one writer by nature). The bound: every database renews the leases of 100 jobs in hand. Postgres is this
machine's own, on loopback and durable; where there is none, that is said and SQLite is measured alone.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

from benchmarks.control_load import RENEWALS, TOGETHER, Callers, Rate, fill, opened, rate_of
from benchmarks.machine import publish, syncs_per_second
from tests.support.postgres_server import postgres_programs, running_postgres

ALLOWED_RENEWALS = 100.0
CALLERS = (Callers(1), Callers(4), Callers(16), Callers(4, are_servers=True), Callers(16, are_servers=True))
WAITING = (2_000, 10_000, 100_000)
"""Enough for what four threads claim in two seconds."""

Fresh = Callable[[], str]
"""Makes an empty database and returns its address."""


Databases = Iterator[tuple[str, dict[str, str], Fresh]]
"""Each database's name, what is known of it, and what makes an empty one."""


@dataclass(frozen=True, slots=True)
class Measuring:
    """Rounds of one kind of work, each on a fresh database."""

    fresh: Fresh
    seconds: float
    rounds: int

    def of(self, work: str, callers: Callers, waiting: int = 0) -> dict[str, Any]:  # JSON values of several types
        """Return the rates of the rounds, with so many jobs waiting before."""
        rates = []
        for _ in range(self.rounds):
            url = self.fresh()
            if waiting:
                with opened(url) as server:
                    fill(server, waiting)
            rates.append(rate_of(url, work, callers, self.seconds))
        each = [round(one.per_second) for one in rates]
        print(f"{work}, {callers.name}, {waiting} waiting: {each} a second", file=sys.stderr)
        return summary(rates)

    def by_callers(self, work: str) -> dict[str, Any]:
        """Return the rates of one kind of work for each number of callers."""
        return {callers.name: self.of(work, callers) for callers in CALLERS}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and save; the exit code says whether the bound held."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=["sqlite", "postgres"])
    options = parser.parse_args(arguments)
    load_before = [round(value, 2) for value in os.getloadavg()]
    with tempfile.TemporaryDirectory() as name:
        syncs = [syncs_per_second(Path(name))]
        found = {
            database: {"server": facts, **measure(Measuring(fresh, options.seconds, options.rounds), database)}
            for database, facts, fresh in _databases(Path(name), options.only)
        }
        syncs.append(syncs_per_second(Path(name)))
    least = min(one["renew"][callers.name]["per_second"] for one in found.values() for callers in CALLERS)
    held = least >= ALLOWED_RENEWALS
    result = {"seconds": options.seconds, "rounds": options.rounds, "renewals_of_a_life": RENEWALS, **found}
    facts = {"allowed_renewals": ALLOWED_RENEWALS, "held": held, "load_before": load_before, "syncs_per_second": syncs}
    publish("control", {**result, **facts})
    return 0 if held else 1


def measure(measuring: Measuring, database: str) -> dict[str, Any]:
    """Return what one database does."""
    found = {work: measuring.by_callers(work) for work in ("submit", "life", "renew")}
    found["waiting"] = {
        work: {str(waiting): measuring.of(work, Callers(4), waiting) for waiting in WAITING}
        for work in ("submit", "claim")
    }
    found["renew_film"] = {Callers(4).name: measuring.of("renew_film", Callers(4))}
    if database == "postgres":
        found["renew_by_row"] = measuring.by_callers("renew_by_row")
        together = measuring.of("renew_together", Callers(1))
        found["renew_together"] = {**together, "leases_of_each": TOGETHER}
    return found


def _databases(folder: Path, only: str | None) -> Databases:
    """Yield what there is here; a server runs while its database is in hand."""
    numbers = count()
    if only != "postgres":
        facts = {"version": sqlite3.sqlite_version}
        yield "sqlite", facts, lambda: f"sqlite:///{folder}/{next(numbers)}.sqlite"
    if only == "sqlite":
        return
    if postgres_programs() is None or find_spec("psycopg") is None:
        print("no Postgres here, or not the extra [postgres]: SQLite is measured alone", file=sys.stderr)
        return
    with running_postgres(settings={}) as server:  # as it comes: every commit waits for the disk
        asked = ("server_version", "fsync", "synchronous_commit", "shared_buffers")
        facts = {one: str(server.ask(f"SHOW {one}")[0][0]) for one in asked}
        yield "postgres", facts, server.new_database


def summary(rates: Sequence[Rate]) -> dict[str, Any]:
    """Return the medians of several rounds, and the slowest and fastest of them."""
    each = [one.per_second for one in rates]
    return {
        "per_second": round(statistics.median(each), 1),
        "slowest_and_fastest": [round(min(each), 1), round(max(each), 1)],
        "p50_ms": round(statistics.median(one.p50_ms for one in rates), 2),
        "p99_ms": round(statistics.median(one.p99_ms for one in rates), 2),
    }


if __name__ == "__main__":
    sys.exit(main())
