"""Two servers over one Postgres and one object store, and `kill -9` of either, by lot, in the middle of its work.

Each job must be finished once: one end written down, one result that the job names, the bytes of an undisturbed run.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import httpx
import pytest

from tests.support.anatomy import leftovers
from tests.support.hostile import Amount
from tests.support.killing import AT_LEISURE, wait_until
from tests.support.many_jobs import Caller, small_source, times_ended
from tests.support.postgres_server import Postgres
from tests.support.processes import descendants, is_alive
from tests.support.receiver import Receiver
from tests.support.s3_server import Swift, running_swift
from tests.support.several_servers import Member, Servers
from upscale_server.jobs.carry import object_key

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]

PATIENT = {"UPSCALE_JOBS__ATTEMPTS": "99"}
"""With whoever kills them: a job that is hit again and again at its beginning is no poison here."""
MOST_LOOKS = 20
"""Before a blow the victim's jobs are looked at so often, by lot: some milliseconds each, a job takes half a second."""
Report = Callable[[str, dict[str, object]], None]


class Feud:
    """Two servers that are killed by lot, and somebody who hands in jobs at whichever answers."""

    def __init__(self, servers: Servers, swift: Swift, caller: Caller, receiver: Receiver) -> None:
        self.members = [servers.add(**PATIENT), servers.add(**PATIENT)]
        self.struck: dict[str, str] = {}
        self.published: dict[str, tuple[str, float, str]] = {}
        self.killed: Counter[str] = Counter()
        self.caller = caller
        self.receiver = receiver
        self.swift = swift
        self.ledger = servers.ledger
        self._chance = random.Random(9)

    def submit(self, member: Member) -> str:
        """Hand in the next job; where a server is away just now it is handed to the other one, under the same key."""
        others = [one for one in self.members if one is not member]
        for one in (member, *others):
            try:
                return self.caller.submit(one.url, webhook_url=self.receiver.url())
            except httpx.TransportError:
                continue
        raise AssertionError("neither server answers")

    def strike(self) -> None:
        """Kill one in the middle of a job; start it again at once, or when the other has taken its jobs, by lot."""
        victim, looks, seen = self._chance.choice(self.members), count(), self._chance.randrange(MOST_LOOKS)
        wait_until(lambda: (bool(self.ledger.held(victim.owner)) and next(looks) >= seen) or self.is_over)
        everyone = [victim.server.process.pid, *descendants(victim.server.process.pid)]
        held = self.ledger.held(victim.owner)
        self.killed["at work" if held else "idle"] += 1
        self.struck |= {job_id: self.struck.get(job_id, victim.owner) for job_id in held}
        victim.kill()
        wait_until(lambda: not any(is_alive(pid) for pid in everyone), AT_LEISURE)
        if self._chance.random() < 0.5:
            wait_until(lambda: not self.ledger.held(victim.owner), AT_LEISURE)
        victim.start()
        self.note_published()

    @property
    def is_over(self) -> bool:
        """Tell whether every job is."""
        return set(self.caller.ids) <= self.ledger.finished()

    @property
    def is_told(self) -> bool:
        """Tell whether every job's end has been told."""
        return len({one.headers["x-delivery-id"] for one in self.receiver.told}) >= len(self.caller.ids)

    @property
    def left(self) -> list[str]:
        """Return what lies on the servers' disks and should not."""
        return [path for one in self.members for path in leftovers(one.state, frozenset(self.caller.ids))]

    def note_published(self) -> None:
        """Note which object each finished job's result is: it must stay that one."""
        for job_id, key in self.ledger.results().items():
            if job_id not in self.published:
                self.published[job_id] = self.swift.version(key)

    def start_again(self) -> list[int]:
        """Stop each in order and start it again, so that it sweeps; return the exit codes."""
        codes = [member.server.stop() for member in self.members]
        for member in self.members:
            member.start()
        return codes

    def figures(self) -> dict[str, object]:
        """Return what is counted of jobs, ends, objects and messages."""
        results, given = self.ledger.results(), set(self.caller.ids)
        seen = [given & self.caller.jobs(member.url).keys() for member in self.members]
        logs = [times_ended(member.state / "server.log") for member in self.members]
        replaced = [one for one, version in self.published.items() if version != self.swift.version(results[one])]
        moved = [one for one, owner in self.struck.items() if object_key(one, owner) != results.get(one)]
        return {
            "jobs": len(given), "kills": self.killed.total(), "killed": dict(self.killed),
            "states": dict(self.ledger.states()), "lost": sum(len(given - found) for found in seen),
            "ends_written": dict(Counter(self.ledger.ends_told().values())),
            "ends_logged_twice": sum(sum(log[job_id] for log in logs) > 1 for job_id in given),
            "results_in_store": len(set(results.values()) & set(self.swift.keys())), "stored_again": len(replaced),
            "different_results": len({hashlib.sha256(self.swift.body(key)).digest() for key in results.values()}) - 1,
            "objects_beside_results": len(set(self.swift.keys()) - set(results.values())),
            "uploads_begun": len(self.swift.uploads()), "struck": len(self.struck), "moved": len(moved),
            "attempts": dict(Counter(row[0] for row in self.ledger.rows("SELECT attempt FROM upscale_jobs"))),
            "messages": len(self.receiver.told),
        }  # fmt: skip


@pytest.fixture
def feud(postgres: Postgres, tmp_path: Path) -> Iterator[Feud]:
    """Give two servers, a store, somebody who hands in jobs of three segments, and who is told of their ends."""
    with ExitStack() as stack:
        (tmp_path / "swift").mkdir()
        swift = stack.enter_context(running_swift(tmp_path / "swift"))
        caller = stack.enter_context(Caller(stack.enter_context(small_source(tmp_path / "sources"))))
        receiver = stack.enter_context(Receiver())
        yield Feud(stack.enter_context(Servers(tmp_path, postgres, swift)), swift, caller, receiver)


def test_two_servers_do_each_job_once_whichever_is_killed(feud: Feud, amount: Amount, report: Report) -> None:
    """Handed in at both, killed in turn and started again: all succeed, none is lost, none is done or stored twice."""
    jobs, kills, began = amount(8, 50, 50), amount(2, 12, 40), time.monotonic()
    feud.submit(feud.members[0])  # the undisturbed run
    wait_until(lambda: feud.is_over, AT_LEISURE)
    for blow in range(kills):
        while len(feud.caller.ids) - 1 < jobs * (blow + 1) // kills:
            feud.submit(feud.members[len(feud.caller.ids) % 2])
        feud.strike()
    wait_until(lambda: feud.is_over and feud.is_told, AT_LEISURE)
    feud.note_published()
    codes = feud.start_again()  # what the dead left is swept
    wait_until(lambda: not feud.left, AT_LEISURE)
    figures = {**feud.figures(), "seconds": round(time.monotonic() - began, 1)}
    report("several_servers", figures)

    assert [0, 0] == codes
    assert {"succeeded": jobs + 1} == figures["states"]
    assert ({1: jobs + 1}, 0) == (figures["ends_written"], figures["ends_logged_twice"]), figures
    assert (0, 0, 0) == (figures["lost"], figures["stored_again"], figures["different_results"]), figures
    assert (jobs + 1, 0) == (figures["results_in_store"], figures["uploads_begun"])
    assert len(feud.swift.keys()) <= jobs + 1 + kills
    assert feud.killed["at work"] >= kills * 3 // 4, figures  # or nothing was tested
    assert figures["moved"] or kills < 12, figures
