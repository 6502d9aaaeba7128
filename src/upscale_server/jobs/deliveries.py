"""What other servers are still to be told, kept beside the jobs: written with a job's end, so that no kill loses one.

Every method is one transaction. When a message is sent, and how, is `webhooks`' business.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, get_args

from sqlalchemy import ColumnElement, Connection, Row, and_, case, delete, func, insert, or_, select, update

from upscale_server.jobs.codec import UNREADABLE, asked_from, to_record, untold
from upscale_server.jobs.database import Database
from upscale_server.jobs.job import Job, Told, ToldState
from upscale_server.jobs.tables import deliveries, jobs
from upscale_server.jobs.view import Live, iso, output_path, view_of

_LONGEST_ERROR = 500
_MOST_NAMED = 500
"""Jobs in one question: databases bound how many a statement may hold."""
_STATE = case(
    (deliveries.c.delivered_at.is_not(None), "delivered"), (deliveries.c.next_try_at.is_not(None), "pending"),
    else_="given_up",
)  # fmt: skip


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
    if job.asked.webhook is not None:
        view = view_of(job, Live(job.progress, url=output_path(job))).model_dump(
            mode="json", exclude={"plan", "webhook"}
        )
        _add(connection, job.asked.webhook, view, now)


def tell_of_unreadable(connection: Connection, row: Row[Any], fault: dict[str, Any], now: float) -> None:
    """Write down that a job failed because its row cannot be read: little is known of it, but whom to tell may be."""
    url = row.asked.get("webhook") if isinstance(row.asked, dict) else None
    if isinstance(url, str):
        _add(connection, url, {"id": row.id, "state": "failed", "fault": fault, "result": None}, now)


def _add(connection: Connection, url: str, view: dict[str, Any], now: float) -> None:
    delivery_id = secrets.token_hex(16)
    message = {"id": delivery_id, "type": f"job.{view['state']}", "created_at": iso(now), "job": view}
    values = {
        "id": delivery_id, "job_id": view["id"], "url": url, "body": json.dumps(message),
        "created_at": now, "next_try_at": now,
    }  # fmt: skip
    connection.execute(insert(deliveries).values(values))


def forget(connection: Connection, job_id: str) -> None:
    """Remove what was to be told of a job, in the transaction that removes the job."""
    connection.execute(delete(deliveries).where(deliveries.c.job_id == job_id))


class Deliveries:
    """The messages of all jobs that share a database; safe to call from several threads.

    Raises:
        StorageError: from every method, when the database does not answer.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def clock(self) -> float:
        """Return this server's own time."""
        return self._database.clock()

    def of(self, job_ids: Sequence[str]) -> dict[str, Told]:
        """Return how far the newest message of each job is; a job of which nothing was to be told is left out."""
        found: dict[str, Told] = {}
        with self._database.reading() as connection:
            for start in range(0, len(job_ids), _MOST_NAMED):
                named = deliveries.c.job_id.in_(job_ids[start : start + _MOST_NAMED])
                asked = select(deliveries, _STATE.label("state")).where(named).order_by(deliveries.c.created_at)
                for row in connection.execute(asked):  # the newest comes last, and stays
                    found[row.job_id] = Told(row.state, row.attempts, row.last_error)
        return found

    def counts(self) -> dict[ToldState, int]:
        """Return how many messages are in each state, of the jobs that are kept."""
        query = select(_STATE.label("state"), func.count().label("amount")).group_by("state")
        with self._database.reading() as connection:
            found = {row.state: row.amount for row in connection.execute(query)}
        return {state: found.get(state, 0) for state in get_args(ToldState)}

    def take(self, owner: str, most: int, lease_seconds: float, may_go: Callable[[str], bool]) -> Delivery | None:
        """Take the message that is due longest, or None: it is due again after the lease, if nobody says how it went.

        The try is counted here, before it is made: one that its server did not survive is one of them.

        Args:
            owner: this server; jobs that only another one does are told of by that one, which can sign their links.
            most: tries of a message; one that had as many is given up.
            lease_seconds: longer than any try takes.
            may_go: told an address; tells whether a message may go there now.
        """
        with self._database.reading() as connection:  # the usual answer is no, and needs no lock
            if self._next(connection, owner, may_go) is None:
                return None
        with self._database.writing() as connection:
            while (delivery_id := self._next(connection, owner, may_go)) is not None:
                row = connection.execute(select(deliveries).where(deliveries.c.id == delivery_id)).one()
                attempt = row.attempts + 1
                if attempt > most:
                    fault = row.last_error or "no server that sent it told how it went"
                    self._set(connection, deliveries.c.id == row.id, next_try_at=None, last_error=fault)
                    continue
                lease = self._database.now(connection) + lease_seconds
                self._set(connection, deliveries.c.id == row.id, attempts=attempt, next_try_at=lease)
                return Delivery(row.id, row.job_id, row.url, row.body, attempt)
        return None

    def arrived(self, delivery: Delivery) -> None:
        """Note that a message was taken, whoever else sends it by now; where to and what it was is forgotten."""
        done = {"next_try_at": None, "last_error": None, "url": "", "body": ""}
        with self._database.writing() as connection:
            now = self._database.now(connection)
            self._set(connection, deliveries.c.id == delivery.id, delivered_at=now, **done)
            row = connection.execute(select(jobs).where(jobs.c.id == delivery.job_id)).first()
            if row is not None and row.state == "succeeded":  # nobody can have it tried, and told of, again
                told = None
                with suppress(*UNREADABLE):  # or a message of a damaged job would be sent again and again
                    told = to_record(untold(asked_from(row.asked)))
                if told is not None:
                    connection.execute(update(jobs).where(jobs.c.id == row.id).values(asked=told))

    def failed(self, delivery: Delivery, error: str, pause_seconds: float | None) -> None:
        """Note why a try failed, and when the next one is; None gives up. A try that was replaced says nothing."""
        with self._database.writing() as connection:
            again = None if pause_seconds is None else self._database.now(connection) + pause_seconds
            self._set(connection, _still(delivery), next_try_at=again, last_error=error[:_LONGEST_ERROR])

    def give_back(self, delivery: Delivery) -> None:
        """Let a message be due now, as if the try had not been begun. A try that was replaced says nothing."""
        with self._database.writing() as connection:
            now = self._database.now(connection)
            self._set(connection, _still(delivery), next_try_at=now, attempts=delivery.attempt - 1)

    def _next(self, connection: Connection, owner: str, may_go: Callable[[str], bool]) -> str | None:
        """Return the name of the message that is due longest among those that may go."""
        ours = or_(jobs.c.home == "", jobs.c.home == owner)
        names = select(deliveries.c.id, deliveries.c.url).join(jobs, jobs.c.id == deliveries.c.job_id)
        now = self._database.now(connection)
        due = names.where(deliveries.c.next_try_at <= now, ours).order_by(deliveries.c.next_try_at)
        return next((row.id for row in connection.execute(due) if may_go(row.url)), None)

    def _set(self, connection: Connection, which: ColumnElement[bool], **values: object) -> None:
        connection.execute(update(deliveries).where(which).values(**values))


def _still(delivery: Delivery) -> ColumnElement[bool]:
    """Return the question for a message whose newest try is this one, and which is not over."""
    of_this_try = and_(deliveries.c.id == delivery.id, deliveries.c.attempts == delivery.attempt)
    return and_(of_this_try, deliveries.c.next_try_at.is_not(None))
