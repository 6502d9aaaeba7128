"""Looks at the jobs' database from outside, for somebody who wants to know how it is while a server may be using it.

Nothing is changed: no table is made and no schema brought up, which a server does at its start, in `opening`. A log of
writes that was left without its index gets one again; what the log holds stays in it.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sqlalchemy import URL, inspect, select
from sqlalchemy.exc import DBAPIError

from upscale_server.jobs.opening import as_url, engine_of
from upscale_server.jobs.tables import OLDEST_VERSION, SCHEMA_VERSION, schema

State = Literal["absent", "empty", "sound", "older", "unknown", "newer", "held", "damaged", "closed"]
"""`older` is brought up at a server's next start, `unknown` by none; `held`: somebody lets nobody in; `closed`: it
cannot be opened, for another reason than what is in it."""

_WAIT_SECONDS = 2
"""For whom holds it: transactions take milliseconds, and a person waits for the answer."""
_HEADER = b"SQLite format 3\0"
_WAL_MARK = b"\x02\x02"
_HELD = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL)
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


@dataclass(frozen=True, slots=True)
class Glance:
    """How a database is; `reason` is what it, or its driver, said."""

    state: State
    version: int | None = None
    reason: str = ""


def glance(address: str) -> Glance:
    """Look at a database without changing it.

    Raises:
        BadRequest: its address is none.
        MissingExtra: its driver is not installed.
    """
    url = as_url(address)
    if url.get_backend_name() != "sqlite":
        return _of_server(url)
    if not url.database or not (file := Path(url.database)).exists():
        return Glance("absent")
    try:
        return _of_file(file)
    except (sqlite3.Error, OSError) as err:
        return _failed(err)


def _of_file(file: Path) -> Glance:
    alone = _nobody_has(file)
    try:
        return _read(file, alone=alone)
    except sqlite3.DatabaseError:
        if alone and not _nobody_has(file):  # a server began meanwhile, and what was read without a lock was moving
            return _read(file, alone=False)
        raise


def _nobody_has(file: Path) -> bool:
    """Tell whether a file is one in write-ahead mode, as ours are, that no connection has open."""
    with file.open("rb") as opened:
        head = opened.read(20)
    return head[:16] == _HEADER and head[18:] == _WAL_MARK and not file.with_name(f"{file.name}-wal").exists()


def _read(file: Path, *, alone: bool) -> Glance:
    # Even a reader makes the files of write-ahead mode beside one that has none, and leaves them there: `immutable`
    # does not, and takes no lock, which only is right while nobody has the file open.
    address = f"{file.absolute().as_uri()}?mode=ro{'&immutable=1' if alone else ''}"
    with closing(sqlite3.connect(address, uri=True, timeout=_WAIT_SECONDS)) as connection:
        said = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if said != "ok":
            return Glance("damaged", reason=said)
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (schema.name,)).fetchone():
            return Glance("empty")
        row = connection.execute(f"SELECT version FROM {schema.name}").fetchone()  # noqa: S608 - our own name
    return _of_version(row[0] if row else None)


def _failed(error: sqlite3.Error | OSError) -> Glance:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # what is above says more of the same kind
    state: State = "held" if code in _HELD else "damaged" if code in _DAMAGED else "closed"
    return Glance(state, reason=getattr(error, "strerror", None) or str(error))


def _of_server(url: URL) -> Glance:
    limit = {"connect_timeout": _WAIT_SECONDS} if url.get_backend_name() == "postgresql" else {}
    engine = engine_of(url, connect_args=limit)
    try:
        with engine.connect() as connection:
            if not inspect(connection).has_table(schema.name):
                return Glance("empty")
            return _of_version(connection.execute(select(schema.c.version)).scalar())
    except DBAPIError as err:
        return Glance("closed", reason=str(err.orig).splitlines()[0])
    finally:
        engine.dispose()


def _of_version(version: int | None) -> Glance:
    if version is None:
        return Glance("empty")
    if version > SCHEMA_VERSION:
        return Glance("newer", version)
    if version < OLDEST_VERSION:
        return Glance("unknown", version)
    return Glance("sound" if version == SCHEMA_VERSION else "older", version)
