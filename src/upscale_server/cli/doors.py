"""What must hold before a server starts: who may reach it, a free port, keys that are there, one of a kind.

Everything here either holds at once or stops the start with one line; no folder is made before the port is ours.
"""

from __future__ import annotations

import errno
import fcntl
import ipaddress
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from upscale_server.disk import naming_write_faults
from upscale_server.errors import BadRequest, StorageError

_BACKLOG = 2048
"""Connections that may wait to be accepted; the kernel shortens it to its own bound."""


def check_open(host: str, *, has_keys: bool, allowed: bool) -> None:
    """Refuse to let strangers in by accident.

    Raises:
        BadRequest: other machines can reach `host`, no key is needed, and nobody said that this is meant.
    """
    if has_keys or allowed or all(ipaddress.ip_address(one).is_loopback for one in _addresses(host)):
        return
    raise BadRequest(
        f"host {host} can be reached by other machines and no API key is set",
        hint="set UPSCALE_API_KEYS or --api-key-file; --allow-open starts without a key",
    )


def keys_in(path: Path) -> str:
    """Return the keys in a file, one a line, in the form of UPSCALE_API_KEYS; `#` begins a comment.

    Raises:
        BadRequest: there is no such file, or no key in it.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as err:
        raise BadRequest(f"key file {path} cannot be read: {getattr(err, 'strerror', None) or err}") from err
    keys = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not keys:
        raise BadRequest(f"key file {path} holds no key", hint="write one key on each line")
    if any("," in key for key in keys):
        raise BadRequest(f"a key in {path} holds a comma, which separates keys in UPSCALE_API_KEYS")
    return ",".join(keys)


def listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens: from here on the port is ours and early callers wait.

    Raises:
        BadRequest: the port is in use, or is not ours to take, or the host is not one of this machine.
    """
    family = socket.AF_INET6 if ":" in _addresses(host)[0] else socket.AF_INET
    taken = socket.socket(family, socket.SOCK_STREAM)
    try:
        # So that a restarted server need not wait for the connections of the one before to time out.
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind((_addresses(host)[0], port))
        taken.listen(_BACKLOG)
    except OSError as err:
        taken.close()
        raise BadRequest(f"port {port} on {host} {_why(err)}", hint="choose another with --port or --host") from err
    return taken


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Hold a server's lock, a file in its folder, which the system lets go of however the server ends.

    Args:
        folder: of the servers of a kind, in the state folder.

    Raises:
        BadRequest: another server of this kind holds it.
        StorageError: the folder cannot be written.
    """
    lock = folder / "lock"
    with naming_write_faults(folder):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        number = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _take(number, lock)
        yield
    finally:
        os.close(number)


def _take(number: int, lock: Path) -> None:
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as err:
        holder = os.read(number, 32).decode("ascii", "replace").strip()
        raise BadRequest(
            f"a server with the state folder {lock.parent.parent} is running already (process {holder or 'unknown'})",
            hint="stop it, or give this one another UPSCALE_STATE_DIR",
        ) from err
    except OSError as err:
        raise StorageError(f"{lock} cannot be locked: {err.strerror or err}") from err
    os.ftruncate(number, 0)
    os.write(number, str(os.getpid()).encode("ascii"))


def _addresses(host: str) -> list[str]:
    """Return the addresses that a host stands for; an empty one stands for all, as it does for the system."""
    try:
        found = socket.getaddrinfo(host or "0.0.0.0", None, type=socket.SOCK_STREAM)  # noqa: S104 - its own meaning
    except (OSError, UnicodeError) as err:
        raise BadRequest(f"host {host} is not known: {getattr(err, 'strerror', None) or err}") from err
    return [str(one[4][0]).partition("%")[0] for one in found]


def _why(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "is in use"
    if error.errno == errno.EACCES:
        return "may not be taken by this user"
    if error.errno == errno.EADDRNOTAVAIL:
        return "is not an address of this machine"
    return f"cannot be taken: {(error.strerror or str(error)).lower()}"
