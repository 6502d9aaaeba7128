"""What the store does to rows inside a transaction: find one, check the fence, take a step, give up what died.

It opens no transaction; which questions exist is `store`'s.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Row, Select, and_, func, insert, select, update

from upscale_server.errors import Conflict, JobDamaged, NotFound, QueueFull, RateLimited, UpscaleError
from upscale_server.events import Event, JobEnded
from upscale_server.jobs.codec import UNREADABLE, asked_from, outcome_from, progress_from, to_record
from upscale_server.jobs.deliveries import tell_of, tell_of_unreadable
from upscale_server.jobs.job import FINISHED, JOB_ID, PHASES, Claim, Job, NewJob, Progress, State, check_step
from upscale_server.jobs.tables import jobs, schema

StoredRow = Row[Any]  # a row's columns have many types
Kept = Callable[[StoredRow], dict[str, object]]
"""Returns the columns that say for whom a job waits, and how long nobody else takes it."""
_MOST_SEGMENTS = 10_000_000
_DANGEROUS = frozenset({"plan", "upscale", "join", "audit"})
"""Not `quality`: a file is whole by then, and measuring is not tried again where a server died of it."""
_BYSTANDER = 10
"""A job that waits, downloads or is stored is ten times less likely what killed the server than one at work."""


@dataclass(frozen=True, slots=True)
class Writer:
    """A transaction that may write, the moment it counts as, and what is to be told when it is on the disk."""

    connection: Connection
    now: float
    news: list[Event] = field(default_factory=list)

    def row(self, job_id: str) -> StoredRow:
        """Return a job's row.

        Raises:
            NotFound: there is none.
        """
        return row_of(self.connection, job_id)

    def held(self, claim: Claim) -> StoredRow:
        """Return the row of a job that a claim still holds.

        Raises:
            Conflict: another attempt holds it, or nobody: this one may not write any more.
        """
        row = self.connection.execute(select(jobs).where(jobs.c.id == claim.job.id)).first()
        if row is None or (row.state, row.attempt, row.owner) != ("running", claim.job.attempt, claim.owner):
            raise Conflict(f"job {claim.job.id} is not held by attempt {claim.job.attempt} any more")
        return row

    def known(self, new: NewJob) -> StoredRow | None:
        """Return the row of the job that was stored for the same key and Idempotency-Key."""
        if new.idempotency_key is None:
            return None
        same = and_(jobs.c.key_id == new.key_id, jobs.c.idempotency_key == new.idempotency_key)
        return self.connection.execute(select(jobs).where(same)).first()

    def check_room(self, room: int) -> None:
        """Refuse one more job than may wait; a paused one keeps its place, or pausing would make room for ever.

        Raises:
            QueueFull: as many are waiting already.
        """
        query = select(func.count()).where(jobs.c.state.in_(("queued", "paused")))
        waiting = self.connection.execute(query).scalar_one()
        if waiting >= room:
            raise QueueFull(f"{waiting} jobs are waiting; the limit is {room}, see UPSCALE_JOBS__ROOM")

    def check_room_of(self, key_id: str, each: int) -> None:
        """Refuse one more job of a key than it may have waiting; 0 means no bound.

        Raises:
            RateLimited: as many are waiting already.
        """
        if each:
            waiting = self.connection.execute(waiting_of(key_id)).scalar_one()
            check_each(waiting, each)

    def next_readable(self, waiting: Select[Any]) -> StoredRow | None:  # rows of many types
        """Return the first row that can be read as a job; one that cannot is failed, or it would stop all behind it."""
        while (row := self.connection.execute(waiting.limit(1)).first()) is not None:
            if self.is_readable(row):
                return row
        return None

    def is_readable(self, row: StoredRow) -> bool:
        """Tell whether a row can be read as a job; one that cannot is failed, whoever held it."""
        try:
            job_of(row)
        except UNREADABLE as err:
            fault = UpscaleError(f"job {row.id} cannot be read: {type(err).__name__}").as_record(row.id)
            free = {"owner": None, "lease_until": None, "wanted": ""}
            values = {"state": "failed", "fault": fault, "finished_at": self.now, **free}
            self.connection.execute(update(jobs).where(jobs.c.id == row.id).values(**values))
            self.news.append(JobEnded("failed", None, None))
            tell_of_unreadable(self.connection, row, fault, self.now)
            return False
        return True

    def insert(self, new: NewJob, digest: str) -> Job:
        """Store a job under a name that cannot be guessed."""
        job_id, now = secrets.token_hex(16), self.now
        values = {
            "id": job_id, "number": self._next_number(), "state": "queued",
            "created_at": now, "queued_at": now, "updated_at": now,
            "key_id": new.key_id, "idempotency_key": new.idempotency_key, "asked_digest": digest, "home": new.home,
            "request_id": new.request_id,
            "asked": to_record(new.asked), "progress": to_record(Progress()),
        }  # fmt: skip
        self.connection.execute(insert(jobs).values(values))
        return whole_job_of(self.row(job_id))

    def _next_number(self) -> int:
        self.connection.execute(update(schema).values(last_number=schema.c.last_number + 1))
        return int(self.connection.execute(select(schema.c.last_number)).scalar_one())

    def change(self, job_id: str, **values: object) -> Job:
        """Write columns as news for those who watch the job.

        Raises:
            JobDamaged: what is stored of it cannot be read; nothing is changed then.
        """
        news = {"version": jobs.c.version + 1, "updated_at": self.now}
        self.connection.execute(update(jobs).where(jobs.c.id == job_id).values(**news, **values))
        return whole_job_of(self.row(job_id))

    def step(self, row: StoredRow, to: State, **values: object) -> Job:
        """Let a job become something else; whoever held it holds it no more.

        Raises:
            Conflict: no such step.
            JobDamaged: as `change`.
        """
        check_step(row.id, row.state, to)
        ends = {"finished_at": self.now} if to in FINISHED else {}
        free = {"owner": None, "lease_until": None, "wanted": ""}
        job = self.change(row.id, **{"state": to, **free, **ends, **values})
        if ends:
            seconds = None if job.started_at is None else max(0.0, self.now - job.started_at)
            self.news.append(JobEnded(to, job.asked.task, seconds))
            tell_of(self.connection, job, self.now)
        return job

    def lose(self, dead: Select[Any], attempts: int, kept: Kept) -> list[Job]:  # rows of many types
        """Take jobs from owners that died: what was wanted is done, the rest waits again, for whom `kept` says.

        A job whose server died `attempts` times without getting further is failed: it may take more servers along.
        Where nothing of its media was open, it takes more deaths to suspect it. One that cannot be read is failed.
        """
        return [self._lose(row, attempts, kept) for row in self.connection.execute(dead).all() if self.is_readable(row)]

    def _lose(self, row: StoredRow, attempts: int, kept: Kept) -> Job:
        if row.wanted:
            return self.step(row, row.wanted, **(kept(row) if row.wanted == "paused" else {}))
        progress = progress_from(row.progress)
        reached = how_far(progress)
        deaths = 1 if reached > row.reached else row.deaths + 1
        if deaths < (attempts if progress.phase in _DANGEROUS else _BYSTANDER * attempts):
            return self.step(row, "queued", deaths=deaths, reached=max(reached, row.reached), **kept(row))
        fault = UpscaleError(
            f"poison: the server died {deaths} times under this job without getting further than phase "
            f"{progress.phase} after {progress.segments_done} segments",
            hint="look for the cause in the server's log before it is tried again",
        )
        # It may have been a bystander; what it has is kept for a retry, and an upload is nobody else's.
        return self.step(row, "failed", fault={**fault.as_record(row.id), "retryable": True})


def waiting_of(key_id: str) -> Select[Any]:  # one number
    """Return the question how many jobs of a key wait; paused ones keep their place."""
    return select(func.count()).where(jobs.c.key_id == key_id, jobs.c.state.in_(("queued", "paused")))


def check_each(waiting: int, each: int) -> None:
    """Refuse one more waiting job of a key; 0 means no bound.

    Raises:
        RateLimited: as many as it may have are waiting.
    """
    if 0 < each <= waiting:
        raise RateLimited(f"{waiting} of your jobs are waiting; the limit is {each}, see UPSCALE_QUOTAS__QUEUED")


def busy_keys(each: int) -> Select[Any]:  # a column of names
    """Return the question for keys that have as many jobs running as they may."""
    running = select(jobs.c.key_id).where(jobs.c.state == "running")
    return running.group_by(jobs.c.key_id).having(func.count() >= each)


def how_far(progress: Progress) -> int:
    """Return a number that grows with every step after which a restart has less to do."""
    phase = PHASES.index(progress.phase) if progress.phase in PHASES else 0
    return phase * _MOST_SEGMENTS + min(progress.segments_done, _MOST_SEGMENTS - 1)


def row_of(connection: Connection, job_id: str) -> StoredRow:
    """Return a job's row.

    Raises:
        NotFound: there is none.
    """
    # Asked first: Postgres fails at a name that holds a zero byte.
    row = connection.execute(select(jobs).where(jobs.c.id == job_id)).first() if JOB_ID.fullmatch(job_id) else None
    if row is None:
        raise none_of(job_id)
    return row


def none_of(job_id: str) -> NotFound:
    """Return the fault of asking for a job that is not there."""
    return NotFound(f"there is no job {job_id[:64]!r}")


def job_of(row: StoredRow) -> Job:
    """Return a row as the value that the rest of the program knows.

    Raises:
        ValueError and its like (`UNREADABLE`): a column does not hold what it should.
    """
    return Job(
        id=row.id,
        asked=asked_from(row.asked),
        state=row.state,
        version=row.version,
        attempt=row.attempt,
        created_at=row.created_at,
        updated_at=row.updated_at,
        key_id=row.key_id,
        progress=progress_from(row.progress),
        started_at=row.started_at,
        finished_at=row.finished_at,
        plan=_object(row.plan),
        outcome=None if row.outcome is None else outcome_from(row.outcome),
        fault=_object(row.fault),
        upload_id=row.upload_id,
        wanted=row.wanted,
        number=row.number,
        request_id=row.request_id,
        home=row.home,
    )


def is_whole(row: StoredRow) -> bool:
    """Tell whether a row can be read as a job."""
    try:
        job_of(row)
    except UNREADABLE:
        return False
    return True


def whole_job_of(row: StoredRow) -> Job:
    """Return a row as `job_of` does, for somebody who asked for this very job.

    Raises:
        JobDamaged: what is stored of it cannot be read.
    """
    try:
        return job_of(row)
    except UNREADABLE as err:
        hint = "remove the job, or restore the jobs' database from a backup; other jobs are not touched"
        raise JobDamaged(f"what is stored of job {row.id} is damaged", hint=hint) from err


def _object(value: object) -> dict[str, Any] | None:  # JSON values
    if value is None or isinstance(value, dict):
        return value
    raise TypeError("a column holds no JSON object")
