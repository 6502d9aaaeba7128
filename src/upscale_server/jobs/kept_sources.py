"""Videos that wait for a plan, a preview or a job: each a folder with the file, and beside it what is known of it.

A source is there when its note is: a server that dies between leaves a folder that the next sweep removes. What is in
the file is somebody else's to find out.
"""

from __future__ import annotations

import json
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from upscale_server.disk import link_or_copy, naming_write_faults
from upscale_server.errors import NotFound, RateLimited, SourceTooLarge
from upscale_server.jobs.fair_share import beyond
from upscale_server.jobs.folder import sources_folder, sync
from upscale_server.jobs.job import JOB_ID
from upscale_server.logs import get_logger
from upscale_server.server_settings import Sources

BEGUN_SECONDS = 3600.0
"""Age from which a folder without a note belongs to a request that died."""
_FORMAT = 1
"""Of the note; another version's sources are as good as gone."""


@dataclass(frozen=True, slots=True)
class KeptSource:
    """A source that is whole; `facts` are the JSON values that callers see, times are seconds since the epoch."""

    id: str
    path: Path
    owner: str
    file_name: str
    byte_count: int
    sha256: str
    created_at: float
    expires_at: float
    facts: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Known:
    """What is noted of a source beside its file; `owner` is the id of the caller's key."""

    owner: str
    file_name: str
    sha256: str
    facts: dict[str, Any]


class KeptSources:
    """The sources below a folder for unfinished work; safe to call from several threads."""

    def __init__(self, temp_dir: Path, settings: Sources, clock: Callable[[], float] = time.time) -> None:
        self._folder = sources_folder(temp_dir).absolute()
        self._settings = settings
        self._clock = clock
        self._sweeping = threading.Lock()

    def begin(self) -> Path:
        """Make a folder for a source under a name that cannot be guessed, and return the path that its file must have.

        Raises:
            StorageError, DiskFull: it cannot be made.
        """
        path = self._folder / secrets.token_hex(16) / "source"
        with naming_write_faults(path.parent):
            path.parent.mkdir(parents=True, mode=0o700)
        return path

    def keep(self, path: Path, known: Known) -> KeptSource:
        """Note what is known of a file that has come to its path; from here on it is a source.

        Where all together are over the budget, the oldest go of the key that holds most: nobody's are pushed out by a
        key that holds more.

        Raises:
            SourceTooLarge: it is larger than the budget.
            RateLimited: the budget is full, and nobody else holds as much as its key would.
        """
        note = path.with_name("source.json")
        byte_count = path.stat().st_size
        if 0 < self._settings.budget_bytes < byte_count:
            raise SourceTooLarge(
                f"the source has {byte_count} bytes; the room for all sources is {self._settings.budget_bytes}",
                hint="set UPSCALE_SOURCES__BUDGET_BYTES, or hand it in with POST /v1/jobs",
            )
        record = {"format": _FORMAT, "created_at": self._clock(), "byte_count": byte_count, **asdict(known)}
        part = note.with_suffix(".part")
        with naming_write_faults(note):
            part.write_text(json.dumps(record))
            sync(part)
            part.replace(note)
            sync(note.parent)
        source = self._read(path.parent)
        if source is None:
            raise NotFound(f"source {path.parent.name} was removed while it came")
        self._over_budget(source)
        if not note.exists():
            raise RateLimited(
                "the room for sources is full, and no other key holds as much of it",
                hint="send it again when some have expired, or set UPSCALE_SOURCES__BUDGET_BYTES",
            )
        return source

    def discard(self, path: Path) -> None:
        """Leave nothing of a source that was begun; nothing happens where nothing is."""
        shutil.rmtree(path.parent, ignore_errors=True)

    def get(self, source_id: str, owner: str) -> KeptSource:
        """Return a source.

        Raises:
            NotFound: there is none, it has expired, or it is another key's.
        """
        found = self._read(self._folder / source_id) if JOB_ID.fullmatch(source_id) else None
        if found is None or found.expires_at <= self._clock() or (owner and found.owner != owner):
            raise NotFound(f"there is no source {source_id[:64]!r}", hint="sources are kept for a time; send it again")
        return found

    def lend(self, source: KeptSource, target: Path) -> None:
        """Give a source's file a second name, which stays when the source goes.

        Raises:
            NotFound: it was removed just now.
            DiskFull, StorageError: there is no room for it on another disk.
        """
        try:
            link_or_copy(source.path, target)
        except FileNotFoundError as err:
            raise NotFound(f"source {source.id} was removed just now", hint="send it again") from err

    def remove(self, source_id: str, owner: str) -> None:
        """Remove a source; what has a second name of its file keeps it.

        Raises:
            NotFound: as `get`.
        """
        self._drop(self.get(source_id, owner).path.parent)

    def sweep(self) -> int:
        """Remove what has expired, what was begun and left, and the oldest over the budget; return how many."""
        with self._sweeping:
            useless = [folder for folder in self._folders() if self._is_over(folder)]
            for folder in useless:
                self._drop(folder)
        return len(useless) + self._over_budget()

    def _over_budget(self, newest: KeptSource | None = None) -> int:
        if not self._settings.budget_bytes:
            return 0
        with self._sweeping:
            found = [source for folder in self._folders() if (source := self._read(folder)) is not None]
            useless = beyond(found, self._settings.budget_bytes, lambda one: one.byte_count, newest)
            if newest in useless:  # it is refused; what was there before had room
                useless = [newest]
            for source in useless:
                self._drop(source.path.parent)
                get_logger().info("source_removed", source_id=source.id, bytes=source.byte_count, reason="budget")
        return len(useless)

    def _is_over(self, folder: Path) -> bool:
        source = self._read(folder)
        if source is not None:
            return source.expires_at <= self._clock()
        try:
            return self._clock() - folder.stat().st_mtime > BEGUN_SECONDS
        except OSError:  # it was removed just now
            return False

    def _drop(self, folder: Path) -> None:
        # The note first: half a source must not look like a whole one.
        (folder / "source.json").unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)

    def _folders(self) -> Iterator[Path]:
        if self._folder.is_dir():
            yield from (path for path in self._folder.iterdir() if JOB_ID.fullmatch(path.name))

    def _read(self, folder: Path) -> KeptSource | None:
        path = folder / "source"
        try:
            note = json.loads((folder / "source.json").read_text())
            if note["format"] != _FORMAT or path.stat().st_size != note["byte_count"]:
                return None
            created_at = float(note["created_at"])
            return KeptSource(
                folder.name, path, note["owner"], note["file_name"], note["byte_count"], note["sha256"],
                created_at, created_at + self._settings.keep_seconds, note["facts"],
            )  # fmt: skip
        except (OSError, ValueError, KeyError, TypeError):
            return None
