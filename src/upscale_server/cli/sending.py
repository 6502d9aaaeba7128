"""Sends pictures to image servers, several at a time, and shows what came of each; one failure stops no other.

Which server gets which picture is decided in `client.image_servers`; what is sent, in the batch and the watch.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from upscale_server.cli import talk
from upscale_server.cli.counting import DONE, FAILED, SKIPPED, Count
from upscale_server.cli.outputs import MARK, Job, check, make_folder, refuse_twins
from upscale_server.cli.session import unexpected
from upscale_server.client.image_servers import ImageServers
from upscale_server.client.images import Wish, format_of
from upscale_server.errors import BadRequest, Interrupted, SourceNotFound, UpscaleError

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Sender:
    """What all pictures of one command share."""

    servers: ImageServers
    wish: Wish
    threads: int

    def send(self, job: Job) -> dict[str, Any]:
        """Upscale one picture and return its record.

        Raises:
            UpscaleError: it did not come back, or its output cannot be written.
        """
        check(job, overwrite=True)
        began = time.monotonic()
        wish = replace(self.wish, format=format_of(job.output))
        done = self.servers.upscale(job.source, job.output, wish)
        return {
            "source": str(job.source),
            "output": str(job.output),
            "size": done.size,
            "bytes": done.bytes,
            "model": done.model,
            "server": done.server,
            "seconds": round(time.monotonic() - began, 3),
        }


def send_one(sender: Sender, job: Job) -> bool:
    """Upscale one picture and show its record; tells whether it went well."""
    try:
        record = sender.send(job)
    except Interrupted:
        raise
    except UpscaleError as err:
        show_failure(job, err)
        return False
    talk.say(f"{job.output}: {record['size']}, {record['seconds']} s")
    talk.result_json(record)
    return True


def send_batch(sender: Sender, jobs: list[Job], *, again: bool) -> bool:
    """Upscale a batch and show a record for each picture; tells whether all went well.

    Args:
        sender: sends.
        jobs: the pictures.
        again: also those whose result is there.
    """
    with Count(len(jobs)) as count:
        left = []
        for job in jobs:
            if not again and is_finished(job, sender.wish.factor):
                count.add(SKIPPED)
                talk.result_json({"source": str(job.source), "output": str(job.output), "skipped": "finished"})
            else:
                left.append(job)
        for job, came in each(left, sender.send, threads=sender.threads):
            if isinstance(came, Exception):
                show_failure(job, came)
                count.add(FAILED)
            else:
                talk.result_json(came)
                count.add(DONE)
        talk.say(f"{len(jobs)} pictures: {count.text}")
    return not count.counts[FAILED]


def show_failure(job: Job, raised: Exception) -> None:
    """Say on stderr what went wrong with a picture, and put its record on stdout."""
    err = raised if isinstance(raised, UpscaleError) else unexpected(raised)
    talk.fail(err, about=str(job.source))
    talk.fault_json(err, source=str(job.source))


def batch_of(folder: Path, pattern: str, output: Path | None) -> list[Job]:
    """Pair the pictures of a folder with their results, `NAME_upscaled.png` beside them or in the output folder.

    Raises:
        SourceNotFound: there is no such folder, or nothing in it matches.
        BadRequest: the pattern is none, or two results would be one file.
        StorageError: the output folder cannot be made.
    """
    if not folder.is_dir():
        raise SourceNotFound(f"there is no folder {folder}")
    found = matching(folder, pattern)
    stems = {(path.parent, path.stem) for path in found}
    found = [path for path in found if not _is_result(path, stems)]
    if not found:
        raise SourceNotFound(f"no file in {folder} matches {pattern!r}", hint="name others with --pattern")
    jobs = [Job(one, _place(one, folder, output) / f"{one.stem}{MARK}.png") for one in found]
    refuse_twins(jobs)
    for place in sorted({job.output.parent for job in jobs}):
        make_folder(place)
    return jobs


def matching(folder: Path, pattern: str) -> list[Path]:
    """Return the files of a folder that match, in order; hidden ones are somebody's unfinished work.

    Raises:
        BadRequest: the pattern is none.
    """
    try:
        found = sorted(path for path in folder.glob(pattern) if not path.name.startswith(".") and path.is_file())
    except (ValueError, NotImplementedError, IndexError) as err:
        raise BadRequest(f"pattern {pattern!r} is none: {err}", hint="for example '*.jpg' or '**/*.png'") from err
    return found


def is_finished(job: Job, factor: int | None) -> bool:
    """Tell whether a result is there that is newer than its source and, for a known factor, of the right size."""
    from upscale_server.media.image_size import size_of

    try:
        source, result = job.source.stat(), job.output.stat()
    except OSError:
        return False
    size = size_of(job.output)
    if size is None or result.st_mtime < source.st_mtime:
        return False
    before = size_of(job.source)
    return factor is None or before is None or size == before.times(factor)


def each(
    items: Iterable[Item], work: Callable[[Item], Result], *, threads: int
) -> Iterator[tuple[Item, Result | Exception]]:
    """Do the work for every item in several threads and yield what came of each, as it comes.

    The threads are daemons: an interrupt ends the program while an answer is awaited, which no thread can be told.
    """
    waiting: queue.SimpleQueue[Item] = queue.SimpleQueue()
    finished: queue.SimpleQueue[tuple[Item, Result | Exception]] = queue.SimpleQueue()
    count = 0
    for item in items:
        waiting.put(item)
        count += 1

    def go() -> None:
        while True:
            try:
                item = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                finished.put((item, work(item)))
            except Exception as err:  # noqa: BLE001 - handed to the one who asked
                finished.put((item, err))

    for _ in range(min(threads, count)):
        threading.Thread(target=go, daemon=True).start()
    for _ in range(count):
        yield finished.get()


def _is_result(path: Path, stems: set[tuple[Path, str]]) -> bool:
    return path.stem.endswith(MARK) and (path.parent, path.stem.removesuffix(MARK)) in stems


def _place(source: Path, folder: Path, output: Path | None) -> Path:
    return source.parent if output is None else output / source.parent.relative_to(folder)
