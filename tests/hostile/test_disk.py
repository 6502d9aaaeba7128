"""The disk is full for one write, whichever: no false success, a named fault, nothing left, and the next job works."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import httpx
import pytest

from tests.support.anatomy import leftovers
from tests.support.disk_shim import FullDisk
from tests.support.hostile import Amount
from tests.support.killing import AT_LEISURE, wait_until
from tests.support.many_jobs import QUICK, Caller, check_integrity, finished, small_source
from tests.support.server import running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]

TIDY_SECONDS = 10.0
"""Longest time between a job's end and the removal of what it used."""
Report = Callable[[str, dict[str, object]], None]


@pytest.fixture
def caller(tmp_path: Path) -> Iterator[Caller]:
    """Give somebody who hands in jobs of two segments."""
    with small_source(tmp_path / "sources", seconds=14) as source, Caller(source) as one:
        yield one


@dataclass(slots=True)
class Sweep:
    """What became of the jobs."""

    disk: FullDisk
    right: str
    ends: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def note(self, number: int, end: str, *, is_right: bool, detail: object = "") -> None:
        """Count one end; one that should not be is kept with its write's number."""
        self.ends[end] += 1
        if not is_right:
            self.wrong.append(f"write {number}: {end} {detail}")


def says_full(problem: dict[str, object]) -> bool:
    """Tell whether a fault may be a full disk's.

    Of a sync that fails, and of its shared memory, SQLite says that the disk is broken, and this one has room.
    """
    unexplained = problem["code"] == "storage_error" and "disk I/O error" in str(problem["detail"])
    return problem["code"] == "disk_full" or unexplained


def one_job(caller: Caller, url: str, state: Path, sweep: Sweep, number: int) -> None:
    """Have one job done, whose write with this number fails, and hold its end to what may be."""
    try:
        job_id = caller.submit(url)
    except httpx.HTTPStatusError as err:
        problem = err.response.json()
        caller.source += "#"  # the key was not used: the next job has another wish, and may not be met with this one's
        return sweep.note(number, f"refused {problem['code']}", is_right=says_full(problem), detail=problem)
    wait_until(lambda: job_id in finished(state / "video" / "jobs.db"), AT_LEISURE)
    job = caller.jobs(url)[job_id]
    if job["state"] == "succeeded":
        same = caller.digest(url, job_id) == sweep.right
        return sweep.note(number, "succeeded", is_right=same, detail="with other bytes")
    fault = job["fault"]
    assert isinstance(fault, dict)
    is_right = says_full(fault) and str(state) not in str(fault["detail"])
    sweep.note(number, str(fault["code"]), is_right=is_right, detail=fault["detail"])
    if fault["retryable"]:  # what it has waits for that
        httpx.delete(f"{url}/v1/jobs/{job_id}", trust_env=False, timeout=60).raise_for_status()
    return None


def left_behind(state: Path, caller: Caller) -> list[str]:
    """Return what stays when there was time to tidy up."""
    until = time.monotonic() + TIDY_SECONDS
    while (left := leftovers(state, frozenset(caller.ids))) and time.monotonic() < until:
        time.sleep(0.05)
    return left


def test_each_write_of_a_job_may_meet_a_full_disk(
    caller: Caller, amount: Amount, report: Report, tmp_path: Path
) -> None:
    """One after the other fails once, in the server, its workers and their cages; then everything is as before."""
    state, began = tmp_path / "state", time.monotonic()
    with (
        FullDisk(tmp_path / "shim", state) as disk,
        running(state, environment={**QUICK, **disk.environment}) as server,
    ):
        first = caller.submit(server.url)
        wait_until(lambda: first in finished(state / "video" / "jobs.db"), AT_LEISURE)
        sweep = Sweep(disk, caller.digest(server.url, first))
        left_behind(state, caller)
        disk.fail(0)
        one_job(caller, server.url, state, sweep, 0)
        left_behind(state, caller)
        writes = disk.writes
        step, left = -(-writes // amount(8, 40, 100_000)), dict[int, list[str]]()
        met = Counter[str]()
        some, all_of_them = range(1, writes + 1, step), [range(begin, writes + 1, step) for begin in range(1, step + 1)]
        for place, number in enumerate(chain.from_iterable(all_of_them)):
            if place >= len(some) and sweep.ends["disk_full"]:
                break  # a few may all be such as nobody misses: then more are tried
            disk.fail(number)
            one_job(caller, server.url, state, sweep, number)
            if found := left_behind(state, caller):
                left[number] = found
            met[disk.failed or "not reached"] += 1
        disk.fail(0)
        one_job(caller, server.url, state, sweep, 0)
        code = server.stop()
    figures: dict[str, object] = {
        "writes_of_a_job": writes, "failed_one_by_one": dict(met), "ends": dict(sweep.ends), "wrong": sweep.wrong,
        "left": {str(number): found for number, found in left.items()},
        "integrity": check_integrity(state / "video" / "jobs.db"), "seconds": round(time.monotonic() - began, 1),
    }  # fmt: skip
    report("disk_full", figures)

    assert [] == sweep.wrong
    assert {} == left
    assert sweep.ends["disk_full"], "no failing write was ever noticed"
    assert met["not reached"] <= met.total() // 4, "a job makes as many writes as the first one, or nearly"
    assert (0, "ok") == (code, figures["integrity"])
