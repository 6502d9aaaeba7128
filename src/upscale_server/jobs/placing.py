"""Puts a result at the path that was asked for: whole or not at all, replacing nothing, and taken back by a cancel.

A note in the job's folder says which file there is ours, so that a restart neither stops at its own result nor
removes a stranger's.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from upscale_server.disk import naming_write_faults
from upscale_server.errors import StorageError
from upscale_server.jobs.folder import JobFolder, sync
from upscale_server.jobs.job import Job
from upscale_server.jobs.parts import Parts
from upscale_server.jobs.shared import opened_folder

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
"""What systems of files answer that know no second name of a file: exFAT and some that lie on a network."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where one job's result goes, under the shared folder."""

    root: Path | None
    target: Path
    part: str
    note: Path

    def put(self, path: Path) -> None:
        """Copy a file there; nothing happens where an earlier attempt did it already.

        Raises:
            StorageError, DiskFull: something is there already, or it cannot be written.
        """
        with naming_write_faults(self.target), opened_folder(self.root, self.target) as folder:
            self._drop_unfinished(folder)
            if self._is_ours(folder):
                return
            self._copy(path, folder)
            self._publish(folder)
            self._drop_unfinished(folder)
            os.fsync(folder)

    def take_back(self, *, result: bool) -> None:
        """Remove what is half done there, and where asked the whole result; never a file that is not ours.

        Raises:
            StorageError, DiskFull: it cannot be removed.
        """
        with (
            naming_write_faults(self.target),
            suppress(FileNotFoundError, NotADirectoryError),
            opened_folder(self.root, self.target) as folder,
        ):
            self._drop_unfinished(folder)
            if result and self._is_ours(folder):
                os.unlink(self.target.name, dir_fd=folder)

    def _copy(self, path: Path, folder: int) -> None:
        """Copy to a file that only we made, and note which one it is before it gets its name."""
        with path.open("rb") as source, os.fdopen(os.open(self.part, _NEW, 0o666, dir_fd=folder), "wb") as copy:
            shutil.copyfileobj(source, copy, 1 << 20)
            copy.flush()
            os.fsync(copy.fileno())
            self._write_note(_identity(os.fstat(copy.fileno())))

    def _publish(self, folder: int) -> None:
        name = self.target.name
        try:
            os.link(self.part, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
        except FileExistsError as err:
            raise self._taken() from err
        except OSError as err:
            if err.errno not in _NO_LINKS:
                raise
            self._publish_without_links(folder)

    def _publish_without_links(self, folder: int) -> None:
        """Take the name with an empty file first: a rename alone would replace whatever is there.

        What may be left of it after a kill is noted before.
        """
        part = _identity(os.stat(self.part, dir_fd=folder, follow_symlinks=False))
        self._write_note(part, holds_name=True)
        try:
            os.close(os.open(self.target.name, _NEW, 0o666, dir_fd=folder))
        except FileExistsError as err:
            self._write_note(part)
            raise self._taken() from err
        os.rename(self.part, self.target.name, src_dir_fd=folder, dst_dir_fd=folder)

    def _taken(self) -> StorageError:
        return StorageError(
            f"{self.target} exists already; a result replaces nothing", hint="move it away and retry the job"
        )

    def _drop_unfinished(self, folder: int) -> None:
        with suppress(FileNotFoundError):
            os.unlink(self.part, dir_fd=folder)
        there = self._there(folder)
        if there is not None and there.st_size == 0 and self._noted().get("holds_name"):
            os.unlink(self.target.name, dir_fd=folder)

    def _is_ours(self, folder: int) -> bool:
        there = self._there(folder)
        return there is not None and _identity(there) == self._noted().get("file")

    def _there(self, folder: int) -> os.stat_result | None:
        try:
            return os.stat(self.target.name, dir_fd=folder, follow_symlinks=False)
        except OSError:
            return None

    def _write_note(self, file: list[int], *, holds_name: bool = False) -> None:
        fresh = self.note.with_suffix(".new")
        fresh.write_text(json.dumps({"file": file, "holds_name": holds_name}))
        sync(fresh)
        fresh.replace(self.note)
        sync(self.note.parent)

    def _noted(self) -> dict[str, Any]:  # what _write_note wrote
        try:
            noted = json.loads(self.note.read_text())
        except (OSError, ValueError):
            return {}
        return noted if isinstance(noted, dict) else {}


def place_of(job: Job, parts: Parts) -> Place | None:
    """Return where a job's result goes; None where it goes to the object store."""
    if job.asked.output_path is None:
        return None
    note = JobFolder(parts.temp_dir, job.id).path / "placed.json"
    return Place(parts.settings.subnet.shared_root, Path(job.asked.output_path), f".{job.id}.part", note)


def _identity(facts: os.stat_result) -> list[int]:
    return [facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns]
