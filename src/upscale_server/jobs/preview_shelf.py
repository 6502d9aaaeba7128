"""The previews that a server knows: in memory, beside their files for the next start, and gone when their time is over.

Who makes them and when is `previews`' business.
"""

from __future__ import annotations

import os
import secrets
import shutil
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from upscale_server.disk import naming_write_faults
from upscale_server.errors import DiskFull, NotFound, StorageError
from upscale_server.jobs.fair_share import beyond
from upscale_server.jobs.job import JOB_ID
from upscale_server.jobs.preview_record import KeptPreview, NewPreview, files_of, read_note, write_note
from upscale_server.logs import get_logger
from upscale_server.server_settings import Previews as PreviewsSettings

MOST_KEPT = 64
"""Finished previews that are kept at once, whatever their age and size; as many beside them that did not succeed.

Of too many, the oldest goes of the key that holds most: nobody's are pushed out by a key that holds more.
"""

_MARK = "stays-until"
LEAST_SILENT_SECONDS = 3600.0
"""A server that did not sweep for so long is dead or was suspended; it sweeps every minute."""


class PreviewShelf:
    """The previews of one server in a folder of its own (`previews_folder`); safe to call from several threads."""

    def __init__(self, folder: Path, settings: PreviewsSettings, clock: Callable[[], float]) -> None:
        self._folder = folder.absolute()
        self._keep_seconds = settings.keep_seconds
        self._dead_seconds = max(settings.keep_seconds, LEAST_SILENT_SECONDS)
        self._budget_bytes = settings.budget_bytes
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: dict[str, KeptPreview] = {}

    def find_again(self) -> list[KeptPreview]:
        """Take over what an earlier run left, and return those of it that are not finished."""
        for path in self._folder.iterdir() if self._folder.is_dir() else ():
            kept = read_note(path)
            if kept is not None:
                with self._lock:
                    self._kept[kept.id] = kept
        self.sweep()
        return self.unfinished()

    def new(self, asked: NewPreview) -> KeptPreview:
        """Make a place for a preview under a name that cannot be guessed.

        Raises:
            DiskFull, StorageError: its folder cannot be made.
        """
        now = self._clock()
        kept = KeptPreview(secrets.token_hex(16), asked.owner, "queued", now, now + self._keep_seconds, asked.self_test)
        with self._lock:
            self._kept[kept.id] = kept
        try:
            with naming_write_faults(self.folder_of(kept.id)):
                self.folder_of(kept.id).mkdir(parents=True, mode=0o700)
            write_note(self.folder_of(kept.id), kept)
        except BaseException:
            self.forget(kept.id)
            raise
        return kept

    def get(self, preview_id: str, owner: str) -> KeptPreview:
        """Return a preview.

        Raises:
            NotFound: there is none, it has expired, or it is another key's.
        """
        with self._lock:
            kept = self._kept.get(preview_id)
        if kept is None or (owner and kept.owner != owner) or self._is_over(kept):
            hint = "previews are kept for a time; ask for it again"
            raise NotFound(f"there is no preview {preview_id[:64]!r}", hint=hint)
        return kept

    def file(self, preview_id: str, name: str, owner: str) -> Path:
        """Return one file of a preview.

        Raises:
            NotFound: as `get`, or it has no such file, or not yet.
        """
        kept = self.get(preview_id, owner)
        if name not in files_of(kept.facts):
            raise NotFound(f"preview {kept.id} has no file {name[:64]!r}, or not yet")
        return self.folder_of(kept.id) / name

    def change(self, preview_id: str, change: Callable[[KeptPreview], KeptPreview], *, noted: bool = False) -> bool:
        """Replace a preview by what it became, and note that where it must outlive this process.

        Returns:
            Whether it is still there.
        """
        with self._lock:
            if preview_id not in self._kept:
                return False
            kept = self._kept[preview_id] = change(self._kept[preview_id])
        if noted:
            try:
                write_note(self.folder_of(preview_id), kept)
            except (StorageError, DiskFull) as err:  # it is there until the server ends, and not after
                get_logger().warning("preview_not_noted", preview_id=preview_id, detail=err.detail)
        return True

    def finish(self, preview_id: str, change: Callable[[KeptPreview], KeptPreview]) -> None:
        """Replace a preview by how it ended, and leave of its folder what is shown; nothing where it was removed."""
        folder = self.folder_of(preview_id)
        (folder / "source").unlink(missing_ok=True)
        shutil.rmtree(folder / "work", ignore_errors=True)
        until = self._clock() + self._keep_seconds
        if not self.change(preview_id, lambda kept: replace(change(kept), expires_at=until), noted=True):
            self.forget(preview_id)

    def unfinished(self) -> list[KeptPreview]:
        """Return the previews that are not finished."""
        with self._lock:
            return [kept for kept in self._kept.values() if not kept.is_finished]

    def forget(self, preview_id: str) -> None:
        """Leave nothing of a preview; nothing happens where nothing is."""
        with self._lock:
            self._kept.pop(preview_id, None)
        shutil.rmtree(self.folder_of(preview_id), ignore_errors=True)

    def sweep(self) -> None:
        """Remove what has expired, what is too many or too many bytes, and folders of nobody.

        Of what is too much, the oldest goes of the key that holds most.
        """
        self._forget_all([kept for kept in self._finished() if self._is_over(kept)])
        for is_good in (True, False):  # many that failed push out no good one
            alike = [kept for kept in self._finished() if (kept.state == "succeeded") == is_good]
            self._forget_all(beyond(alike, MOST_KEPT, lambda _kept: 1))
        self._hold_to_budget()
        for path in list(self._folder.iterdir()) if self._folder.is_dir() else ():
            with self._lock:
                is_nobodys = path.name not in self._kept
            if is_nobodys and JOB_ID.fullmatch(path.name):
                shutil.rmtree(path, ignore_errors=True)
        self._remove_the_dead()

    def _remove_the_dead(self) -> None:
        """Remove the folders of servers beside this one that were not swept for as long as those keep a preview.

        The time of a mark in each folder tells until when it stays: its server sets that with every sweep.
        """
        now = self._clock()
        if self._folder.is_dir():
            (self._folder / _MARK).touch(mode=0o600)
            os.utime(self._folder / _MARK, (now, now + self._dead_seconds))
        for path in list(self._folder.parent.iterdir()) if self._folder.parent.is_dir() else ():
            with suppress(OSError):  # it was removed just now
                if path != self._folder and JOB_ID.fullmatch(path.name) and now > self._stays_until(path):
                    shutil.rmtree(path, ignore_errors=True)

    def _stays_until(self, folder: Path) -> float:
        try:
            return (folder / _MARK).stat().st_mtime
        except FileNotFoundError:  # its server has not swept yet, or is none: previews lay here before
            return folder.stat().st_mtime + self._dead_seconds

    def _hold_to_budget(self) -> None:
        """Remove what is beyond the bytes allowed; the newest stays, or a large one would never be seen."""
        finished = self._finished()
        if not self._budget_bytes or not finished:
            return
        newest = max(finished, key=lambda kept: kept.created_at)
        useless = beyond(finished, self._budget_bytes, lambda kept: bytes_in(self.folder_of(kept.id)), newest)
        self._forget_all([kept for kept in useless if kept is not newest])

    def _finished(self) -> list[KeptPreview]:
        with self._lock:
            return [kept for kept in self._kept.values() if kept.is_finished]

    def _forget_all(self, useless: list[KeptPreview]) -> None:
        for kept in useless:
            self.forget(kept.id)

    def folder_of(self, preview_id: str) -> Path:
        """Return where a preview's files are."""
        return self._folder / preview_id

    def _is_over(self, kept: KeptPreview) -> bool:
        return kept.is_finished and kept.expires_at <= self._clock()


def bytes_in(folder: Path) -> int:
    """Return how many bytes of files lie in a folder; what goes away meanwhile is not counted."""
    total = 0
    with suppress(OSError):
        for path in folder.iterdir():
            with suppress(OSError):
                total += path.stat().st_size
    return total
