"""What the database says of what fails it: a full disk, somebody who holds it, anything else."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path
from types import SimpleNamespace

import pytest
from sqlalchemy.exc import OperationalError

from upscale_server.errors import DatabaseAway, DiskFull, StorageError, UpscaleError
from upscale_server.jobs.database import Database


@pytest.mark.parametrize(
    ("code", "free_bytes", "expected"),
    [
        (sqlite3.SQLITE_IOERR_SHMSIZE, 4096, DiskFull),
        (sqlite3.SQLITE_IOERR_FSYNC, 0, DiskFull),
        (sqlite3.SQLITE_IOERR_FSYNC, 1 << 30, StorageError),
        (sqlite3.SQLITE_BUSY, 0, DatabaseAway),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, 0, DatabaseAway),
        (sqlite3.SQLITE_LOCKED, 0, DatabaseAway),
        (sqlite3.SQLITE_ERROR, 0, StorageError),
    ],
)
def test_a_fault_is_named_by_what_can_be_done_about_it(
    code: int, free_bytes: int, expected: type[UpscaleError], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that holds it lets it go; of a broken disk and of some writes to a full one SQLite says the same."""
    database = Database(f"sqlite:///{tmp_path / 'jobs.db'}")
    fault = sqlite3.OperationalError("disk I/O error")
    fault.sqlite_errorcode = code
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free_bytes))

    with pytest.raises(UpscaleError) as caught, database.writing():
        raise OperationalError("INSERT", None, fault)
    database.close()

    assert expected is type(caught.value)
