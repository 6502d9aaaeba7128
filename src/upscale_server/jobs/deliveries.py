"""What other servers are still to be told, kept beside the jobs: written with a job's end, so that no kill loses one.

Every method is one transaction. When a message is sent, and how, is `webhooks`' business.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, delete, insert, or_, select, update

from upscale_server.jobs.database import Database
from upscale_server.jobs.job import Job
from upscale_server.jobs.tables import deliveries, jobs
from upscale_server.jobs.view import Live, iso, output_path, view_of

_LONGEST_ERROR = 500


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message on its way: `body` is JSON without a link that can expire; `attempt` counts from 1."""

    id: str
    job_id: str
    url: str
    body: str
    attempt: int


def tell_of(connection: Connection, job: Job, now: float) -> None:
    """Write down that a job's end is to be told, in the transaction that ends it; nothing where nobody wants it."""
    if job.asked.webhook is None:
        return
    delivery_id = secrets.token_hex(16)
    values = {
        "id": delivery_id, "job_id": job.id, "url": job.asked.webhook, "body": _body(job, delivery_id, now),
        "created_at": now, "next_try_at": now,
    }  # fmt: skip
    connection.execute(insert(deliveries).values(values))


def forget(connection: Connection, job_id: str) -> None:
    """Remove what was to be told of a job, in the transaction that removes the job."""
    connection.execute(delete(deliveries).where(deliveries.c.job_id == job_id))


def _body(job: Job, delivery_id: str, now: float) -> str:
    view = view_of(job, Live(job.progress, url=output_path(job))).model_dump(mode="json", exclude={"plan"})
    return json.dumps({"id": delivery_id, "type": f"job.{job.state}", "created_at": iso(now), "job": view})


class Deliveries:
    """The messages of all jobs that share a database; safe to call from several threads.

    Raises:
        StorageError: from every method, when the database does not answer.
    """

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock

    def take(self, owner: str, lease_seconds: float) -> Delivery | None:
        """Take the message that is due longest, or None: it is due again after the lease, if nobody says how it went.

        Args:
            owner: this server; jobs that only another one does are told of by that one, which can sign their links.
            lease_seconds: longer than any try takes.
        """
        with self._database.reading() as connection:  # the usual answer is no, and needs no lock
            if connection.execute(self._due(owner)).first() is None:
                return None
        with self._database.writing() as connection:
            row = connection.execute(self._due(owner)).first()
            if row is None:
                return None
            attempt = row.attempts + 1
            self._set(connection, row.id, attempts=attempt, next_try_at=self._clock() + lease_seconds)
            return Delivery(row.id, row.job_id, row.url, row.body, attempt)

    def arrived(self, delivery: Delivery) -> None:
        """Note that a message was taken; it is not sent again."""
        with self._database.writing() as connection:
            now = self._clock()
            self._set(connection, delivery.id, next_try_at=None, delivered_at=now, last_error=None)

    def failed(self, delivery: Delivery, error: str, pause_seconds: float | None) -> None:
        """Note why a try failed, and when the next one is; None gives up."""
        with self._database.writing() as connection:
            again = None if pause_seconds is None else self._clock() + pause_seconds
            self._set(connection, delivery.id, next_try_at=again, last_error=error[:_LONGEST_ERROR])

    def give_back(self, delivery: Delivery) -> None:
        """Let a message be due now, as if the try had not been begun."""
        with self._database.writing() as connection:
            self._set(connection, delivery.id, next_try_at=self._clock(), attempts=delivery.attempt - 1)

    def _due(self, owner: str) -> Select[Any]:  # rows of many types
        ours = or_(jobs.c.home == "", jobs.c.home == owner)
        due = select(deliveries).join(jobs, jobs.c.id == deliveries.c.job_id)
        return due.where(deliveries.c.next_try_at <= self._clock(), ours).order_by(deliveries.c.next_try_at).limit(1)

    def _set(self, connection: Connection, delivery_id: str, **values: object) -> None:
        connection.execute(update(deliveries).where(deliveries.c.id == delivery_id).values(**values))
