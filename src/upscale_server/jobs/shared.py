"""Files under the shared folder, checked without following a link that somebody put there after the door looked.

Whoever may write in that folder may change it at any moment; the path's text was checked when the job was handed in.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from upscale_server.errors import SourceNotFound, StorageError


@contextmanager
def opened_folder(root: Path | None, path: Path) -> Iterator[int]:
    """Give the folder that a path's file is in, open; below the root none of its parts may be a link.

    Raises:
        StorageError: the path is not under the shared folder.
        OSError: a part of it is missing, is a link, or is no folder.
    """
    real = None if root is None else root.resolve()
    if real is None or not path.is_relative_to(real) or ".." in path.parts:
        raise StorageError(f"{path} is not under the shared folder", hint="see UPSCALE_SUBNET__SHARED_ROOT")
    folder = os.open(real, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in path.parent.relative_to(real).parts:
            inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            os.close(folder)
            folder = inner
        yield folder
    finally:
        os.close(folder)


def open_file(root: Path | None, path: Path) -> int:
    """Return a descriptor of a file under the shared folder, for reading.

    Raises:
        StorageError, OSError: as `opened_folder`, or the file itself is a link.
    """
    with opened_folder(root, path) as folder:
        return os.open(path.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)


def check_source(root: Path | None, path: Path) -> None:
    """Let a source pass that is still the file the door saw, and no way out of the folder.

    Raises:
        SourceNotFound: it is gone, or leads elsewhere now.
    """
    try:
        os.close(open_file(root, path))
    except (OSError, StorageError) as err:
        raise SourceNotFound(f"{path} is not a readable file under the shared folder any more") from err
