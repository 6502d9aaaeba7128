"""Watches a folder: what arrives is upscaled and moved aside, as long as the program runs.

A picture is taken when nobody writes to it any more, and moved when its result is whole; how it is sent is `sending`.
"""

from __future__ import annotations

import fcntl
import os
import queue
import shutil
import signal
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from upscale_server.cli import talk
from upscale_server.cli.outputs import MARK, Job, make_folder
from upscale_server.cli.sending import Sender, matching, show_failure
from upscale_server.disk import naming_write_faults
from upscale_server.errors import BadRequest, SourceNotFound, UpscaleError

LOOK_SECONDS = 1.0
"""Between two looks at the folder, as the documentation's loop has it."""
RETRY_SECONDS = 5.0
"""Until a picture is sent again whose server was not there."""


@dataclass(frozen=True, slots=True)
class Folders:
    """Where pictures arrive, where results go, and where the pictures go that are done."""

    watched: Path
    output: Path
    processed: Path

    @classmethod
    def of(cls, watched: Path, output: Path | None, processed: Path | None) -> Folders:
        """Return the folders, made where they are missing; those not named lie in the watched one.

        Raises:
            SourceNotFound: there is no such folder to watch.
            BadRequest: results or finished pictures would arrive in the watched folder again.
            StorageError: one cannot be made.
        """
        if not watched.is_dir():
            raise SourceNotFound(f"there is no folder {watched}")
        found = cls(watched, output or watched / "upscaled", processed or watched / "processed")
        for folder in (found.output, found.processed):
            make_folder(folder)
            if folder.samefile(watched):
                raise BadRequest(f"{folder} is the watched folder", hint="name another with --output or --processed")
        return found

    def arrivals(self, pattern: str) -> list[Path]:
        """Return the matching files that are neither results nor done."""
        ours = {self.output.resolve(), self.processed.resolve()}
        return [path for path in matching(self.watched, pattern) if not ours & set(path.resolve().parents)]


_Signature = tuple[int, int, int]


@dataclass(slots=True)
class _Seen:
    """What is known of a file: how it looked last, and until when it is left alone."""

    signature: _Signature
    refused: bool = False
    rests_until: float = 0.0
    said: str = ""


@dataclass(slots=True)
class Watch:
    """The state of a watched folder."""

    sender: Sender
    folders: Folders
    pattern: str
    look_seconds: float = LOOK_SECONDS
    _seen: dict[Path, _Seen] = field(default_factory=dict)
    _running: dict[Path, Job] = field(default_factory=dict)
    _finished: queue.SimpleQueue[tuple[Job, dict[str, Any] | Exception]] = field(default_factory=queue.SimpleQueue)

    def run(self) -> None:
        """Go on until the program is interrupted."""
        talk.say(
            f"watching {self.folders.watched} for {self.pattern}: results go to {self.folders.output}, "
            f"finished pictures to {self.folders.processed}"
        )
        while True:
            self.look()
            self.settle(self.look_seconds)

    def look(self) -> None:
        """Begin with what has arrived, as far as threads are free."""
        arrived = self.folders.arrivals(self.pattern)
        for gone in set(self._seen) - set(arrived):
            del self._seen[gone]
        for path in arrived:
            if len(self._running) < self.sender.threads and path not in self._running and self._is_ready(path):
                job = Job(path, self._output_of(path))
                self._running[path] = job
                threading.Thread(target=self._work, args=(job,), daemon=True).start()

    def settle(self, seconds: float) -> None:
        """Take note of finished pictures for so long."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            try:
                job, came = self._finished.get(timeout=left)
            except queue.Empty:
                return
            self._note(job, came)
            del self._running[job.source]
            if len(self._running) == self.sender.threads - 1 and len(self._seen) > self.sender.threads:
                return  # a thread is free and more are here: no pause

    def _work(self, job: Job) -> None:
        try:
            self._finished.put((job, self.sender.send(job)))
        except Exception as err:  # noqa: BLE001 - shown by the main thread
            self._finished.put((job, err))

    def _is_ready(self, path: Path) -> bool:
        """Tell whether a file has looked the same in two looks and nobody has it open to write."""
        try:
            found = path.stat()
            signature = (found.st_ino, found.st_size, found.st_mtime_ns)
            seen = self._seen.get(path)
            if seen is None or seen.signature != signature:
                self._seen[path] = _Seen(signature)
                return False
            if seen.refused or seen.rests_until > time.monotonic() or not found.st_size:
                return False
            return not is_being_written(path)
        except OSError:
            return False  # gone again, or not ours to read: the next look sees

    def _output_of(self, path: Path) -> Path:
        folder = self.folders.output / path.parent.relative_to(self.folders.watched)
        make_folder(folder)
        taken = {job.output for job in self._running.values()}
        return free_name(folder / f"{path.stem}{MARK}.png", taken)

    def _note(self, job: Job, came: dict[str, Any] | Exception) -> None:
        if isinstance(came, Exception):
            again = isinstance(came, UpscaleError) and came.retryable
            self._leave(job, came, again=again)
            return
        try:
            moved = move_aside(job.source, self.folders)
        except (UpscaleError, OSError) as err:
            self._leave(job, err, again=False)  # its result is there: sending it again would make another one
            return
        self._seen.pop(job.source, None)
        talk.say(f"{job.output}: {came['size']}, {came['seconds']} s")
        talk.result_json({**came, "moved_to": str(moved)})

    def _leave(self, job: Job, raised: Exception, *, again: bool) -> None:
        """Leave a picture where it is, until it changes or, where that may help, for some seconds."""
        seen = self._seen.setdefault(job.source, _Seen((0, 0, 0)))
        seen.refused, seen.rests_until = not again, time.monotonic() + RETRY_SECONDS
        if str(raised) != seen.said:  # a server that is away is said once for each picture, not every five seconds
            seen.said = str(raised)
            show_failure(job, raised)


def is_being_written(path: Path) -> bool:
    """Tell whether a process of this machine has the file open to write, where the file system can say so.

    A read lease is given only on a file that nobody writes to. Source: fcntl(2), Leases.
    """
    with path.open("rb") as file:
        # Who opens the file in this moment would make the kernel send SIGIO, which ends a process; SIGURG does not.
        fcntl.fcntl(file, fcntl.F_SETSIG, signal.SIGURG)
        try:
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        except BlockingIOError:
            return True
        except OSError:
            return False  # no leases here, or another user's file: the two looks must do
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        return False


def move_aside(source: Path, folders: Folders) -> Path:
    """Move a finished picture to the folder of those, under a free name, and return where it is.

    Raises:
        StorageError: it cannot be moved.
    """
    folder = folders.processed / source.parent.relative_to(folders.watched)
    make_folder(folder)
    target = free_name(folder / source.name, set())
    with naming_write_faults(target):
        shutil.move(source, target)
    return target


def free_name(path: Path, taken: set[Path]) -> Path:
    """Return the path, or `NAME-2`, `NAME-3` …: cameras count from one again, and nothing is written over."""
    number, free = 1, path
    while free in taken or os.path.lexists(free):
        number += 1
        free = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return free
