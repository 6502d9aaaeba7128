"""Write faults of the operating system, by name: a full disk and a place that cannot be written.

It names them; where files go and what is cleaned up is the callers'.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import TracebackType

from upscale_server.errors import DiskFull, StorageError, UpscaleError

_UNWRITABLE = frozenset(
    {
        errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.EEXIST, errno.EIO, errno.EISDIR,
        errno.ENAMETOOLONG, errno.ELOOP, errno.ESTALE, errno.ETXTBSY, errno.EBUSY, errno.EMFILE, errno.ENFILE,
    }
)  # fmt: skip


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
