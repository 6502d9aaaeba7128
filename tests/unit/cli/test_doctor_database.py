"""What `upscale doctor` says of the jobs' database, and that the file is the same after it: servers may be using it."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
from pydantic import SecretStr

from tests.support.served import settings_in
from upscale_server.cli.check_database import database_check
from upscale_server.jobs import glance
from upscale_server.jobs.opening import as_url
from upscale_server.jobs.store import JobStore
from upscale_server.jobs.tables import OLDEST_VERSION, SCHEMA_VERSION
from upscale_server.settings import Settings

NO_DATABASE = b"this is no database, whatever its name says" * 100


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Give settings whose state folder has a name that a shell must be told of in quotes."""
    return settings_in(tmp_path / "a state")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Give the place of the jobs' database, in a folder that is there."""
    file = tmp_path / "a state" / "video" / "jobs.db"
    file.parent.mkdir(parents=True)
    return file


def made(file: Path, version: int = SCHEMA_VERSION) -> None:
    """Make a database as a server of a version leaves it."""
    JobStore(f"sqlite:///{file}", 3).close()
    with closing(sqlite3.connect(file)) as connection, connection:
        if version == 3:
            connection.execute("ALTER TABLE upscale_jobs DROP COLUMN request_id")
        connection.execute("UPDATE upscale_schema SET version = ?", (version,))


def contents(folder: Path) -> dict[str, str]:
    """Return what is in a folder, by name and digest."""
    return {one.name: hashlib.sha256(one.read_bytes()).hexdigest() for one in folder.iterdir()}


@pytest.mark.parametrize(
    ("version", "told", "says"),
    [
        (SCHEMA_VERSION, ("ok", ""), "jobs.db opens"),
        (3, ("ok", ""), f"has schema 3, will be brought up to {SCHEMA_VERSION} at the next start"),
        (SCHEMA_VERSION + 1, ("broken", "pip install --upgrade upscale-server"), f"has schema {SCHEMA_VERSION + 1}"),
        (OLDEST_VERSION - 1, ("broken", 'export UPSCALE_STATE_DIR="$HOME/upscale-server"'), "cannot bring up"),
    ],
)
def test_database_of_any_version_is_left_as_it_was(
    version: int, told: tuple[str, str], says: str, settings: Settings, file: Path
) -> None:
    """An older one is not brought up beside the server that uses it; a newer one is no reason to move it away."""
    made(file, version)
    before = contents(file.parent)

    found = database_check(settings)

    assert told == (found.verdict, found.fix)
    assert says in found.found
    assert before == contents(file.parent), "neither the file nor what stands beside it was touched"


def test_database_that_a_server_uses_is_read_beside_it(settings: Settings, file: Path) -> None:
    """What is only in the log of its writes yet is seen, and the writer is not held up."""
    made(file)
    with closing(sqlite3.connect(file, isolation_level=None)) as server:
        server.execute("PRAGMA wal_autocheckpoint=0")
        server.execute("UPDATE upscale_schema SET version = ?", (SCHEMA_VERSION + 5,))
        server.execute("BEGIN IMMEDIATE")
        found = database_check(settings)
        server.execute("ROLLBACK")

    assert ("broken", True) == (found.verdict, f"has schema {SCHEMA_VERSION + 5}" in found.found)


def test_database_that_somebody_holds_is_not_moved_away(
    settings: Settings, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backup, for example: the file is sound, and the command shows who has it."""
    monkeypatch.setattr(glance, "_WAIT_SECONDS", 0.05)
    made(file)
    with closing(sqlite3.connect(file, isolation_level=None)) as holder:
        holder.execute("PRAGMA locking_mode=EXCLUSIVE")
        holder.execute("BEGIN IMMEDIATE")
        holder.execute("UPDATE upscale_schema SET last_number = 1")
        holder.execute("COMMIT")
        found = database_check(settings)

    assert ("warning", f"fuser -v '{file}'") == (found.verdict, found.fix)
    assert "locked" in found.found


def test_damaged_database_is_put_aside_with_its_log(settings: Settings, file: Path) -> None:
    """The command keeps all of it in a folder; the next start makes a new one."""
    before = database_check(settings)
    file.write_bytes(NO_DATABASE)
    file.with_name("jobs.db-wal").write_bytes(b"writes")

    found = database_check(settings)
    subprocess.run(found.fix, shell=True, check=True, capture_output=True)  # noqa: S602 - that is what a fix is for

    assert ("ok", "broken", "ok") == (before.verdict, found.verdict, database_check(settings).verdict)
    aside = file.with_name("jobs.db.damaged")
    assert {"jobs.db": NO_DATABASE, "jobs.db-wal": b"writes"} == {
        name: (aside / name).read_bytes() for name in ("jobs.db", "jobs.db-wal")
    }
    assert not file.exists()


def test_page_that_is_damaged_is_found(settings: Settings, file: Path) -> None:
    """A file that begins as it should is read to its end."""
    made(file)
    whole = file.read_bytes()
    file.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))

    assert "broken" == database_check(settings).verdict


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_database_that_this_user_may_not_read_is_found(settings: Settings, file: Path) -> None:
    """It is not moved away either: its owner's server goes on using it."""
    made(file)
    file.chmod(0)

    found = database_check(settings)

    assert ("broken", f"sudo chown \"$(id -u)\" '{file}'") == (found.verdict, found.fix)


def test_file_without_tables_is_as_good_as_none(settings: Settings, file: Path) -> None:
    """A server was ended before it had made them; the next one makes them."""
    file.write_bytes(b"")

    found = database_check(settings)

    assert ("ok", True) == (found.verdict, "made at the first start" in found.found)
    assert {"jobs.db"} == set(contents(file.parent))
    assert 0 == file.stat().st_size


def test_database_that_the_setting_names_is_looked_at_there(tmp_path: Path) -> None:
    """A file that is not there is not made, nor its folder; one that is damaged is found where it is."""
    file = tmp_path / "elsewhere" / "jobs.sqlite"
    settings = settings_in(tmp_path, database_url=SecretStr(f"sqlite:///{file}"))
    before = database_check(settings)
    assert not file.parent.exists()
    file.parent.mkdir()
    file.write_bytes(NO_DATABASE)

    found = database_check(settings)

    assert ("ok", "broken") == (before.verdict, found.verdict)
    assert f"mkdir {file}.damaged && mv {file} {file}.damaged" == found.fix


def test_database_server_that_is_away_is_found(tmp_path: Path) -> None:
    """Nobody listens at its address; the command asks it again, and the password is not shown."""
    pytest.importorskip("psycopg", reason="the extra [postgres] is not installed here")
    address = SecretStr("postgresql://user:secret@127.0.0.1:9/jobs")

    found = database_check(settings_in(tmp_path, database_url=address))

    assert ("broken", "pg_isready -h 127.0.0.1 -p 9") == (found.verdict, found.fix)
    assert "secret" not in f"{found.found}{found.advice}{found.fix}"


@pytest.mark.parametrize(
    ("version", "state"), [(SCHEMA_VERSION, "sound"), (OLDEST_VERSION, "older"), (SCHEMA_VERSION + 1, "newer")]
)
def test_database_server_is_asked_for_its_version_alone(version: int, state: str, file: Path) -> None:
    """No table is made in an empty one, and none is brought up; SQLite stands in for the server here."""
    sqlite3.connect(file).close()
    url = as_url(f"sqlite:///{file}")
    empty = glance._of_server(url)
    tables = file.stat().st_size if file.exists() else 0
    made(file, version)

    found = glance._of_server(url)

    assert ("empty", 0) == (empty.state, tables)
    assert (state, version) == (found.state, found.version)
