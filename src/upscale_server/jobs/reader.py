"""The questions about stored jobs that change nothing: one job, pages of them, how many, and which are old.

Every method is one transaction that sees one state. What changes jobs is `store`'s.
"""

from __future__ import annotations

from sqlalchemy import func, select

from upscale_server.jobs.database import Database
from upscale_server.jobs.job import FINISHED, FOLLOWS, Job, State
from upscale_server.jobs.rows import cursor_of, job_of, older_than, row_of
from upscale_server.jobs.tables import jobs


class JobReader:
    """Looks at the jobs of a database; safe to call from several threads.

    Raises:
        StorageError: from every method, when the database does not answer.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def close(self) -> None:
        """Close the database; safe to call twice."""
        self._database.close()

    def get(self, job_id: str) -> Job:
        """Return a job.

        Raises:
            NotFound: there is none of this name.
        """
        with self._database.reading() as connection:
            return job_of(row_of(connection, job_id))

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
            query = query.where(older_than(after))
        with self._database.reading() as connection:
            found = [job_of(row) for row in connection.execute(query)]
        last = found[limit - 1] if len(found) > limit else None
        return found[:limit], None if last is None else cursor_of(last)

    def counts(self) -> dict[State, int]:
        """Return how many jobs are in each state."""
        query = select(jobs.c.state, func.count().label("amount")).group_by(jobs.c.state)
        with self._database.reading() as connection:
            found = {row.state: row.amount for row in connection.execute(query)}
        return {state: found.get(state, 0) for state in FOLLOWS}

    def place(self, job_id: str) -> int:
        """Return a waiting job's place in the queue, 1 for the next one; 0 for a job that does not wait."""
        return self.places().get(job_id, 0)

    def places(self) -> dict[str, int]:
        """Return the places of all jobs that wait, 1 for the next one: one question for a whole list of them."""
        query = select(jobs.c.id).where(jobs.c.state == "queued").order_by(jobs.c.queued_at, jobs.c.number)
        with self._database.reading() as connection:
            return {row.id: place for place, row in enumerate(connection.execute(query), 1)}

    def expired(self, before: float) -> list[Job]:
        """Return up to a thousand finished jobs that ended before a moment, oldest first."""
        query = select(jobs).where(jobs.c.state.in_(FINISHED), jobs.c.finished_at < before)
        with self._database.reading() as connection:
            return [job_of(row) for row in connection.execute(query.order_by(jobs.c.finished_at).limit(1000))]

    def forsaken(self, before: float) -> list[Job]:
        """Return up to a thousand paused jobs that nobody has touched since a moment."""
        query = select(jobs).where(jobs.c.state == "paused", jobs.c.updated_at < before)
        with self._database.reading() as connection:
            return [job_of(row) for row in connection.execute(query.order_by(jobs.c.updated_at).limit(1000))]
