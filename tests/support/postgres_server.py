"""Starts a real Postgres for tests, on loopback and in a folder of its own, where its programs are installed.

No service of the machine is touched. Postgres refuses to run as root, so root lends it the account `postgres`.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from tests.support.killing import AT_LEISURE, wait_until
from tests.support.nginx import free_ports

HOW = "apt-get install postgresql, and pip install 'upscale-server[postgres]'"
STOP_SECONDS = 60
_ACCOUNTS = ("postgres", "nobody")
_UNTIL_WE_END = ("setpriv", "--pdeathsig", "INT")
"""A test run that is killed leaves no server behind."""
_SETTINGS = {"shared_buffers": "16MB", "log_lock_waits": "on"}


@dataclass(slots=True)
class Postgres:
    """A server that can be stopped, killed and started again; each test has a database of its own in it."""

    folder: Path
    programs: Path
    port: int
    settings: Mapping[str, str]
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        own = {"listen_addresses": "127.0.0.1", "port": str(self.port), "unix_socket_directories": str(self.folder)}
        settings = {**self.settings, **own}
        flags = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*_UNTIL_WE_END, self.programs / "postgres", "-D", self.folder / "data", *flags],
                stderr=log, **_borrowed(),
            )  # fmt: skip
        wait_until(self._answers, AT_LEISURE)

    def stop(self) -> None:
        """End it in order, whoever is connected. Safe to call twice."""
        self._end(signal.SIGINT)

    def crash(self) -> None:
        """End it at once: its next start has to find out from its log what was written."""
        self._end(signal.SIGQUIT)

    def _end(self, number: int) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(STOP_SECONDS)
            self.process = None

    def new_database(self) -> str:
        """Make an empty database and return its address."""
        name = f"jobs_{secrets.token_hex(4)}"
        self.ask(f"CREATE DATABASE {name}")
        return self.url(name)

    def url(self, name: str = "postgres") -> str:
        """Return the address of a database."""
        return f"postgresql://upscale@127.0.0.1:{self.port}/{name}"

    def ask(self, statement: str, url: str = "") -> list[tuple[object, ...]]:
        """Run a statement past the code under test, and return its rows, if it gives any."""
        address = (url or self.url()).replace("postgresql:", "postgresql+psycopg:")
        engine = create_engine(address, isolation_level="AUTOCOMMIT")
        try:
            with engine.connect() as connection:
                result = connection.execute(text(statement))
                return [tuple(row) for row in result] if result.returns_rows else []
        finally:
            engine.dispose()

    def connected(self, url: str) -> list[int]:
        """Return the processes that serve those who are connected to a database; who asks here is none of them."""
        question = "SELECT datname, pid FROM pg_stat_activity WHERE datname IS NOT NULL"
        return [int(str(pid)) for name, pid in self.ask(question) if name == url.rpartition("/")[2]]

    def _answers(self) -> bool:
        if self.process is None or self.process.poll() is not None:
            raise RuntimeError(f"Postgres did not start: {(self.folder / 'log').read_text()[-2000:]}")
        asked = [self.programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(asked, check=False).returncode == 0


@contextmanager
def running_postgres(settings: Mapping[str, str] = _SETTINGS) -> Iterator[Postgres]:
    """Run a server; skip the test, and say how to get one, where that is not possible here."""
    pytest.importorskip("psycopg", reason=f"no Postgres to test against: {HOW}")
    programs = postgres_programs()
    if programs is None:
        pytest.skip(f"no Postgres to test against: {HOW}")
    folder = Path(tempfile.mkdtemp(prefix="upscale-postgres-"))  # a test's own folder is closed to other accounts
    server = Postgres(folder, programs, free_ports(1)[0], settings)
    try:
        if (account := _borrowed().get("user")) is not None:
            shutil.chown(folder, account)
        made = [programs / "initdb", "-D", folder / "data", "-U", "upscale", "--auth=trust", "--no-sync", "-E", "UTF8"]
        subprocess.run(made, check=True, stdout=subprocess.DEVNULL, **_borrowed())
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def postgres_programs() -> Path | None:
    """Return the folder of the newest Postgres; Debian has each version in one of its own, and none in the path."""
    versions = Path("/usr/lib/postgresql").glob("*/bin/postgres")
    newest = max(versions, key=lambda path: float(path.parent.parent.name), default=None)
    found = newest or shutil.which("postgres")
    return None if found is None else Path(found).resolve().parent


def _borrowed() -> dict[str, Any]:  # arguments of many types
    """Return as whom Postgres runs, for `subprocess`: root's children as somebody who owns nothing of ours."""
    if os.geteuid() != 0:
        return {}
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    account = next(known[name] for name in _ACCOUNTS if name in known)
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": [], "cwd": "/"}
