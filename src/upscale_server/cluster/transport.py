"""How pictures travel between a server and its nodes: through a folder that all of them see, or an object store.

Keys are made by the fleet; what is in the files is not known here.
"""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from upscale_server.disk import check_room, naming_write_faults
from upscale_server.errors import SourceNotFound, StorageError
from upscale_server.storage.base import About, ObjectStore, UploadMemory
from upscale_server.storage.local import check_key

PREFIX = "work/"
"""What begins with it is on its way; nothing of it is a result."""
STALE_SECONDS = 86_400.0
"""A job's files to which nothing was added for so long were left by a server that is gone."""

Check = Callable[[], None]
"""Called often; what it raises ends the transfer."""


class Transport(Protocol):
    """Gives and takes files by key; safe to call from several threads."""

    def offer(self, source: Path, key: str, check: Check) -> None:
        """Let nodes have a source, for as long as it is not dropped.

        Raises:
            SourceNotFound, StorageError, DiskFull: it is gone, or cannot be stored.
        """

    def source(self, key: str, target: Path, check: Check) -> Path:
        """Return a source as a file: `target`, or where it lies.

        Raises:
            StorageError, DiskFull: it cannot be had.
        """

    def give(self, path: Path, key: str, check: Check) -> None:
        """Store a file.

        Raises:
            StorageError, DiskFull: it cannot be stored.
        """

    def take(self, key: str, path: Path, check: Check) -> None:
        """Write what was given to a file, and drop it.

        Raises:
            StorageError, DiskFull: it cannot be had, or written.
        """

    def drop(self, prefix: str) -> None:
        """Remove everything whose key begins so; what cannot be removed now is swept by its age."""

    def sweep(self) -> None:
        """Remove what servers that are gone have left: folders to which nothing was added for `STALE_SECONDS`."""


class StoreTransport:
    """Through the object store that results go to as well."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects

    def offer(self, source: Path, key: str, check: Check) -> None:
        """Store a source, where it is not stored already."""
        try:
            byte_count = source.stat().st_size
        except OSError as err:
            raise SourceNotFound(f"source {source} is gone while it is worked on: {err}") from err
        try:
            found = self._objects.head(key)
        except StorageError:  # it is not waited for; storing is
            found = None
        if found is None or found.byte_count != byte_count or time.time() - found.modified > STALE_SECONDS / 2:
            self.give(source, key, check)

    def source(self, key: str, target: Path, check: Check) -> Path:
        """Download a source."""
        self._objects.get(key, target, check)
        return target

    def give(self, path: Path, key: str, check: Check) -> None:
        """Store a file."""
        self._objects.put(path, key, About("application/octet-stream"), UploadMemory(None, lambda _id: None, check))

    def take(self, key: str, path: Path, check: Check) -> None:
        """Download a file and remove the object."""
        self._objects.get(key, path, check)
        with suppress(StorageError):
            self._objects.delete(key)

    def drop(self, prefix: str) -> None:
        """Remove objects."""
        with suppress(StorageError):
            for one in self._objects.listed(prefix):
                self._objects.delete(one.key)

    def sweep(self) -> None:
        """Remove stale objects, all of a folder or none."""
        with suppress(StorageError):
            found = list(self._objects.listed(PREFIX))
            before = time.time() - STALE_SECONDS
            living = {_folder_of(one.key) for one in found if one.modified > before}
            for one in found:
                if _folder_of(one.key) not in living:
                    self._objects.delete(one.key)


class FolderTransport:
    """Through a folder at the same path on every machine, a network file system for one: sources are not copied."""

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()

    def offer(self, source: Path, key: str, check: Check) -> None:
        """Link the source into the folder; copy it where that is another disk."""
        check()
        target = self._path(key)
        with naming_write_faults(target):
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.utime(target.parent)  # its time says that somebody wants what is in it; that of a source is the source's
            if target.exists():
                return
            try:
                target.hardlink_to(source)
            except FileExistsError:
                return
            except OSError:
                self._copied(source, target)

    def source(self, key: str, target: Path, check: Check) -> Path:
        """Return where the source lies."""
        del target
        check()
        path = self._path(key)
        if not path.is_file():
            raise StorageError(f"source {path} is not there", hint="is UPSCALE_RAY__FOLDER the same folder everywhere?")
        return path

    def give(self, path: Path, key: str, check: Check) -> None:
        """Copy a file into the folder."""
        check()
        target = self._path(key)
        with naming_write_faults(target):
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._copied(path, target)

    def take(self, key: str, path: Path, check: Check) -> None:
        """Move a file out of the folder."""
        check()
        found = self._path(key)
        if not found.is_file():
            raise StorageError(f"{found} is not there", hint="is UPSCALE_RAY__FOLDER the same folder everywhere?")
        with naming_write_faults(path):
            self._copied(found, path)
        with suppress(OSError):
            found.unlink()

    def drop(self, prefix: str) -> None:
        """Remove files; folders that nothing is in any more, too."""
        folder, _, begin = prefix.rpartition("/")
        place = self._path(folder)
        for path in place.glob("*"):
            if path.name.startswith(begin):
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
        with suppress(OSError):
            place.rmdir()

    def sweep(self) -> None:
        """Remove stale folders."""
        before = time.time() - STALE_SECONDS
        for folder in self._path(PREFIX.rstrip("/")).glob("*"):
            with suppress(OSError):
                if folder.stat().st_mtime <= before:
                    shutil.rmtree(folder)

    def _copied(self, source: Path, target: Path) -> None:
        """Make a whole copy that takes its name last."""
        part = target.with_name(f"{target.name}.{secrets.token_hex(8)}.part")
        try:
            check_room(part.parent, source.stat().st_size)
            shutil.copyfile(source, part)
            with part.open("rb+") as file:
                os.fsync(file.fileno())
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self._root / check_key(key)


def beside(key: str, path: Path) -> str:
    """Return the key of a file that is stored beside another one."""
    return f"{key}{path.suffix}"


def _folder_of(key: str) -> str:
    return key.rpartition("/")[0]
