"""Any order of submits, claims, deaths, wishes and ends: no job is lost, no step is illegal, no old owner writes.

The machine keeps its own idea of who holds what and holds it against the store after each step.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import cast

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule
from sqlalchemy import select

from upscale_server.errors import Conflict, NotFound, QueueFull
from upscale_server.jobs.job import FINISHED, FOLLOWS, Asked, Claim, Job, NewJob, Outcome, Progress, Source, State
from upscale_server.jobs.reserving import LONGEST_SECONDS
from upscale_server.jobs.store import JobStore
from upscale_server.jobs.tables import jobs

ROOM = 4
LEASE = 30.0
OWNERS = ("a", "b")
PHASES = st.sampled_from(["fetch", "plan", "upscale", "join"])


class Queue(RuleBasedStateMachine):
    """Two servers, some callers and a clock, on one real database."""

    jobs = Bundle("jobs")
    claims = Bundle("claims")

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.now = 1000.0
        self.store = JobStore(f"sqlite:///{self.folder}/jobs.sqlite", attempts=2, clock=lambda: self.now)
        self.states: dict[str, State] = {}
        self.attempts: dict[str, int] = {}
        self.holders: dict[str, Claim] = {}

    def teardown(self) -> None:
        """Close and remove the database."""
        self.store.close()
        shutil.rmtree(self.folder)

    # -------------------------------------------------------------------------------------------- callers

    @rule(target=jobs, key=st.sampled_from([None, "x", "y"]), scale=st.sampled_from([2, 4]))
    def submit(self, key: str | None, scale: int) -> object:
        """Submit, perhaps again with a known key."""
        new = NewJob(Asked(Source("file", "/a"), scale=scale), key)
        try:
            job = self.store.add(new, ROOM)
        except (QueueFull, Conflict):
            return multiple()
        if job.id not in self.states:
            self.states[job.id], self.attempts[job.id] = "queued", 0
        assert scale == job.asked.scale
        return job.id

    @rule(job_id=jobs, wanted=st.sampled_from(["canceled", "paused"]))
    def want(self, job_id: str, wanted: State) -> None:
        """Cancel or pause."""
        self.step(lambda: self.store.want(job_id, wanted))  # type: ignore[arg-type]

    @rule(job_id=jobs)
    def resume(self, job_id: str) -> None:
        """Let a paused job go on."""
        self.step(lambda: self.store.resume(job_id))

    @rule(job_id=jobs)
    def retry(self, job_id: str) -> None:
        """Try a failed or cancelled job again."""
        self.step(lambda: self.store.retry(job_id, 1_000_000))

    @rule(job_id=consumes(jobs))
    def remove(self, job_id: str) -> None:
        """Remove a job, which only a finished one allows."""
        if job_id not in self.states:
            return
        with contextlib.suppress(Conflict):
            self.store.remove(job_id)
            assert self.states[job_id] in FINISHED
            del self.states[job_id]

    # -------------------------------------------------------------------------------------------- owners

    @rule(target=claims, owner=st.sampled_from(OWNERS))
    def claim(self, owner: str) -> object:
        """Take the next job."""
        claim = self.store.claim(owner, LEASE)
        self.sync()
        if claim is None:
            assert all(self.is_kept_from(owner, job_id) for job_id, state in self.states.items() if state == "queued")
            return multiple()
        assert claim.job.attempt == self.attempts[claim.job.id] + 1, "a fence that was used before is none"
        self.attempts[claim.job.id] = claim.job.attempt
        self.holders[claim.job.id] = claim
        return claim

    @rule(claim=claims, phase=PHASES, segments=st.integers(0, 3))
    def hold(self, claim: Claim, phase: str, segments: int) -> None:
        """Renew a lease."""
        self.write(claim, lambda: self.store.hold(claim, Progress(phase, segments_done=segments)))

    @rule(claim=claims, how=st.sampled_from(["finish", "fail", "queued", "paused", "canceled"]))
    def end(self, claim: Claim, how: str) -> None:
        """Come to an end with a job."""
        if how == "finish":
            self.write(claim, lambda: self.store.finish(claim, Outcome("key", 1, 1.0)))
        elif how == "fail":
            self.write(claim, lambda: self.store.fail(claim, {"code": "x"}))
        else:
            self.write(claim, lambda: self.store.let_go(claim, cast("State", how)))

    @rule(claim=claims)
    def keep(self, claim: Claim) -> None:
        """Store what the next attempt needs."""
        self.write(claim, lambda: self.store.keep_plan(claim, {"by": claim.job.attempt}))

    @rule(owner=st.sampled_from(OWNERS))
    def die(self, owner: str) -> None:
        """Die and start again."""
        before = {name for name, claim in self.holders.items() if claim.owner == owner}
        taken = self.store.take_back(owner)
        assert before == {job.id for job in taken}
        self.sync()

    @rule(seconds=st.sampled_from([1.0, LEASE + 1, 3600.0]))
    def wait(self, seconds: float) -> None:
        """Let time pass, perhaps more than a lease."""
        self.now += seconds

    # -------------------------------------------------------------------------------------------- what must hold

    def is_kept_from(self, owner: str, job_id: str) -> bool:
        """Tell whether another server has begun a job, and has been back for less than ten minutes."""
        with self.store._database.reading() as connection:
            row = connection.execute(select(jobs).where(jobs.c.id == job_id)).one()
        return row.owner not in (None, owner) and self.now <= row.lease_until <= self.now + LONGEST_SECONDS

    def step(self, change: Callable[[], Job]) -> None:
        """Ask for a step that may be refused, of a job that may be gone."""
        with contextlib.suppress(Conflict, NotFound):
            self.seen(change())

    def write(self, claim: Claim, change: Callable[[], object]) -> None:
        """Write through a claim: it works exactly when the claim is the newest and the job is held."""
        may = self.holders.get(claim.job.id) is claim
        try:
            change()
        except Conflict:
            assert not may, "the holder was refused"
        else:
            assert may, "an old owner wrote"
        self.sync()

    def seen(self, job: Job) -> None:
        """Take note of a job's state, which must follow from the one before."""
        before = self.states[job.id]
        assert job.state == before or job.state in FOLLOWS[before] or reaches(before, job.state), (before, job.state)
        self.states[job.id] = job.state
        if job.state != "running":
            self.holders.pop(job.id, None)

    def sync(self) -> None:
        """Look at every job."""
        for job in self.store.page(None, 1000)[0]:
            self.seen(job)

    @invariant()
    def no_job_is_lost(self) -> None:
        """The store has exactly the jobs that were accepted and not removed, in the states we know."""
        found = {job.id: job for job in self.store.page(None, 1000)[0]}
        assert self.states == {name: job.state for name, job in found.items()}
        for job in found.values():
            assert (job.finished_at is not None) == (job.state in FINISHED)
            assert not job.wanted or job.state == "running"

    @invariant()
    def counts_agree(self) -> None:
        """Counts and places say the same as the list."""
        counts = self.store.counts()
        assert len(self.states) == sum(counts.values())
        waiting = [name for name, state in self.states.items() if state == "queued"]
        assert list(range(1, len(waiting) + 1)) == sorted(self.store.place(name) for name in waiting)


def reaches(before: State, after: State) -> bool:
    """Tell whether a claim that first takes back dead leases explains a change: two steps in one transaction."""
    return before == "running" and after == "running"


Queue.TestCase.settings = settings(max_examples=15, stateful_step_count=40, deadline=None)
TestQueue = Queue.TestCase
