"""The unfinished file of a download, with what must be known to go on with it after a break or a death.

It speaks no HTTP. A power cut may lose bytes that the file's length still counts, so what was written before the
machine last started is not gone on with.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO, Self

from upscale_server.disk import naming_write_faults

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_READ_BYTES = 1 << 20
_SHOWN = Path("the source")
"""What faults of writing call the file: callers read them, and where our folders are is nobody's business outside."""


@dataclass(frozen=True, slots=True)
class Version:
    """What the source's server says of a file, by which a later answer is known to be of the same bytes."""

    etag: str = ""
    last_modified: str = ""
    total: int | None = None

    @property
    def condition(self) -> str:
        """Return the value of If-Range; empty where the server gave nothing strong enough."""
        return self.etag if self.etag and not self.etag.startswith("W/") else self.last_modified

    @property
    def is_resumable(self) -> bool:
        """Tell whether a part of this file can be gone on with."""
        return bool(self.condition) and self.total is not None


class PartFile:
    """`TARGET.part` and its note; a context manager that closes, and removes nothing by itself."""

    def __init__(self, target: Path, url: str) -> None:
        self.target = target
        self.path = target.with_name(f"{target.name}.part")
        self.done = 0
        self.version = Version()
        self._note = target.with_name(f"{target.name}.part.json")
        self._owner = {"url_sha256": hashlib.sha256(url.encode()).hexdigest(), "boot": _boot_id()}
        self._hash = hashlib.sha256()
        with naming_write_faults(_SHOWN):
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            self._file: BinaryIO = os.fdopen(os.open(self.path, flags, 0o600), "r+b")
        self._recall()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def restart(self, version: Version) -> None:
        """Throw away what is there and begin a file anew."""
        self.done, self.version, self._hash = 0, version, hashlib.sha256()
        with naming_write_faults(_SHOWN):
            self._file.seek(0)
            self._file.truncate()
            self._note.write_text(json.dumps({**self._owner, **asdict(version)}))

    def write(self, chunk: bytes) -> None:
        """Add bytes at the end."""
        with naming_write_faults(_SHOWN):
            self._file.write(chunk)
        self._hash.update(chunk)
        self.done += len(chunk)

    def head(self, byte_count: int) -> bytes:
        """Return the first bytes."""
        with naming_write_faults(_SHOWN):
            self._file.flush()
        return os.pread(self._file.fileno(), byte_count, 0)

    def finish(self) -> str:
        """Give the file its name; return its SHA-256 in hexadecimal."""
        with naming_write_faults(_SHOWN):
            self._file.flush()
            os.fsync(self._file.fileno())  # a name that is whole must not outlive its bytes in a power cut
            self._file.close()
            self.path.replace(self.target)
            self._note.unlink(missing_ok=True)
        return self._hash.hexdigest()

    def discard(self) -> None:
        """Leave nothing behind."""
        self._file.close()
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)

    def _recall(self) -> None:
        """Take over what an earlier process wrote, where its note says that it is ours."""
        try:
            note = json.loads(self._note.read_text())
            version = Version(note["etag"], note["last_modified"], note["total"])
        except (OSError, ValueError, KeyError, TypeError):
            return
        ours = self._owner["boot"] and all(note.get(name) == value for name, value in self._owner.items())
        if not ours or not version.is_resumable:
            return
        while chunk := self._file.read(_READ_BYTES):
            self._hash.update(chunk)
            self.done += len(chunk)
        self.version = version


def _boot_id() -> str:
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""  # then nothing is gone on with
