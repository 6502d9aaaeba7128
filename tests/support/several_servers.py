"""Several real video servers on one Postgres and one object store, which can be killed, stopped and started again.

Each has a state folder and a way to the store of its own; what the database holds is read past the code under test.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from sqlalchemy import create_engine, text

from tests.support.fault_proxy import FaultProxy
from tests.support.many_jobs import QUICK
from tests.support.postgres_server import Postgres
from tests.support.processes import kill
from tests.support.s3_server import Swift
from tests.support.server import Server, running

SHARED = {
    **QUICK, "UPSCALE_JOBS__SEAL_SECRET": "of all servers", "UPSCALE_WEBHOOKS__SECRET": "of all servers",
    "UPSCALE_JOBS__ROOM": "1000", "UPSCALE_JOBS__LEASE_SECONDS": "3",
}  # fmt: skip
"""What servers must have in common, and short leases."""


class Ledger:
    """What stands in the jobs' database, whether a server runs or not."""

    def __init__(self, url: str) -> None:
        address = url.replace("postgresql:", "postgresql+psycopg:")
        self._engine = create_engine(address, isolation_level="AUTOCOMMIT", pool_pre_ping=True)

    def rows(self, statement: str, **values: object) -> list[tuple[Any, ...]]:  # values of many types
        """Return what a question finds."""
        with self._engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(statement), values)]

    def job(self, job_id: str) -> dict[str, Any]:  # columns of many types
        """Return a job's row."""
        with self._engine.connect() as connection:
            found = connection.execute(text("SELECT * FROM upscale_jobs WHERE id = :id"), {"id": job_id})
            return dict(found.mappings().one())

    def states(self) -> Counter[str]:
        """Return how many jobs are in which state."""
        return Counter(row[0] for row in self.rows("SELECT state FROM upscale_jobs"))

    def finished(self) -> frozenset[str]:
        """Return the jobs that are over."""
        over = "SELECT id FROM upscale_jobs WHERE state IN ('succeeded', 'failed', 'canceled')"
        return frozenset(row[0] for row in self.rows(over))

    def held(self, owner: str, phase: str = "") -> list[str]:
        """Return the jobs that a server holds, those in a phase where one is given."""
        held = "SELECT id FROM upscale_jobs WHERE state = 'running' AND owner = :owner"
        of_phase = " AND progress ->> 'phase' = :phase" if phase else ""
        return [row[0] for row in self.rows(held + of_phase, owner=owner, **({"phase": phase} if phase else {}))]

    def results(self) -> dict[str, str]:
        """Return under which key each finished job's result lies."""
        named = "SELECT id, outcome ->> 'key' FROM upscale_jobs WHERE state = 'succeeded'"
        return {row[0]: row[1] for row in self.rows(named)}

    def ends_told(self) -> Counter[str]:
        """Return how many ends of each job were written down to be told, each in the transaction that ended it."""
        return Counter(row[0] for row in self.rows("SELECT job_id FROM upscale_deliveries"))

    def close(self) -> None:
        """Close the connections; safe to call twice."""
        self._engine.dispose()


@dataclass(slots=True)
class Member:
    """One of the servers; `server` is its present process."""

    state: Path
    proxy: FaultProxy
    environment: dict[str, str]
    server: Server
    stack: ExitStack

    @property
    def url(self) -> str:
        """Return its address."""
        return self.server.url

    @property
    def owner(self) -> str:
        """Return its name in leases."""
        return (self.state / "video" / "owner.id").read_text().strip()

    @property
    def is_alive(self) -> bool:
        """Tell whether its process is there."""
        return self.server.process.poll() is None

    def kill(self) -> None:
        """End it as a power cut would."""
        kill(self.server.process.pid)
        self.server.process.wait()

    def stand_still(self) -> None:
        """Stop it in the middle of whatever it does."""
        os.kill(self.server.process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it go on."""
        os.kill(self.server.process.pid, signal.SIGCONT)

    def start(self) -> None:
        """Start it again, and wait until its lanes are loaded."""
        self.server = self.stack.enter_context(running(self.state, environment=self.environment))

    def writes(self) -> list[str]:
        """Return what it asked the store to change, by the first lines of its requests."""
        return [line for line in self.proxy.asked if line.startswith(("PUT", "POST", "DELETE")) and "check" not in line]


class Servers:
    """A context manager: so many servers that share everything they can; all are ended with the block."""

    def __init__(self, folder: Path, postgres: Postgres, swift: Swift) -> None:
        self.database_url = postgres.new_database()
        self.ledger = Ledger(self.database_url)
        self._folder = folder
        self._swift = swift
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._stack.callback(self.ledger.close)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def add(self, **more: str) -> Member:
        """Start one more; `more` are variables of its own."""
        proxy = self._stack.enter_context(FaultProxy(self._swift.port))
        state = self._folder / f"server-{len(list(self._folder.glob('server-*')))}"
        state.mkdir(parents=True)
        shared = {**SHARED, "UPSCALE_DATABASE_URL": self.database_url, **self._swift.environment(proxy.port)}
        environment = {**shared, **more}
        server = self._stack.enter_context(running(state, environment=environment))
        return Member(state, proxy, environment, server, self._stack)
