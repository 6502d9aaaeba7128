"""The jobs' database: opened by address, its tables made, and transactions in which there is one writer at a time.

It knows nothing of jobs; the questions are asked in `store`.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, func, insert, make_url, select, update
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from upscale_server.errors import BadRequest, DiskFull, MissingExtra, StorageError
from upscale_server.jobs.tables import SCHEMA_VERSION, jobs, metadata, schema

BUSY_SECONDS = 30
"""How long a writer waits for another one; a transaction takes milliseconds, a slow disk's fsync up to seconds."""

_LEAST_BYTES = 1 << 20
"""With less on its disk a transaction cannot be expected to be written."""

_FIRST_START = 0x7570_7363_616C_6531
"""Number of the lock under which the tables are made; any will do that nobody else takes."""


class Database:
    """Short transactions on a database.

    Raises:
        StorageError: it cannot be opened, or a newer version wrote it.
        BadRequest: its address is none.
    """

    def __init__(self, url: str) -> None:
        self._url = as_url(url)
        self._engine = _open(self._url)
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
                self._check_version(connection)
                yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Give a transaction that sees one state and holds nobody up."""
        with self._naming_faults(), self._engine.connect() as connection, connection.begin():
            yield connection

    def close(self) -> None:
        """Close every connection; safe to call twice."""
        self._engine.dispose()

    def _check_version(self, connection: Connection) -> None:
        version = connection.execute(select(schema.c.version).with_for_update()).scalar()  # SQLite is locked already
        if version != SCHEMA_VERSION:
            raise StorageError(
                f"jobs' database {self._shown} has schema {version}; this version reads and writes {SCHEMA_VERSION}",
                hint="run the version that wrote it, move the file away, or give another UPSCALE_DATABASE_URL",
            )

    @property
    def _shown(self) -> str:
        return self._url.render_as_string(hide_password=True)

    @contextmanager
    def _naming_faults(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as err:
            what = str(err.orig).splitlines()[0]
            if "disk is full" in what or "No space left" in what or self._no_room_explains(err.orig):
                raise DiskFull(f"no space left for the jobs' database {self._shown}", hint="free some space") from err
            raise StorageError(f"jobs' database {self._shown}: {what}") from err
        except SQLAlchemyError as err:  # no connection became free in time, for example
            raise StorageError(f"jobs' database {self._shown}: {err}") from err

    def _no_room_explains(self, error: object) -> bool:
        """Tell whether SQLite failed at the disk, of which it does not say why, and nothing can be written there."""
        failed = getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_IOERR
        return failed and shutil.disk_usage(Path(str(self._url.database)).parent).free < _LEAST_BYTES


def as_url(url: str) -> URL:
    """Read a database's address.

    Raises:
        BadRequest: it is none.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as err:
        raise _no_address() from err
    if parsed.get_backend_name() not in ("sqlite", "postgresql", "postgres"):
        raise _no_address()
    # The bare name would mean psycopg2, which is not what the extra installs.
    return parsed.set(drivername="postgresql+psycopg") if parsed.drivername in ("postgresql", "postgres") else parsed


def _no_address() -> BadRequest:
    return BadRequest(
        "setting UPSCALE_DATABASE_URL is no address of a SQLite or Postgres database; expected for example "
        "postgresql://user@host/name"
    )


def engine_of(url: URL, **options: Any) -> Engine:  # noqa: ANN401 - as `create_engine` takes them
    """Return what connects to a database; nothing is asked of it yet, and no error shows a row's values.

    Raises:
        MissingExtra: its driver is not installed.
    """
    try:
        return create_engine(url, hide_parameters=True, json_deserializer=_json_or_text, **options)
    except ModuleNotFoundError as err:
        raise MissingExtra(
            f"database {url.drivername} needs {err.name}, which is not installed",
            hint="pip install 'upscale-server[postgres]'",
        ) from err


def _json_or_text(text: str) -> Any:  # noqa: ANN401 - any JSON value
    """Return a column's value; what is no JSON comes as it is, for whoever reads the row: it must not stop a list."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _open(url: URL) -> Engine:
    if url.get_backend_name() == "sqlite":
        return _open_sqlite(url)
    engine = engine_of(url, pool_pre_ping=True)
    try:
        with engine.begin() as connection:
            if connection.dialect.name == "postgresql":  # two servers' first start: one makes the tables, one waits
                connection.execute(select(func.pg_advisory_xact_lock(_FIRST_START)))
            _make_tables(connection)
    except DBAPIError as err:
        engine.dispose()
        raise StorageError(f"jobs' database cannot be opened: {str(err.orig).splitlines()[0]}") from err
    return engine


def _make_tables(connection: Connection) -> None:
    metadata.create_all(connection)
    # Locked before anything is altered, in the order of every writer: the other way round each waits for the other.
    version = connection.execute(select(schema.c.version).with_for_update()).scalar()
    if version is None:
        connection.execute(insert(schema).values(id=1, version=SCHEMA_VERSION))
    elif version == 3:
        _from_3_to_4(connection)


def _from_3_to_4(connection: Connection) -> None:
    """Add what version 4 has more; the new table was made already, because it was missing."""
    column = jobs.c.request_id
    kind = column.type.compile(connection.dialect)
    connection.exec_driver_sql(f"ALTER TABLE {jobs.name} ADD COLUMN {column.name} {kind} NOT NULL DEFAULT ''")
    connection.execute(update(schema).values(version=4))


def _open_sqlite(url: URL) -> Engine:
    if url.database:
        _make_private(Path(url.database))
    engine = engine_of(url, connect_args={"timeout": BUSY_SECONDS})

    @event.listens_for(engine, "connect")
    def _set_up(connection: sqlite3.Connection, _record: object) -> None:
        # Transactions are begun below, as IMMEDIATE where they write: one that reads first and then writes would
        # find the database locked at once instead of waiting.
        connection.isolation_level = None
        for pragma in ("journal_mode=WAL", "synchronous=FULL", f"busy_timeout={BUSY_SECONDS * 1000}"):
            connection.execute(f"PRAGMA {pragma}").close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    try:
        with engine.connect().execution_options(writes=True) as connection, connection.begin():
            _check_whole(connection)
            _make_tables(connection)
    except DBAPIError as err:
        engine.dispose()
        raise StorageError(f"jobs' database {url.database} cannot be opened: {err.orig}", hint=_way_out(url)) from err
    except StorageError as err:
        engine.dispose()
        raise StorageError(f"jobs' database {url.database} {err.detail}", hint=_way_out(url)) from err
    return engine


def _check_whole(connection: Connection) -> None:
    """Refuse a damaged file before anything is written to it: what can still be read of it must stay readable.

    Raises:
        StorageError: with what SQLite found first; for 50 000 jobs, 100 MB, the check takes a tenth of a second.
    """
    said = str(connection.exec_driver_sql("PRAGMA quick_check(1)").scalar())
    if said != "ok":
        raise StorageError(f"is damaged: {' '.join(said.split())}")


def _way_out(url: URL) -> str:
    if not url.database:
        return "it is kept in memory; start again"
    aside = aside_command(Path(url.database))
    return f"put it aside with `{aside}`, then copy a backup to its place, or begin with an empty queue"


def aside_command(file: Path) -> str:
    """Return the command that moves a database away with what belongs to it: the rest alone would be taken for new."""
    parts = [file, *(part for end in ("-wal", "-shm") if (part := file.with_name(file.name + end)).exists())]
    aside = shlex.quote(str(file.with_name(f"{file.name}.damaged")))
    return f"mkdir {aside} && mv {' '.join(shlex.quote(str(part)) for part in parts)} {aside}"


def _make_private(path: Path) -> None:
    """Make the file for its owner's eyes only: sources may be addresses that carry a signature."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as err:
        raise StorageError(f"jobs' database {path} cannot be opened: {(err.strerror or str(err)).lower()}") from err
