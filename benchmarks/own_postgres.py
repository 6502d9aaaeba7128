"""Starts a Postgres of this machine's for one measurement, on loopback, in a folder that goes with it.

It measures nothing. Postgres refuses to be run by root, so it is run by another user where we are root. Durability is
left as it comes: every commit waits for the disk.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_USERS = ("postgres", "nobody")
_START_SECONDS = 60.0
_POLL_SECONDS = 0.1


def postgres_folder() -> Path | None:
    """Return where this machine's newest Postgres has its programs, or None where there is none."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda one: -float(one.parent.name))
    return next((one for one in folders if (one / "initdb").exists() and (one / "postgres").exists()), None)


@contextmanager
def own_postgres(folder: Path, *options: str) -> Iterator[str]:
    """Run a server with an empty database and give its address, as `UPSCALE_DATABASE_URL` takes it.

    Args:
        folder: an empty one; the server's user becomes its owner.
        options: of the server, such as `synchronous_commit=off`.
    """
    programs, files = postgres_folder(), folder / "postgres"
    if programs is None:
        raise FileNotFoundError("no Postgres on this machine: initdb and postgres are not found")
    files.mkdir()
    _let_in(folder, files)
    with (folder / "postgres.log").open("wb") as log:
        made = [programs / "initdb", "-D", files, "-U", "upscale", "-A", "trust", "-E", "UTF8", "--no-locale"]
        subprocess.run(_as_user(made), check=True, stdout=log, stderr=log)
        port = _free_port()
        given = [f"port={port}", "listen_addresses=127.0.0.1", f"unix_socket_directories={files}", *options]
        command = [programs / "postgres", "-D", files, *(part for one in given for part in ("-c", one))]
        process = subprocess.Popen(_as_user(command), stdout=log, stderr=log)
    try:
        _wait_for(port, process)
        yield f"postgresql://upscale@127.0.0.1:{port}/postgres"
    finally:
        process.send_signal(signal.SIGINT)  # whoever is connected still is sent away; SIGTERM would wait for them
        process.wait(_START_SECONDS)


def _as_user(command: Sequence[object]) -> list[str]:
    words = [str(one) for one in command]
    if os.geteuid():
        return words
    user = _user()
    return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", *words]


def _user() -> pwd.struct_passwd:
    known = {one.pw_name: one for one in pwd.getpwall()}
    return next(known[name] for name in _USERS if name in known)


def _let_in(folder: Path, files: Path) -> None:
    """Let the server's user reach its files, which is another one where we are root."""
    if os.geteuid() == 0:
        folder.chmod(0o711)
        os.chown(files, _user().pw_uid, _user().pw_gid)


def _free_port() -> int:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        return int(door.getsockname()[1])


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        with socket.socket() as door:
            if door.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(_POLL_SECONDS)
    raise TimeoutError("Postgres did not start; its log lies beside its files")
