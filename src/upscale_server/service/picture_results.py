"""Keeps the results of batches as files for a while: each has a path, a signed link, and an end.

Several processes share the folder; whoever looks first removes what is too old.
"""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from upscale_server.disk import naming_write_faults
from upscale_server.errors import DiskFull, Gone
from upscale_server.service.results import StoredFile
from upscale_server.storage.base import Stored
from upscale_server.storage.links import Signer

SPARE_BYTES = 64 << 20
"""Left free on the disk for what else must be written: uploads and the log."""
_NAME_BYTES = 16


@dataclass(frozen=True, slots=True)
class Kept:
    """A result on the disk and the path and query of a link to it."""

    path: Path
    link: str
    byte_count: int


class PictureResults:
    """Files under random names in one folder; safe to call from several threads and processes."""

    def __init__(self, folder: Path, signer: Signer, seconds: int) -> None:
        self._folder = folder.absolute()
        self._signer = signer
        self._seconds = seconds

    def keep(self, content: bytes, suffix: str) -> Kept:
        """Write a result; it is there whole or not at all.

        Raises:
            DiskFull, StorageError: it cannot be written.
        """
        name = f"{secrets.token_hex(_NAME_BYTES)}{suffix}"
        path, part = self._folder / name, self._folder / f".{name}.part"
        with naming_write_faults(path):
            self._check_room(len(content))
            try:
                part.write_bytes(content)
                part.replace(path)
            finally:
                part.unlink(missing_ok=True)
        return Kept(path, self._signer.link(name, self._seconds), len(content))

    def linked_file(self, key: str, query: Mapping[str, str]) -> StoredFile:
        """Return the file that a signed link stands for.

        Raises:
            Forbidden: the signature is not ours.
            Gone: the link has expired, or the file.
        """
        self._signer.check(key, query)
        path = self._folder / key  # signed by us, so it is one of our names
        try:
            facts = path.stat()
        except OSError as err:
            raise Gone("the result is not there any more", hint="it is kept for UPSCALE_IMAGE__RESULT_SECONDS") from err
        etag = f"{facts.st_ino:x}-{facts.st_size:x}-{facts.st_mtime_ns:x}"
        return StoredFile(path, Stored(key, facts.st_size, facts.st_mtime, etag), key)

    def sweep(self) -> int:
        """Remove what is older than its time, half-written files too; return how many."""
        before, removed = time.time() - self._seconds, 0
        with os.scandir(self._folder) as found:
            for entry in found:
                with suppress(OSError):  # another process was first
                    if entry.is_file(follow_symlinks=False) and entry.stat().st_mtime <= before:
                        Path(entry.path).unlink()
                        removed += 1
        return removed

    def _check_room(self, byte_count: int) -> None:
        free = shutil.disk_usage(self._folder).free
        if free < byte_count + SPARE_BYTES:
            raise DiskFull(
                f"the result needs {byte_count + SPARE_BYTES} bytes in {self._folder}; {free} are free",
                hint="free some space, or set UPSCALE_OUTPUT_DIR to a folder on a larger disk",
            )
