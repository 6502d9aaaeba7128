"""The folder of one job: its source, its unfinished work, and the finished file until it is stored.

It knows names and what is whole; which folders may go is decided by the runner and the janitor.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from upscale_server.checkpoint import digest_of
from upscale_server.disk import naming_write_faults


def jobs_folder(temp_dir: Path) -> Path:
    """Return where the folders of all jobs are."""
    return temp_dir / "jobs"


def uploads_folder(temp_dir: Path) -> Path:
    """Return where uploads wait until their job takes them."""
    return temp_dir / "uploads"


def sources_folder(temp_dir: Path) -> Path:
    """Return where videos wait for a plan, a preview or a job."""
    return temp_dir / "sources"


def previews_folder(temp_dir: Path, server: str) -> Path:
    """Return where the folders of a server's previews are: what shares a folder for unfinished work shares no memory.

    Its name looks like a preview's, so that one rule finds what is nobody's any more.
    """
    return temp_dir / "previews" / hashlib.sha256(server.encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Ready:
    """A finished file that only has to be stored; `facts` are JSON values about how it was made."""

    path: Path
    byte_count: int
    facts: dict[str, Any]


class JobFolder:
    """A job's folder; nothing is made before `make`."""

    def __init__(self, temp_dir: Path, job_id: str) -> None:
        self.path = (jobs_folder(temp_dir) / job_id).absolute()

    @property
    def source(self) -> Path:
        """Return where a fetched or uploaded source lies; it is there only when it is whole."""
        return self.path / "source"

    def make(self) -> None:
        """Make the folder, readable for its owner alone."""
        with naming_write_faults(self.path):
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)

    def take(self, upload: Path) -> None:
        """Make an upload the job's source, whole or not at all, whichever disk it lies on.

        Raises:
            FileNotFoundError: it is gone.
        """
        part = self.path / "source.part"
        try:
            upload.rename(self.source)
        except OSError as err:
            if err.errno != errno.EXDEV:
                raise
            with naming_write_faults(self.source):
                shutil.copyfile(upload, part)
                sync(part)
                part.rename(self.source)
            upload.unlink()
        sync(self.path)

    def work(self, plan_digest: str) -> Path:
        """Return where the work for a plan goes; another plan has another place."""
        return self.path / "work" / plan_digest

    def remove(self) -> None:
        """Remove everything; nothing happens where nothing is."""
        shutil.rmtree(self.path, ignore_errors=True)

    @property
    def holds_work(self) -> bool:
        """Tell whether there is a finished segment or file, which would have to be made again."""
        return self._marker.exists() or any(self.path.glob("work/*/segment-*.json"))

    def keep_ready(self, ready: Ready) -> None:
        """Record that the work is over; from here on it is only stored."""
        record = {
            "path": str(ready.path.relative_to(self.path)),
            "byte_count": ready.byte_count,
            "sha256": digest_of(ready.path),
            "facts": ready.facts,
        }
        with naming_write_faults(self._marker):
            sync(ready.path)
            self._write(record)

    def keep_facts(self, ready: Ready) -> None:
        """Record what is known of a kept file by now; the file itself is not read again."""
        with naming_write_faults(self._marker):
            self._write({**json.loads(self._marker.read_text()), "facts": ready.facts})

    def _write(self, record: dict[str, Any]) -> None:
        part = self._marker.with_suffix(".part")
        part.write_text(json.dumps(record))
        sync(part)
        part.replace(self._marker)
        sync(self.path)

    @contextmanager
    def measuring(self) -> Iterator[bool]:
        """Mark that the file is measured for the length of the block; gives whether an earlier block never ended."""
        mark = self.path / "measuring"
        was_cut_off = mark.exists()
        with naming_write_faults(mark):
            mark.touch()
            sync(self.path)
        try:
            yield was_cut_off
        finally:
            mark.unlink(missing_ok=True)

    def find_ready(self) -> Ready | None:
        """Return the finished file, or None where it is missing or not the one recorded."""
        try:
            record = json.loads(self._marker.read_text())
            path = self.path / record["path"]
            if path.stat().st_size != record["byte_count"] or digest_of(path) != record["sha256"]:
                return None
            return Ready(path, record["byte_count"], record["facts"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    @property
    def _marker(self) -> Path:
        return self.path / "ready.json"


def sync(path: Path) -> None:
    """Wait until a file or folder is on the disk, past the system's cache."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
