"""What finished jobs left: links to it, and the file itself where it lies on this machine.

Who may have it is the asker's business.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from upscale_server.errors import Gone, NotFound, StorageError
from upscale_server.jobs.carry import about
from upscale_server.jobs.job import Job
from upscale_server.jobs.shared import open_file
from upscale_server.jobs.store import JobStore
from upscale_server.settings import Settings
from upscale_server.storage.base import About, ObjectStore, Stored
from upscale_server.storage.local import LocalStore

MINER_LINK_SECONDS = 21_600
"""A subnet result's link works for six hours at least: validators fetch late."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A result as a file on this machine, and what it is called; `shared_root` is set where others write beside it."""

    path: Path
    stored: Stored
    file_name: str
    shared_root: Path | None = None

    def open(self) -> BinaryIO:
        """Open it for reading; under the shared folder no link is followed.

        Raises:
            Gone: it was removed just now.
        """
        try:
            if self.shared_root is None:
                return self.path.open("rb")
            return os.fdopen(open_file(self.shared_root, self.path), "rb")
        except (OSError, StorageError) as err:
            raise Gone("the result is not there any more") from err


class Results:
    """The results of all jobs; safe to call from several threads."""

    def __init__(self, objects: ObjectStore, jobs: JobStore, settings: Settings) -> None:
        self._objects = objects
        self._jobs = jobs
        self._settings = settings.storage
        self._root = settings.subnet.shared_root

    def check_store(self) -> None:
        """Try once whether results can be stored.

        Raises:
            StorageError, DiskFull: with what the store answered and which setting is likely wrong.
        """
        self._objects.check()

    def link_of(self, job: Job) -> str:
        """Return an address that gives a job's result to anyone for a while; a path where the store is local.

        Raises:
            NotFound: the job has no result in the store.
        """
        if job.outcome is None or not job.outcome.key:
            raise NotFound(f"job {job.id} has no result to link to")
        seconds = self._settings.link_seconds
        if job.asked.profile == "subnet":
            seconds = max(seconds, MINER_LINK_SECONDS)
        return self._objects.link(job.outcome.key, about(job), seconds)

    def file_of(self, job: Job) -> StoredFile | None:
        """Return a job's result as a file of this machine, None where it lies in an object store.

        Raises:
            NotFound: the job has no result yet.
            Gone: the result is not there any more.
        """
        if job.outcome is None:
            raise NotFound(f"job {job.id} is {job.state} and has no result")
        if job.outcome.output_path:
            return _file_at(self._root, Path(job.outcome.output_path), job)
        if not isinstance(self._objects, LocalStore):
            return None
        try:
            return self._file_in_store(self._objects, job.outcome.key, about(job).file_name)
        except Gone as err:
            if self._jobs.is_shared:
                err.hint = "it may lie on the server that made it; servers share results with UPSCALE_STORAGE__KIND=s3"
            raise

    def linked_file(self, key: str, query: Mapping[str, str]) -> StoredFile:
        """Return the file that a signed link stands for.

        Raises:
            Forbidden: the signature is not ours.
            Gone: the link has expired, or the file.
            NotFound: there are no links to this machine.
        """
        if not isinstance(self._objects, LocalStore):
            raise NotFound("results lie in an object store")
        self._objects.check_link(key, query)
        return self._file_in_store(self._objects, key, self._name_of(key))

    def _name_of(self, key: str) -> str:
        """Return what a stored file is called; its job may have been forgotten by now."""
        try:
            return about(self._jobs.get(Path(key).stem)).file_name
        except NotFound:
            return About().file_name

    def _file_in_store(self, objects: LocalStore, key: str, file_name: str) -> StoredFile:
        stored, path = objects.head(key), objects.path_of(key)
        if stored is None or path is None:
            raise Gone("the result is not there any more", hint="results are kept for UPSCALE_STORAGE__KEEP_SECONDS")
        return StoredFile(path, stored, file_name)


def _file_at(root: Path | None, path: Path, job: Job) -> StoredFile:
    try:
        with os.fdopen(open_file(root, path), "rb") as file:
            facts = os.fstat(file.fileno())
    except (OSError, StorageError) as err:
        raise Gone(f"the result of job {job.id} is not at its path any more") from err
    if not stat.S_ISREG(facts.st_mode):
        raise Gone(f"the result of job {job.id} is not at its path any more")
    etag = f"{job.id}-{facts.st_size:x}-{facts.st_mtime_ns:x}"
    return StoredFile(path, Stored("", facts.st_size, facts.st_mtime, etag), about(job).file_name, root)
