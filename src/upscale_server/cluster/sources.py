"""Sources that were brought to a node, each once for all segments of its job; and a folder that is one process's.

Where they come from is `transport`'s business.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from upscale_server.cluster.transport import Check, Transport
from upscale_server.disk import naming_write_faults
from upscale_server.errors import StorageError

_MOST_SOURCES = 8
"""Sources that are kept for the next segment; the least recently used one goes."""


class Sources:
    """The sources of one node; safe to call from several threads."""

    def __init__(self, folder: Path, transport: Transport) -> None:
        self._folder = folder
        self._transport = transport
        self._lock = threading.Lock()
        self._places: OrderedDict[str, threading.Lock] = OrderedDict()
        self._users: dict[str, int] = {}
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    @contextmanager
    def lent(self, key: str, byte_count: int, check: Check) -> Iterator[Path]:
        """Give a source as a file for the length of the block.

        Raises:
            StorageError, DiskFull, Canceled: it cannot be had, or is another file than was planned for.
        """
        with self._lock:
            coming = self._places.setdefault(key, threading.Lock())
            self._places.move_to_end(key)
            self._users[key] = self._users.get(key, 0) + 1
            self._make_room()
        try:
            with coming:
                path = self._brought(key, check)
            found = path.stat().st_size
            if found != byte_count:
                raise StorageError(f"source {key} has {found} bytes here; expected {byte_count}")
            yield path
        finally:
            with self._lock:
                self._users[key] -= 1

    def _brought(self, key: str, check: Check) -> Path:
        target = self._target(key)
        return target if target.exists() else self._transport.source(key, target, check)

    def _make_room(self) -> None:
        for key in [key for key in self._places if not self._users.get(key)]:
            if len(self._places) <= _MOST_SOURCES:
                return
            del self._places[key]
            self._users.pop(key, None)
            self._target(key).unlink(missing_ok=True)

    def _target(self, key: str) -> Path:
        return self._folder / key.replace("/", "-")


def own_folder(parent: Path) -> Path:
    """Make a folder that is this process's as long as it lives, and remove those of processes that are gone.

    Raises:
        StorageError, DiskFull: it cannot be made.
    """
    with naming_write_faults(parent):
        parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        for left in parent.iterdir():
            lock = _held(left) if left.is_dir() else None
            if lock is not None:
                shutil.rmtree(left, ignore_errors=True)
                os.close(lock)
        folder = parent / secrets.token_hex(8)
        folder.mkdir(mode=0o700)
        if _held(folder) is None:
            raise StorageError(f"{folder} cannot be locked; expected a folder of a local disk")
    return folder


def _held(folder: Path) -> int | None:
    """Return a folder's lock, which is held until this process ends; None where another process has it."""
    try:
        lock = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return None
    return lock
