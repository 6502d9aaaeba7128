"""Keeps the bytes of a form's files, one file behind the other: in memory while they are few, else on the disk.

Where one file ends and the next begins is its caller's to know.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from threading import Lock
from typing import IO

from upscale_server.disk import naming_write_faults
from upscale_server.web.uploads import check_room

MEMORY_BYTES = 1 << 20
"""Bytes of a form that are kept in memory: more go to the disk, so that those who wait cost no memory."""


class Spool:
    """The bytes of one form; one thread adds to it, and any may read or close it.

    Args:
        folder: where its file lies, if it needs one.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._waiting = bytearray()
        self._file: IO[bytes] | None = None
        self._written = 0
        self._lock = Lock()  # a closed file's number may be another's at once: nobody may be reading meanwhile

    @property
    def byte_count(self) -> int:
        """Return how many bytes there are."""
        return self._written + len(self._waiting)

    @property
    def is_full(self) -> bool:
        """Tell whether so much has gathered that it should go to the disk."""
        return len(self._waiting) >= MEMORY_BYTES

    def take(self, content: bytes) -> None:
        """Keep bytes, in memory as yet."""
        self._waiting += content

    def write(self) -> None:
        """Write what has gathered.

        Raises:
            DiskFull, StorageError: it cannot be written.
        """
        check_room(self._folder, len(self._waiting))
        with self._lock, naming_write_faults(self._folder):
            if self._file is None:
                # It has no name from the start (O_TMPFILE): a killed process leaves nothing of it.
                self._file = tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115 - closed by `close`
            content, self._waiting = self._waiting, bytearray()
            self._written += len(content)
            while content:
                del content[: self._file.write(content)]

    def read(self, start: int, byte_count: int) -> bytes:
        """Return so many bytes from `start` on, which are there; none when it is closed."""
        with self._lock:
            parts, left = list[bytes](), max(0, min(byte_count, self._written - start))
            if self._file is not None:
                self._file.seek(start)
                while left and (part := self._file.read(left)):  # one call gives 2 GiB at most
                    parts.append(part)
                    left -= len(part)
            first = max(0, start - self._written)
            last = max(0, start + byte_count - self._written)
            return b"".join([*parts, bytes(self._waiting[first:last])])

    def close(self) -> None:
        """Let it all go; safe to call twice."""
        with self._lock:
            self._waiting = bytearray()
            if self._file is not None:
                self._file.close()
                self._file = None
