"""Write faults of the operating system, by name, room that is left free, and a file under a second name on any disk.

Where files go and what is cleaned up is the callers'.
"""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from types import TracebackType

from upscale_server.errors import DiskFull, StorageError, UpscaleError

_UNWRITABLE = frozenset(
    {
        errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.EEXIST, errno.EIO, errno.EISDIR,
        errno.ENAMETOOLONG, errno.ELOOP, errno.ESTALE, errno.ETXTBSY, errno.EBUSY, errno.EMFILE, errno.ENFILE,
    }
)  # fmt: skip

_COPY_BYTES = 1 << 20

SPARE_BYTES = 64 << 20
"""Left free on a disk by all that grows: several write past their look at it, and the jobs' database is there."""


class naming_write_faults:  # noqa: N801 - reads as a verb where it is used
    """Turn the operating system's write faults into named errors."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        number = getattr(error, "errno", None)
        if error is None or isinstance(error, UpscaleError) or number is None:
            return
        if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise DiskFull(f"no space left for {self._path}", hint="free some space and run it again") from error
        if number in _UNWRITABLE:
            raise StorageError(f"{self._path} cannot be written: {os.strerror(number)}") from error


def check_room(folder: Path, needed_bytes: int = 0) -> None:
    """Refuse to write before the disk is full, not when it is.

    Raises:
        DiskFull: with what is needed and what is free.
        StorageError: the folder is gone.
    """
    with naming_write_faults(folder):
        free = shutil.disk_usage(folder).free
    if free < needed_bytes + SPARE_BYTES:
        raise DiskFull(
            f"unfinished work needs {needed_bytes + SPARE_BYTES} bytes, of which {SPARE_BYTES} stay free; "
            f"{free} are free",
            hint="free some space, or work on a larger disk: UPSCALE_TEMP_DIR, --work-dir of the command line",
        )


def link_or_copy(source: Path, target: Path) -> None:
    """Give a file a second name, or a copy of its own where the disk has no links or is another one.

    Raises:
        FileNotFoundError: the file is gone.
        DiskFull, StorageError: the copy cannot be written; nothing of it stays.
    """
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:  # another disk, a file system without links, too many of them: what counts is whether a copy works
        _copy(source, target)


def _copy(source: Path, target: Path) -> None:
    try:
        with source.open("rb") as reader, naming_write_faults(target), target.open("xb") as writer:
            shutil.copyfileobj(reader, writer, _COPY_BYTES)
            writer.flush()
            os.fsync(writer.fileno())
    except BaseException:
        target.unlink(missing_ok=True)
        raise
