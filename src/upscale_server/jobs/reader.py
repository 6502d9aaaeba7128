"""The questions about stored jobs that change nothing: one job, pages of them, how many, and which are old.

Every method is one transaction that sees one state. What changes jobs is `store`'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, func, or_, select

from upscale_server.errors import BadRequest, JobDamaged
from upscale_server.jobs.codec import UNREADABLE
from upscale_server.jobs.database import Database
from upscale_server.jobs.job import FINISHED, FOLLOWS, JOB_ID, Job, State
from upscale_server.jobs.rows import StoredRow, job_of, none_of, row_of, waiting_of, whole_job_of
from upscale_server.jobs.tables import jobs, schema
from upscale_server.logs import get_logger

_MOST_NAMED = 500
"""Names in one question: databases bound how many a statement may hold."""
_OUTLINE = (jobs.c.id, jobs.c.key_id, jobs.c.state, jobs.c.finished_at)


@dataclass(frozen=True, slots=True)
class Head:
    """What tells whether an unfinished job has news; `place` is that in the queue, 0 where it does not wait."""

    id: str
    version: int
    place: int


@dataclass(frozen=True, slots=True)
class Outline:
    """What can be told of a job however damaged the rest is; `finished_at` is in seconds since the epoch."""

    id: str
    key_id: str
    state: State
    finished_at: float | None


@dataclass(frozen=True, slots=True)
class Pulse:
    """What tells whether there is any news at all: unfinished jobs, the newest job's number, and how many are kept."""

    heads: tuple[Head, ...]
    last_number: int
    count: int


class JobReader:
    """Looks at the jobs of a database; safe to call from several threads.

    Where many are asked for, one that cannot be read is left out and logged once: it must not hide the others.

    Raises:
        StorageError: from every method, when the database does not answer.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._unreadable: set[str] = set()

    @property
    def has_unreadable(self) -> bool:
        """Tell whether a job was left out since the start: who removes what no job wants knows that too little then."""
        return bool(self._unreadable)

    def submitted(self, key_id: str, idempotency_key: str) -> Job | None:
        """Return the job that was stored for a key and an Idempotency-Key."""
        same = (jobs.c.key_id == key_id, jobs.c.idempotency_key == idempotency_key)
        with self._database.reading() as connection:
            return next(iter(self._readable(connection.execute(select(jobs).where(*same)))), None)

    @property
    def is_shared(self) -> bool:
        """Tell whether other servers may have the same jobs."""
        return self._database.is_shared

    def now(self) -> float:
        """Return the time that all servers of the database agree on."""
        with self._database.reading() as connection:
            return self._database.now(connection)

    def close(self) -> None:
        """Close the database; safe to call twice."""
        self._database.close()

    def get(self, job_id: str) -> Job:
        """Return a job.

        Raises:
            NotFound: there is none of this name.
            JobDamaged: what is stored of it cannot be read.
        """
        with self._database.reading() as connection:
            row = row_of(connection, job_id)
        try:
            return whole_job_of(row)
        except JobDamaged as err:
            self._note_unreadable(row.id, err.__cause__ or err)
            raise

    def outline(self, job_id: str) -> Outline:
        """Return what can be told of a job whether it is damaged or not.

        Raises:
            NotFound: there is none of this name.
        """
        if not JOB_ID.fullmatch(job_id):
            raise none_of(job_id)
        with self._database.reading() as connection:
            row = connection.execute(select(*_OUTLINE).where(jobs.c.id == job_id)).first()
        if row is None:
            raise none_of(job_id)
        return Outline(*row)

    def page(
        self, after: str | None, limit: int, state: State | None = None, key_id: str | None = None
    ) -> tuple[list[Job], str | None]:
        """Return jobs, newest first, and what to give as `after` for the next page, None at the end.

        Raises:
            BadRequest: `after` is none of ours.
        """
        query = select(jobs).order_by(jobs.c.created_at.desc(), jobs.c.id.desc()).limit(limit + 1)
        if state is not None:
            query = query.where(jobs.c.state == state)
        if key_id is not None:
            query = query.where(jobs.c.key_id == key_id)
        if after is not None:
            query = query.where(_older_than(after))
        with self._database.reading() as connection:
            found = connection.execute(query).all()
        last = found[limit - 1] if len(found) > limit else None
        return self._readable(found[:limit]), None if last is None else _cursor_of(last)

    def counts(self) -> dict[State, int]:
        """Return how many jobs are in each state.

        Raises:
            DatabaseTaken: a newer server has taken it over; whoever asks whether this one can do jobs is told.
        """
        query = select(jobs.c.state, func.count().label("amount")).group_by(jobs.c.state)
        with self._database.reading() as connection:
            self._database.check_version(connection)
            found = {row.state: row.amount for row in connection.execute(query)}
        return {state: found.get(state, 0) for state in FOLLOWS}

    def waiting_of(self, key_id: str) -> int:
        """Return how many jobs of a key wait."""
        with self._database.reading() as connection:
            return int(connection.execute(waiting_of(key_id)).scalar_one())

    def place(self, job_id: str) -> int:
        """Return a waiting job's place in the queue, 1 for the next one; 0 for a job that does not wait."""
        return self.places().get(job_id, 0)

    def places(self) -> dict[str, int]:
        """Return the places of all jobs that wait, 1 for the next one: one question for a whole list of them."""
        query = select(jobs.c.id).where(jobs.c.state == "queued").order_by(jobs.c.queued_at, jobs.c.number)
        with self._database.reading() as connection:
            return {row.id: place for place, row in enumerate(connection.execute(query), 1)}

    def pulse(self) -> Pulse:
        """Look whether anything has changed: cheap enough to be asked several times a second."""
        waiting = select(jobs.c.id, jobs.c.version, jobs.c.state).where(jobs.c.state.not_in(FINISHED))
        with self._database.reading() as connection:
            found = connection.execute(waiting.order_by(jobs.c.queued_at, jobs.c.number)).all()
            last_number = int(connection.execute(select(schema.c.last_number)).scalar_one())
            count = int(connection.execute(select(func.count()).select_from(jobs)).scalar_one())
        places = {row.id: place for place, row in enumerate((row for row in found if row.state == "queued"), 1)}
        return Pulse(tuple(Head(row.id, row.version, places.get(row.id, 0)) for row in found), last_number, count)

    def some(self, job_ids: Sequence[str]) -> list[Job]:
        """Return the jobs of these names that are there, in no order."""
        with self._database.reading() as connection:
            return self._readable(
                row
                for start in range(0, len(job_ids), _MOST_NAMED)
                for row in connection.execute(select(jobs).where(jobs.c.id.in_(job_ids[start : start + _MOST_NAMED])))
            )

    def after(self, number: int) -> list[Job]:
        """Return up to a thousand jobs that were accepted after the one of this number, oldest first."""
        query = select(jobs).where(jobs.c.number > number).order_by(jobs.c.number).limit(1000)
        with self._database.reading() as connection:
            return self._readable(connection.execute(query))

    def owners(self) -> dict[str, str]:
        """Return the key of every job that is kept, by the job's name."""
        with self._database.reading() as connection:
            return {row.id: row.key_id for row in connection.execute(select(jobs.c.id, jobs.c.key_id))}

    def expired(self, before: float) -> list[Outline]:
        """Return up to a thousand finished jobs that ended before a moment, oldest first; damaged ones, too."""
        query = select(*_OUTLINE).where(jobs.c.state.in_(FINISHED), jobs.c.finished_at < before)
        with self._database.reading() as connection:
            return [Outline(*row) for row in connection.execute(query.order_by(jobs.c.finished_at).limit(1000))]

    def forsaken(self, before: float) -> list[Job]:
        """Return up to a thousand paused jobs that nobody has touched since a moment."""
        query = select(jobs).where(jobs.c.state == "paused", jobs.c.updated_at < before)
        with self._database.reading() as connection:
            return self._readable(connection.execute(query.order_by(jobs.c.updated_at).limit(1000)))

    def _readable(self, rows: Iterable[StoredRow]) -> list[Job]:
        found = []
        for row in rows:
            try:
                found.append(job_of(row))
            except UNREADABLE as err:
                self._note_unreadable(row.id, err)
        return found

    def _note_unreadable(self, job_id: str, err: BaseException) -> None:
        if job_id not in self._unreadable:
            self._unreadable.add(job_id)
            get_logger().error("job_unreadable", job_id=job_id, failure=type(err).__name__, detail=str(err))


def _cursor_of(job: Job | StoredRow) -> str:
    """Return what stands for the place after a job in the list of all."""
    return f"{job.created_at!r}_{job.id}"


def _no_cursor(cursor: str) -> BadRequest:
    return BadRequest(f"cursor is {cursor[:64]!r}; expected the `next` of an earlier page")


def _older_than(cursor: str) -> ColumnElement[bool]:
    """Return the question for jobs that come after a cursor.

    Raises:
        BadRequest: it is none of ours.
    """
    moment, _, job_id = cursor.partition("_")
    try:
        created_at = float(moment)
    except ValueError as err:
        raise _no_cursor(cursor) from err
    if not JOB_ID.fullmatch(job_id):
        raise _no_cursor(cursor)
    return or_(jobs.c.created_at < created_at, and_(jobs.c.created_at == created_at, jobs.c.id < job_id))
