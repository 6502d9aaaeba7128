"""The jobs' database: transactions in which there is one writer at a time, readers who see one state, and one clock.

It knows nothing of jobs; the questions are asked in `store`.
"""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, extract, func, select
from sqlalchemy.exc import DBAPIError, InterfaceError, InternalError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as NoneFree

from upscale_server.errors import DatabaseAway, DatabaseTaken, DiskFull, StorageError
from upscale_server.jobs.opening import as_url, opened
from upscale_server.jobs.tables import SCHEMA_VERSION, schema
from upscale_server.logs import get_logger

_LEAST_BYTES = 1 << 20
"""With less on its disk a transaction cannot be expected to be written."""

_SLOW_SECONDS = 3.0
"""A server that had no answer for so long was away itself, or the database was: something is asked every second."""
_TOLD_EVERY_SECONDS = 60.0
"""Between two lines of the log about an outage that lasts: every question fails meanwhile."""
_ONE_STATE = {"isolation_level": "REPEATABLE READ"}
_PASSING = (OperationalError, InterfaceError, InternalError)
"""What Postgres's driver says where nobody answers, a server ends or only reads, a lock or a connection is not had."""
_HELD = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


class Database:
    """Short transactions on a database.

    Args:
        url: SQLAlchemy's address of it.
        clock: seconds since the epoch, in place of the time that its servers agree on.

    Raises:
        StorageError: it cannot be opened, or a newer version wrote it.
        BadRequest: its address is none.
    """

    def __init__(self, url: str, clock: Callable[[], float] | None = None) -> None:
        self._url = as_url(url)
        self.is_shared = self._url.get_backend_name() != "sqlite"
        self._clock = clock
        self._told_at: float | None = None
        self._away_at = self._answered_at = float("-inf")
        self._engine = opened(self._url)
        # Several questions of one reader see one state; SQLite knows nothing else.
        self._reader = self._engine.execution_options(**_ONE_STATE) if self.is_shared else self._engine
        try:
            with self.writing():
                pass
        except BaseException:
            self.close()
            raise

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Give a transaction that no other writer runs beside; it is on the disk when the block has ended.

        Every one looks at the version: a newer server may have begun, and what it writes would be lost on us.
        """
        with self._naming_faults(), self._engine.connect() as connection:
            connection.execution_options(writes=True)
            with connection.begin():
                # Whoever has the row writes; SQLite is locked already.
                self._refuse_other(connection.execute(select(schema.c.version).with_for_update()).scalar())
                self._note_answer()
                yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Give a transaction that sees one state and holds nobody up."""
        with self._naming_faults(), self._reader.connect() as connection, connection.begin():
            yield connection

    def check_version(self, connection: Connection) -> None:
        """Return where this version may write; readers do not ask otherwise.

        Raises:
            DatabaseTaken: a newer server has begun, and brought the tables up.
        """
        self._refuse_other(connection.execute(select(schema.c.version)).scalar())

    def now(self, connection: Connection) -> float:
        """Return the time that all servers of this database agree on, in seconds since the epoch.

        Postgres tells it: a server whose own clock is ahead would take the jobs of all others for forsaken.
        """
        if self._clock is not None or not self.is_shared:
            return self.clock()
        return float(connection.execute(select(extract("epoch", func.clock_timestamp()))).scalar_one())

    def clock(self) -> float:
        """Return this server's own time, for what is no other server's business."""
        return time.time() if self._clock is None else self._clock()

    def was_away(self, seconds: float) -> bool:
        """Tell whether an answer was missed, or we began, within so many seconds: others may have had none either."""
        return time.monotonic() - self._away_at < seconds

    def close(self) -> None:
        """Close every connection; safe to call twice."""
        self._engine.dispose()

    def _refuse_other(self, version: int | None) -> None:
        if version != SCHEMA_VERSION:
            raise DatabaseTaken(
                f"{self._called} has schema {version}; this version reads and writes {SCHEMA_VERSION}",
                hint="run the version that wrote it, move the file away, or give another UPSCALE_DATABASE_URL",
            )

    @property
    def _called(self) -> str:
        """Return what it is called in a fault; which machine it is on is nobody's business outside."""
        return "jobs' database" if self.is_shared else f"jobs' database {self._url.render_as_string()}"

    @contextmanager
    def _naming_faults(self) -> Iterator[None]:
        try:
            yield
            self._tell_of_its_return()
        except DBAPIError as err:
            what = str(err.orig).splitlines()[0]
            if "disk is full" in what or "No space left" in what or self._no_room_explains(err.orig):
                raise DiskFull(f"no space left for the {self._called}", hint="free some space") from err
            if self._may_pass(err):
                raise self._away(what) from err
            raise StorageError(f"{self._called}: {what}") from err
        except NoneFree as err:  # no connection in time
            raise self._away(str(err)) from err
        except SQLAlchemyError as err:
            raise StorageError(f"{self._called}: {err}") from err

    def _may_pass(self, error: DBAPIError) -> bool:
        """Tell whether the same may be answered in a moment; what may not fails a job, or it is done again for ever."""
        if self.is_shared:
            return error.connection_invalidated or isinstance(error, _PASSING)
        return getattr(error.orig, "sqlite_errorcode", 0) & 0xFF in _HELD

    def _away(self, why: str) -> DatabaseAway:
        self._away_at = now = time.monotonic()
        if not self.is_shared:
            return DatabaseAway(f"{self._called}: {why}")
        if self._told_at is None or now - self._told_at >= _TOLD_EVERY_SECONDS:
            self._told_at = now
            get_logger().warning("database_away", detail=why)
        return DatabaseAway(f"{self._called} does not answer", hint="what was accepted is kept; ask again in a moment")

    def _note_answer(self) -> None:
        """Take it for an outage where there was none for long: a database that stands still refuses nobody."""
        now = time.monotonic()
        if now - self._answered_at > _SLOW_SECONDS and self.is_shared and self._clock is None:
            self._away_at = now
        self._answered_at = now

    def _tell_of_its_return(self) -> None:
        if self._told_at is not None:
            self._told_at = None
            get_logger().info("database_back")

    def _no_room_explains(self, error: object) -> bool:
        """Tell whether SQLite failed at the disk, of which it does not say why, and nothing can be written there."""
        failed = getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_IOERR
        return failed and shutil.disk_usage(Path(str(self._url.database)).parent).free < _LEAST_BYTES
