"""Opens the jobs' database by its address: SQLite as a private file that is checked first, Postgres as one of several.

It makes the tables and brings older ones up; what is asked and written is not its business.
"""

from __future__ import annotations

import json
import os
import shlex
import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, func, insert, make_url, select, update
from sqlalchemy.exc import ArgumentError, DBAPIError

from upscale_server.errors import BadRequest, DatabaseAway, MissingExtra, StorageError
from upscale_server.jobs.tables import SCHEMA_VERSION, jobs, metadata, schema

BUSY_SECONDS = 30
"""How long a writer waits for another one; a transaction takes milliseconds, a slow disk's fsync up to seconds."""

CONNECTIONS = 8
"""Of one server to Postgres, at most: its writers wait for each other anyway, and all servers share a hundred."""

STILL_SECONDS = 5
"""How long a writer may stand still between two statements: Postgres then ends it, or one server that is stopped or cut
off would hold up all others for hours. A transaction takes milliseconds."""

_LINE = {
    "connect_timeout": 5, "keepalives_idle": 5, "keepalives_interval": 5, "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}  # fmt: skip
"""So that a Postgres whose machine is gone is noticed in seconds (libpq's own names; an address may say otherwise)."""
_FIRST_START = 0x7570_7363_616C_6531
"""Number of the lock under which the tables are made; any will do that nobody else takes."""


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


def opened(url: URL) -> Engine:
    """Return what connects to a database, which has its tables then.

    Raises:
        StorageError: it cannot be opened, or is damaged.
        MissingExtra: its driver is not installed.
    """
    if url.get_backend_name() == "sqlite":
        return _open_sqlite(url)
    return _open_postgres(url)


def _open_postgres(url: URL) -> Engine:
    line = {name: value for name, value in _LINE.items() if name not in url.query}
    pool = {"pool_size": CONNECTIONS, "max_overflow": 0, "pool_timeout": BUSY_SECONDS, "pool_pre_ping": True}
    # Said, because a writer that has waited must see what the one before it wrote, whatever the database's default is.
    engine = engine_of(url, connect_args=line, isolation_level="READ COMMITTED", **pool)

    @event.listens_for(engine, "connect")
    def _set_up(connection: Any, _record: object) -> None:  # noqa: ANN401 - a driver's connection
        limits = {"idle_in_transaction_session_timeout": STILL_SECONDS, "lock_timeout": BUSY_SECONDS}
        for name, seconds in limits.items():  # not as options of the address: poolers refuse those
            connection.execute(f"SET {name} = '{seconds}s'").close()
        connection.commit()

    try:
        with engine.begin() as connection:
            # Two servers' first start: one makes the tables, one waits.
            connection.execute(select(func.pg_advisory_xact_lock(_FIRST_START)))
            _make_tables(connection)
    except DBAPIError as err:
        engine.dispose()
        raise DatabaseAway(f"jobs' database cannot be opened: {str(err.orig).splitlines()[0]}") from err
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
