"""A stretch of a file that reads like a file of its own, so that a part is sent from the disk and not from memory.

It reads only.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_READ_BYTES = 1 << 20


class Window(io.RawIOBase):
    """The bytes of `path` from `start` on, `length` of them; a context manager."""

    def __init__(self, path: Path, start: int, length: int) -> None:
        super().__init__()
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._start = start
        self._length = length
        self._position = 0

    def __len__(self) -> int:
        return self._length

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def seekable(self) -> bool:
        """Tell that it can be read again: a request that failed is sent anew."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move within the stretch."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._length}[whence]
        self._position = max(base + offset, 0)
        return self._position

    def tell(self) -> int:
        """Return the place within the stretch."""
        return self._position

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - any writable buffer; typeshed has no public name for it
        """Read into a buffer; 0 at the end of the stretch."""
        wanted = min(len(buffer), self._length - self._position)
        chunk = os.pread(self._descriptor, max(wanted, 0), self._start + self._position)
        buffer[: len(chunk)] = chunk
        self._position += len(chunk)
        return len(chunk)

    def close(self) -> None:
        """Close the file; safe twice."""
        if not self.closed:
            os.close(self._descriptor)
        super().close()

    def md5(self) -> bytes:
        """Return the stretch's MD5, which S3 compares with what arrived; the place is the start again."""
        digest = hashlib.md5(usedforsecurity=False)
        for chunk in self._chunks():
            digest.update(chunk)
        self.seek(0)
        return digest.digest()

    def _chunks(self) -> Iterator[bytes]:
        self.seek(0)
        while chunk := self.read(_READ_BYTES):
            yield chunk
