"""Processes die at any moment, or stop for ever: nothing is lost, nothing is published twice, nothing stays behind.

The servers are real; what dies is drawn by lot, at moments spread over the work of a segment.
"""

from __future__ import annotations

import os
import random
import re
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from itertools import count
from pathlib import Path

import pytest

from tests.support.anatomy import KINDS, anatomy, leftovers
from tests.support.hostile import Amount
from tests.support.killing import AT_LEISURE, wait_until
from tests.support.many_jobs import (
    QUICK,
    Caller,
    check_integrity,
    finished,
    small_source,
    states,
    times_ended,
)
from tests.support.processes import descendants, is_alive, kill
from tests.support.server import Server, running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]

AT_ONCE = 3
"""Jobs that are not over: some work, some wait."""
MOST_LOOKS = 40
"""Before a blow the processes are looked at so often, by lot: some milliseconds each, a job takes three hundred."""
PATIENT = {"UPSCALE_JOBS__ATTEMPTS": "99", "UPSCALE_JOBS__ROOM": "1000"}
"""A job may be begun that often; the default takes it for the killer after three."""
Report = Callable[[str, dict[str, object]], None]


@pytest.fixture
def caller(tmp_path: Path) -> Iterator[Caller]:
    """Give somebody who hands in jobs of three segments."""
    with small_source(tmp_path / "sources") as source, Caller(source) as one:
        yield one


def wounded(server: Server) -> set[str]:
    """Return the jobs under which a worker of this server has died: two such deaths in one order fail a job."""
    found = (re.search(r"event=worker_died .*job_id=(\w+)", line) for line in list(server.lines))
    return {match[1] for match in found if match}


def mortal(server: Server, kind: str) -> list[int]:
    """Return the processes of a kind; a worker that has not loaded yet may not be killed again and again."""
    ready = {int(match[1]) for line in list(server.lines) if (match := re.search(r"worker_ready .*pid=(\d+)", line))}
    found = anatomy(server.process.pid)
    return [pid for pid in found[kind] if kind not in ("lane", "desk") or pid in ready]


class Rampage:
    """Kills by lot, one after the other, and keeps jobs coming meanwhile."""

    def __init__(self, caller: Caller, state: Path, seed: int) -> None:
        self.killed: Counter[str] = Counter()
        self.published: dict[str, tuple[int, int]] = {}
        self._caller = caller
        self._state = state
        self._database = state / "video" / "jobs.db"
        self._chance = random.Random(seed)
        self._kinds: list[str] = []

    def feed(self, server: Server) -> None:
        """Keep some jobs unfinished, and more in all than there were blows; note where the results lie."""
        over, given = self.note_published(), len(self._caller.ids)
        for _ in range(max(AT_ONCE - (given - len(over)), self.killed.total() + 1 - given)):
            self._caller.submit(server.url)

    def note_published(self) -> frozenset[str]:
        """Note which file each finished job's result is: it must stay that one."""
        over = finished(self._database)
        for job_id in over - self.published.keys():
            facts = self.result_of(job_id).stat()
            self.published[job_id] = (facts.st_ino, facts.st_mtime_ns)
        return over

    def result_of(self, job_id: str) -> Path:
        """Return where a result lies."""
        return self._state / "video" / "output" / "results" / f"{job_id}.mp4"

    def strike(self, server: Server) -> None:
        """Kill one process of a kind drawn by lot, and wait until what must end with it has ended."""
        self.feed(server)
        self._kinds = self._kinds or self._chance.sample(KINDS, len(KINDS))  # each as often as the others
        kind, looks, seen = self._kinds.pop(), count(), self._chance.randrange(MOST_LOOKS)
        victims: list[int] = []

        def there() -> bool:
            self.feed(server)
            victims[:] = mortal(server, kind)
            is_healed = kind == "server" or wounded(server) <= finished(self._database)
            return next(looks) >= seen and is_healed and bool(victims)

        wait_until(there)
        victim = self._chance.choice(victims)
        with_it = descendants(victim)
        kill(victim)
        if kind == "server":
            server.process.wait()
        self.killed[kind] += 1
        wait_until(lambda: not any(is_alive(pid) for pid in (victim, *with_it)))
        time.sleep(0.5)  # whose work it was, stands in the log when the server has noticed

    def strike_until(self, kills: int, server: Server) -> None:
        """Strike until so many are killed in all or the server is; it is dead afterwards."""
        while self.killed.total() < kills and server.process.poll() is None:
            self.strike(server)
        server.process.kill()
        server.process.wait()

    def figures(self) -> dict[str, object]:
        """Return what is counted of all that was killed, and of what lies in the state folder."""
        places = {job_id: self.result_of(job_id).stat() for job_id in self.published}
        moved = [one for one, facts in places.items() if self.published[one] != (facts.st_ino, facts.st_mtime_ns)]
        ended = times_ended(self._state / "server.log")
        return {
            "kills": self.killed.total(), "killed": dict(self.killed), "jobs": len(self._caller.ids),
            "states": dict(states(self._database)), "integrity": check_integrity(self._database),
            "published_twice": len(moved) + sum(times > 1 for times in ended.values()),
            "files_left": leftovers(self._state, frozenset(self._caller.ids)),
        }  # fmt: skip


def test_whatever_is_killed_every_job_ends_once_with_the_same_bytes(
    caller: Caller, amount: Amount, report: Report, tmp_path: Path
) -> None:
    """Server, lane, desk, door, inmate: all jobs succeed, each stored once, and no file or process is left."""
    state, scratch, kills = tmp_path / "state", tmp_path / "tmp", amount(3, 30, 200)
    scratch.mkdir()
    rampage, began = Rampage(caller, state, seed=12), time.monotonic()
    environment = {**QUICK, **PATIENT, "TMPDIR": str(scratch)}

    with running(state, environment=environment) as server:  # the undisturbed run
        job_id = caller.submit(server.url)
        wait_until(lambda: job_id in finished(state / "video" / "jobs.db"), AT_LEISURE)
        digests = {caller.digest(server.url, job_id)}
        rampage.strike_until(kills, server)
    while rampage.killed.total() < kills:
        with running(state, environment=environment) as server:
            rampage.strike_until(kills, server)
    with running(state, environment=environment) as server:
        wait_until(lambda: rampage.note_published() >= set(caller.ids), AT_LEISURE)
        jobs = caller.jobs(server.url)
        digests |= {caller.digest(server.url, job_id) for job_id in caller.ids}
        everyone = descendants(server.process.pid)
        code = server.stop()
    wait_until(lambda: not any(is_alive(pid) for pid in everyone), AT_LEISURE)

    figures: dict[str, object] = {
        **rampage.figures(), "lost": len(set(caller.ids) - jobs.keys()), "different_results": len(digests) - 1,
        "scratch_left": [path.name for path in scratch.iterdir()],
        "seconds": round(time.monotonic() - began, 1),
    }  # fmt: skip
    report("kills", figures)

    assert 0 == code
    assert kills <= len(caller.ids), "fewer jobs than blows"
    assert {"succeeded": len(caller.ids)} == figures["states"], [job["fault"] for job in jobs.values()]
    assert (0, 0, 0) == (figures["lost"], figures["published_twice"], figures["different_results"]), figures
    assert ([], []) == (figures["files_left"], figures["scratch_left"]), figures
    assert "ok" == figures["integrity"]


IMPATIENT = {
    "UPSCALE_WORKERS__SILENT_SECONDS": "12", "UPSCALE_WORKERS__SOURCE_SILENT_SECONDS": "3",
    "UPSCALE_JOBS__LEASE_SECONDS": "3",
}  # fmt: skip
"""Low limits; a worker's start counts for the first, and takes seconds on a busy machine."""


def is_stopped(pid: int) -> bool:
    """Tell whether a process stands still."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    except (FileNotFoundError, ProcessLookupError):
        return False


@contextmanager
def stopped(server: Server, kind: str) -> Iterator[int]:
    """Stop a process of a kind in the middle of its work and give it; it stands still no longer than the block."""
    pid = 0
    try:
        while not is_stopped(pid):
            wait_until(lambda: bool(anatomy(server.process.pid)["inmate"]))
            for pid in anatomy(server.process.pid)[kind][:1]:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)
                wait_until(lambda pid=pid: is_stopped(pid) or not is_alive(pid))
        yield pid
    finally:
        if is_stopped(pid):
            kill(pid)


def has_lost_its_lease(database: Path) -> bool:
    """Tell whether some job runs under a lease that is over."""
    with closing(sqlite3.connect(database, timeout=30)) as connection:
        until = connection.execute("SELECT max(lease_until) FROM upscale_jobs WHERE state = 'running'").fetchone()[0]
    return until is not None and until < time.time()


def check_all_ended_well(server: Server, caller: Caller) -> None:
    """Wait until all jobs are over: they succeeded with the same bytes, the server stops, and nothing is left."""
    wait_until(lambda: set(caller.ids) <= finished(server.state / "video" / "jobs.db"), AT_LEISURE)
    ended = caller.jobs(server.url)
    digests = {caller.digest(server.url, job_id) for job_id in caller.ids}
    everyone = descendants(server.process.pid)
    code = server.stop()

    assert ["succeeded"] * len(caller.ids) == [ended[job_id]["state"] for job_id in caller.ids]
    assert {1} == set(times_ended(server.state / "server.log").values())
    assert 1 == len(digests)
    assert 0 == code
    wait_until(lambda: not any(is_alive(one) for one in everyone))  # the server has killed them; the system reaps them
    assert [] == leftovers(server.state, frozenset(caller.ids))


@pytest.mark.parametrize("kind", ["inmate", "lane", "desk", "door"])
def test_what_stops_for_ever_is_replaced_and_the_job_ends(
    kind: str, length: str, caller: Caller, report: Report, tmp_path: Path
) -> None:
    """SIGSTOP in the middle of a job: within the limit it is killed, and the job ends with the bytes of the others."""
    if length == "short" and kind != "inmate":
        pytest.skip("runs with HOSTILE=full")
    began = time.monotonic()
    with running(tmp_path / "state", environment={**QUICK, **IMPATIENT}) as server:
        for _ in range(4):
            caller.submit(server.url)
        with stopped(server, kind) as pid:
            wait_until(lambda: not is_alive(pid), AT_LEISURE)
        check_all_ended_well(server, caller)
    report(f"stopped_{kind}", {"kind": kind, "jobs": 4, "seconds": round(time.monotonic() - began, 1)})


def test_a_server_that_stands_still_beyond_its_lease_goes_on(
    length: str, caller: Caller, report: Report, tmp_path: Path
) -> None:
    """SIGSTOP in the middle of a job until its lease has run out, then SIGCONT: every job is done once."""
    if length == "short":
        pytest.skip("runs with HOSTILE=full")
    began = time.monotonic()
    with running(tmp_path / "state", environment={**QUICK, **IMPATIENT}) as server:
        for _ in range(4):
            caller.submit(server.url)
        with stopped(server, "server") as pid:
            wait_until(lambda: has_lost_its_lease(tmp_path / "state" / "video" / "jobs.db"), AT_LEISURE)
            still = is_stopped(pid)
            os.kill(pid, signal.SIGCONT)
        check_all_ended_well(server, caller)
    report("stopped_server", {"kind": "server", "jobs": 4, "seconds": round(time.monotonic() - began, 1)})

    assert still
