"""Removes what has served its time: finished jobs and their results, folders of no job, uploads, sources that waited.

It never touches a job that is not over; each kind of rubbish is swept by itself, so that one fault hides no other.
"""

from __future__ import annotations

import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from upscale_server.errors import Conflict, JobDamaged, NotFound
from upscale_server.jobs.carry import object_key
from upscale_server.jobs.conclude import clear, drop_object, is_kept, left_in_store, results_of
from upscale_server.jobs.copies import Copies
from upscale_server.jobs.copies_sweep import remove_forgotten, remove_over_budget
from upscale_server.jobs.folder import JobFolder, jobs_folder, uploads_folder
from upscale_server.jobs.job import JOB_ID, Job, State
from upscale_server.jobs.kept_sources import KeptSources
from upscale_server.jobs.parts import Parts
from upscale_server.logs import get_logger
from upscale_server.storage.base import Stored

SWEEP_SECONDS = 3600.0
LOOK_SECONDS = 1.0
KEPT_WORK_SECONDS = 86_400.0
"""How long the work of a job that failed is kept for a retry: a day, so that somebody can have seen it."""
STALE_UPLOAD_SECONDS = 86_400.0
"""Age from which a multipart upload belongs to nobody: far more than storing is ever tried again."""
UNTAKEN_UPLOAD_SECONDS = 3600.0
"""Age from which an upload without a job belongs to a request that died; one that is still sent is younger."""
PROMISED_SECONDS = 21_600.0
"""Age under which no miner's result is removed, whatever the settings say: its link works for six hours."""
_OUR_RESULT = re.compile(r"results/([0-9a-f]{32})(-[0-9a-f]{8})?\.mp4")
_UNFINISHED: tuple[State, ...] = ("queued", "running", "paused")


class Janitor:
    """Sweeps for one server; `carried` gives the jobs in hand, which are left alone.

    `tidying` is held between a look at a job and the removal of its files: whoever begins it again waits for that.
    `dropping` is held while a job's object is removed, for the same reason.
    """

    def __init__(
        self, parts: Parts, carried: Callable[[], frozenset[str]], tidying: threading.Lock | None = None
    ) -> None:
        self._parts = parts
        self._carried = carried
        self._tidying = tidying or threading.Lock()
        self._unwanted: deque[str] = deque()
        self.dropping = threading.Lock()

    def keep_sweeping(self, stopping: threading.Event) -> None:
        """Sweep now and every hour until `stopping` is set; in between remove what is asked for."""
        sweep_at = time.monotonic()
        while not stopping.is_set():
            self._drop_unwanted()
            if time.monotonic() >= sweep_at:
                self.sweep()
                sweep_at = time.monotonic() + SWEEP_SECONDS
            stopping.wait(LOOK_SECONDS)

    def drop_soon(self, job_id: str) -> None:
        """Remove a job's object, if it is not wanted then: here, because a store that hangs must hold up no jobs."""
        self._unwanted.append(job_id)

    def _drop_unwanted(self) -> None:
        while self._unwanted:
            job_id = self._unwanted.popleft()
            with self.dropping:
                try:
                    drop_object(self._parts.store.get(job_id), self._parts)
                except (NotFound, JobDamaged):  # a damaged job's object goes with the job, or by its age
                    continue
                except Exception as err:  # noqa: BLE001 - as in a sweep; the object is found by its age
                    get_logger().warning("object_left_behind", job_id=job_id, detail=str(err))

    def sweep(self) -> None:
        """Remove everything whose time is over."""
        kinds = (
            self._forsaken, self._folders, self._kept_work, self._uploads, self._old_jobs, self._old_results,
            self._over_budget, self._part_files, self._sources, self._copies, self._copies_over_budget,
        )  # fmt: skip
        for kind in kinds:
            try:
                count = kind()
            except Exception as err:  # noqa: BLE001 - a thread that ends here would leave everything to pile up
                get_logger().warning("sweep_failed", kind=kind.__name__.strip("_"), detail=str(err))
                continue
            if count:
                get_logger().info("swept", kind=kind.__name__.strip("_"), count=count)

    def forget(self, job: Job) -> None:
        """Remove a finished job: its result first, because nothing else tells of it; of its folder the name does.

        Raises:
            StorageError: the result cannot be removed now.
        """
        self._forget(job.id, results_of(job, self._parts))

    def forget_damaged(self, job_id: str) -> None:
        """Remove a job of which little can be read: what it may have left here is found by its name.

        A file outside, at the path that the job was asked to write to, stays where it is.

        Raises:
            StorageError: as `forget`.
        """
        self._forget(job_id, {object_key(job_id)} | left_in_store(job_id, self._parts))

    def _forget(self, job_id: str, keys: set[str]) -> None:
        for key in keys:
            self._parts.objects.delete(key)
        self._parts.store.remove(job_id)
        JobFolder(self._parts.temp_dir, job_id).remove()
        Copies(self._parts.proxies_dir, job_id).remove()

    def _forsaken(self) -> int:
        """Cancel jobs that were paused and then forgotten: they keep a place in the queue, and an upload its bytes."""
        forsaken = self._parts.store.forsaken(self._parts.store.now() - self._parts.settings.storage.keep_seconds)
        for job in forsaken:
            with suppress(Conflict, NotFound):  # it was resumed just now, or another server removed it
                clear(self._parts.store.want(job.id, "canceled"), self._parts)
        return len(forsaken)

    def _folders(self) -> int:
        return sum(self._remove_if_useless(path) for path in _inside(jobs_folder(self._parts.temp_dir)))

    def _remove_if_useless(self, path: Path) -> bool:
        if not JOB_ID.fullmatch(path.name) or path.name in self._carried():
            return False
        folder = JobFolder(self._parts.temp_dir, path.name)
        try:
            with self._tidying:
                job = self._parts.store.get(path.name)
                if path.name in self._carried() or self._is_needed(job, folder):
                    return False
                folder.remove()
        except NotFound:
            folder.remove()
        except JobDamaged:  # what is stored of the job is damaged: it may be restored, and others are to be swept
            return False
        return True

    def _kept_work(self) -> int:
        """Remove the oldest work of failed jobs while all of it together is over its budget."""
        left, removed = self._parts.settings.jobs.kept_bytes, 0
        for ended_at, folder in sorted(self._failed(), key=lambda one: one[0], reverse=True):
            left -= sum(path.stat().st_size for path in folder.path.rglob("*") if path.is_file())
            if left >= 0 or folder.path.name in self._carried():
                continue
            with suppress(NotFound), self._tidying:  # another server may have removed it
                found = self._parts.store.outline(folder.path.name)
                if found.finished_at == ended_at:  # nobody has retried it meanwhile
                    folder.remove()
                    removed += 1
        return removed

    def _failed(self) -> Iterator[tuple[float, JobFolder]]:
        for path in _inside(jobs_folder(self._parts.temp_dir)):
            with suppress(NotFound):
                job = self._parts.store.outline(path.name)
                if job.state == "failed":
                    yield job.finished_at or 0, JobFolder(self._parts.temp_dir, job.id)

    def _is_needed(self, job: Job, folder: JobFolder) -> bool:
        if job.state in _UNFINISHED:  # in whose hands ever: they may be ours under an older name
            return True
        return is_kept(job, folder) and time.time() - (job.finished_at or 0) < KEPT_WORK_SECONDS

    def _uploads(self) -> int:
        old = [
            path
            for path in _inside(uploads_folder(self._parts.temp_dir))
            if time.time() - _arrived_at(path) > UNTAKEN_UPLOAD_SECONDS
        ]
        # By name, which is random: the folder may be written in another way since.
        taken = {Path(job.asked.source.location).name for job in self._wanting()} if old else set()
        # Asked again: a job that changed its state while the pages were read may have been on none of them.
        taken |= {Path(job.asked.source.location).name for job in self._wanting()} if old else set()
        # A job that cannot be read, perhaps by this release alone, may want any of them.
        untaken = [path for path in old if path.name not in taken and not self._parts.store.has_unreadable]
        for path in untaken:
            path.unlink(missing_ok=True)
        return len(untaken)

    def _wanting(self) -> Iterator[Job]:
        """Yield the jobs that need what they came from: those that go on, and failed ones that can be tried again."""
        for state in (*_UNFINISHED, "failed"):
            after: str | None = None
            while True:
                page, after = self._parts.store.page(after, 100, state)
                yield from (job for job in page if self._is_needed(job, JobFolder(self._parts.temp_dir, job.id)))
                if after is None:
                    break

    def _old_jobs(self) -> int:
        expired = self._parts.store.expired(self._parts.store.now() - self._parts.settings.storage.keep_seconds)
        removed = 0
        for one in expired:
            with suppress(NotFound):  # another server removed it just now
                removed += self._remove_if_old(one.id, one.finished_at or 0)
        return removed

    def _remove_if_old(self, job_id: str, ended_at: float) -> bool:
        try:
            job = self._parts.store.get(job_id)
        except JobDamaged:
            if _is_recent(ended_at):  # as of every job that may be a miner's
                return False
            self.forget_damaged(job_id)
            return True
        if _is_promised_still(job):
            return False
        self.forget(job)
        return True

    def _old_results(self) -> int:
        """Remove results that no job names any more, by their age; of strangers' objects in the place none."""
        before = time.time() - self._parts.settings.storage.keep_seconds
        old = [one for one in self._results() if one.modified < before and not self._is_promised(one)]
        for one in old:
            self._parts.objects.delete(one.key)
        return len(old)

    def _over_budget(self) -> int:
        """Remove the oldest results of the local store while all together are over the budget."""
        storage = self._parts.settings.storage
        if storage.kind != "local" or not storage.budget_bytes:
            return 0
        found = sorted(self._results(), key=lambda one: one.modified)
        over = sum(one.byte_count for one in found) - storage.budget_bytes
        removed = 0
        for one in found:
            if over <= 0:
                break
            if self._is_promised(one):
                continue
            self._parts.objects.delete(one.key)
            over -= one.byte_count
            removed += 1
        return removed

    def _is_promised(self, one: Stored) -> bool:
        if time.time() - one.modified > PROMISED_SECONDS:
            return False
        try:
            return _is_promised_still(self._parts.store.get(Path(one.key).name[:32]))
        except NotFound:
            return False
        except JobDamaged:  # it may be a miner's
            return True

    def _copies(self) -> int:
        return remove_forgotten(self._parts, self._carried(), self._tidying)

    def _copies_over_budget(self) -> int:
        return remove_over_budget(self._parts)

    def _part_files(self) -> int:
        return self._parts.objects.sweep(STALE_UPLOAD_SECONDS)

    def _sources(self) -> int:
        return KeptSources(self._parts.temp_dir, self._parts.settings.sources, time.time).sweep()

    def _results(self) -> Iterator[Stored]:
        return (one for one in self._parts.objects.listed("results/") if _OUR_RESULT.fullmatch(one.key))


def _is_promised_still(job: Job) -> bool:
    return job.asked.profile == "subnet" and _is_recent(job.finished_at or 0)


def _is_recent(ended_at: float) -> bool:
    return time.time() - ended_at < PROMISED_SECONDS


def _arrived_at(upload: Path) -> float:
    """Return when an upload came here; one that is a source's second name was linked later than it was written."""
    try:
        facts = upload.stat()
    except FileNotFoundError:  # taken, or removed, just now
        return time.time()
    return max(facts.st_mtime, facts.st_ctime) if facts.st_nlink > 1 else facts.st_mtime


def _inside(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []
