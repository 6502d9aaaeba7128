"""Keeps results as files under the output folder: the store of a machine that has no other.

Serving them is the business of `web`, removing old ones that of the janitor.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from upscale_server.disk import naming_write_faults
from upscale_server.errors import BadRequest, DiskFull, StorageError, UpscaleError
from upscale_server.storage.base import About, Stored, Unfinished, UploadMemory, go_on
from upscale_server.storage.links import Signer, load_or_make_secret

SPARE_BYTES = 16 << 20
"""Left free on the disk for what else must be written: the jobs' database, the log."""

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*")
_PART = re.compile(r"\..+\.[0-9a-f]{16}\.part")


def check_key(key: str) -> str:
    """Return a key that is one of ours: names of letters, digits, `.`, `_`, `-`, joined by `/`.

    Raises:
        BadRequest: it is another text; it could lead out of the folder.
    """
    if not _KEY.fullmatch(key) or len(key) > 512:
        raise BadRequest(f"{key[:80]!r} is no key of a stored object")
    return key


class LocalStore:
    """An `ObjectStore` in a folder."""

    def __init__(self, root: Path, key_file: Path) -> None:
        self.root = root.absolute()
        with naming_write_faults(root):
            root.mkdir(parents=True, exist_ok=True, mode=0o750)
        self._signer = Signer(load_or_make_secret(key_file))

    def put(self, path: Path, key: str, about: About, upload: UploadMemory) -> Stored:  # noqa: ARG002 - S3's needs
        """Store a file: by a hard link where both are on one disk, else by a copy."""
        target = self._path(key)
        part = target.with_name(f".{target.name}.{secrets.token_hex(8)}.part")
        with naming_write_faults(target):
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
            try:
                _bring(path, part)
                os.utime(part)  # the age that counts is the time it was stored
                _sync(part)
                part.replace(target)
                _sync(target.parent)
            finally:
                part.unlink(missing_ok=True)
        stored = self.head(key)
        if stored is None:
            raise StorageError(f"{target} was stored and is not there; something else removes files in {self.root}")
        return stored

    def head(self, key: str) -> Stored | None:
        """Return what is known of an object, or None where there is none."""
        path = self.path_of(key)
        return None if path is None else self._stored(path)

    def path_of(self, key: str) -> Path | None:
        """Return the file of an object, or None where there is none; links that lead elsewhere do not count."""
        path = self._path(key)
        inside = path.is_file() and path.resolve() == self.root.resolve() / key
        return path if inside else None

    def get(self, key: str, path: Path, check: Callable[[], None] = go_on) -> None:
        """Write a copy of an object to a file."""
        check()
        found = self.path_of(key)
        if found is None:
            raise StorageError(f"there is no object {key} in {self.root}")
        part = path.with_name(f"{path.name}.part")
        with naming_write_faults(path):
            try:
                shutil.copyfile(found, part)
                part.replace(path)
            finally:
                part.unlink(missing_ok=True)

    def link(self, key: str, about: About, seconds: int) -> str:  # noqa: ARG002 - whoever serves the file names it
        """Return `/files/KEY?expires=…&signature=…`, good for `seconds`, clamped."""
        return self._signer.link(check_key(key), seconds)

    def check_link(self, key: str, query: Mapping[str, str]) -> None:
        """Let a link of ours pass.

        Raises:
            Forbidden: it is not signed by us, or was changed.
            Gone: it was ours and has expired.
        """
        self._signer.check(key, query)

    def delete(self, key: str) -> None:
        """Remove an object; nothing happens where there is none."""
        path = self._path(key)
        with naming_write_faults(path):
            path.unlink(missing_ok=True)

    def abort(self, key: str, upload_id: str) -> None:
        """Do nothing: there are no uploads in parts."""
        del key, upload_id

    def listed(self, prefix: str = "") -> Iterator[Stored]:
        """Yield the objects whose keys begin with `prefix`, in the order of their keys."""
        for path in sorted(self.root.rglob("*")):
            key = path.relative_to(self.root).as_posix()
            if not key.startswith(prefix) or not _KEY.fullmatch(key):
                continue
            stored = self.head(key)
            if stored is not None:
                yield stored

    def uploads(self, prefix: str) -> Iterator[Unfinished]:  # noqa: ARG002 - a file is stored whole
        """Yield nothing: there are no uploads in parts."""
        return iter(())

    def sweep(self, older_than_seconds: float) -> int:
        """Remove part files that nobody has touched for so long; return how many."""
        before = time.time() - older_than_seconds
        removed = 0
        for path in self.root.rglob(".*.part"):
            with suppress(FileNotFoundError):
                if _PART.fullmatch(path.name) and path.lstat().st_ctime <= before:
                    path.unlink()
                    removed += 1
        return removed

    def check(self) -> None:
        """Write, read and remove a small file.

        Raises:
            StorageError, DiskFull: what the system answered.
        """
        path = self.root / f".check.{secrets.token_hex(8)}.part"
        try:
            with naming_write_faults(path):
                path.write_bytes(b"upscale-server")
                found = path.read_bytes()
                path.unlink()
        except UpscaleError as err:
            raise type(err)(
                err.detail, hint="the folder is UPSCALE_OUTPUT_DIR; the server must be able to write it"
            ) from err
        if found != b"upscale-server":
            raise StorageError(f"{self.root} does not give back what was written to it")

    def _path(self, key: str) -> Path:
        return self.root / check_key(key)

    def _stored(self, path: Path) -> Stored | None:
        try:
            facts = path.stat()
        except FileNotFoundError:
            return None
        etag = f"{facts.st_ino:x}-{facts.st_size:x}-{facts.st_mtime_ns:x}"
        return Stored(path.relative_to(self.root).as_posix(), facts.st_size, facts.st_mtime, etag)


def _bring(source: Path, part: Path) -> None:
    """Make the bytes of a file appear under another name."""
    try:
        part.hardlink_to(source)
    except OSError:  # another disk, a file system without hard links, or one that forbids them
        free = shutil.disk_usage(part.parent).free
        needed = source.stat().st_size + SPARE_BYTES
        if free < needed:
            raise DiskFull(
                f"the result needs {needed} bytes in {part.parent}; {free} are free",
                hint="free some space, or set UPSCALE_OUTPUT_DIR to a folder on a larger disk",
            ) from None
        shutil.copyfile(source, part)


def _sync(path: Path) -> None:
    """Wait until a file or folder is on the disk, past the system's cache."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
