"""A log file that several processes may append to and that never grows without bound.

It knows nothing of what is logged. Python's own rotating handler loses lines when two processes rotate one file.
"""

from __future__ import annotations

import fcntl
import os
import threading
from contextlib import suppress
from pathlib import Path

from upscale_server.disk import naming_write_faults

MAX_BYTES = 20 << 20
"""Size at which a file is put aside: some hundred thousand lines, a day or a week of a busy server."""
KEPT = 5
"""Files kept beside the current one, `server.log.1` being the newest."""


class RotatedFile:
    """Appends whole lines; the file is put aside when it is full.

    Raises:
        StorageError, DiskFull: the file cannot be opened.
    """

    def __init__(self, path: Path, max_bytes: int = MAX_BYTES, kept: int = KEPT) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._kept = kept
        self._lock = threading.Lock()
        with naming_write_faults(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._number = self._open()

    def write(self, text: str) -> int:
        """Append a line; lines of several threads and processes do not mix."""
        with self._lock:
            if self._is_full() or self._is_elsewhere():
                self._turn_over()
            return os.write(self._number, text.encode("utf-8", "backslashreplace"))

    def flush(self) -> None:
        """Do nothing: each line is written at once."""

    def close(self) -> None:
        """Close the file; safe to call twice."""
        with self._lock:
            if self._number >= 0:
                os.close(self._number)
                self._number = -1

    def _open(self) -> int:
        # 0600: addresses and file names of callers are nobody else's business.
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def _is_full(self) -> bool:
        return os.fstat(self._number).st_size >= self._max_bytes

    def _is_elsewhere(self) -> bool:
        """Tell whether another process has put our file aside."""
        try:
            return not os.path.samestat(os.fstat(self._number), self._path.stat())
        except FileNotFoundError:
            return True

    def _turn_over(self) -> None:
        """Put a full file aside and open a new one; of two processes that find it full, one does.

        Where that cannot be done, lines go on into the file that is there: no process waits for another.
        """
        before = self._number
        try:
            fcntl.flock(before, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # another one is about it
            return
        try:
            if not self._is_elsewhere():
                self._put_aside()
            self._number = self._open()
        except OSError:  # a folder that may not be written any more, no handle left
            fcntl.flock(before, fcntl.LOCK_UN)
        else:
            os.close(before)  # gives the lock back, too

    def _put_aside(self) -> None:
        for age in range(self._kept, 0, -1):
            older = self._path.with_name(f"{self._path.name}.{age}")
            newer = self._path.with_name(f"{self._path.name}.{age - 1}") if age > 1 else self._path
            with suppress(FileNotFoundError):
                newer.replace(older)
