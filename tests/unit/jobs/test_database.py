"""What the database says of a disk that fails it."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path
from types import SimpleNamespace

import pytest
from sqlalchemy.exc import OperationalError

from upscale_server.errors import DatabaseAway, DiskFull, UpscaleError
from upscale_server.jobs.database import Database


@pytest.mark.parametrize(
    ("code", "free_bytes", "expected"),
    [
        (sqlite3.SQLITE_IOERR_SHMSIZE, 4096, DiskFull),
        (sqlite3.SQLITE_IOERR_FSYNC, 0, DiskFull),
        (sqlite3.SQLITE_IOERR_FSYNC, 1 << 30, DatabaseAway),
        (sqlite3.SQLITE_BUSY, 0, DatabaseAway),
    ],
)
def test_a_disk_error_on_a_full_disk_is_a_full_disk(
    code: int, free_bytes: int, expected: type[UpscaleError], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite says the same of a broken disk and of some writes to a full one; what room is left tells them apart."""
    database = Database(f"sqlite:///{tmp_path / 'jobs.db'}")
    fault = sqlite3.OperationalError("disk I/O error")
    fault.sqlite_errorcode = code
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free_bytes))

    with pytest.raises(UpscaleError) as caught, database.writing():
        raise OperationalError("INSERT", None, fault)
    database.close()

    assert expected is type(caught.value)
