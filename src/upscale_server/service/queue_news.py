"""What has changed in the queue since the last look, for one watcher who tells everybody: jobs, places, removals.

It is asked from one thread at a time; who is told, and how, is the web face's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from upscale_server.jobs.job import Job, Progress
from upscale_server.jobs.reader import Head, JobReader


@dataclass(frozen=True, slots=True)
class Change:
    """A job that has changed, without its plan; None where it was removed. `owner` is the id of its key."""

    job_id: str
    owner: str
    job: Job | None
    place: int = 0


class QueueNews:
    """Remembers what was there at the last look.

    Args:
        jobs: the stored jobs of all servers that share the queue.
        progress: how far a job is, fresher than what is stored where it is carried here.
    """

    def __init__(self, jobs: JobReader, progress: Callable[[Job], Progress]) -> None:
        self._jobs = jobs
        self._progress = progress
        self._owners: dict[str, str] = {}
        self._unfinished: dict[str, Job] = {}
        self._names: dict[str, str] = {}
        self._last_number = 0

    def begin(self) -> None:
        """Take what is there now as known."""
        pulse = self._jobs.pulse()
        self._owners = self._jobs.owners()
        self._last_number = pulse.last_number
        self._unfinished, self._names = {}, {}
        places = {head.id: head.place for head in pulse.heads}
        for job in self._jobs.some(list(places)):
            self._note(job, places[job.id])

    def look(self) -> list[Change]:
        """Return what has changed since the last look; three small questions where nothing has."""
        pulse = self._jobs.pulse()
        heads = {head.id: head for head in pulse.heads}
        changed = {job.id: job for job in self._read(heads, pulse.last_number)}
        found = []
        for job in [*changed.values(), *(job for job in self._unfinished.values() if job.id not in changed)]:
            place = heads[job.id].place if job.id in heads else 0
            if self._note(job, place):
                found.append(Change(job.id, job.key_id, replace(job, plan=None), place))
        return found + self._removed(pulse.count)

    def _read(self, heads: dict[str, Head], last_number: int) -> list[Job]:
        """Return the jobs that are new, are not what they were, or are not unfinished any more."""
        found = self._jobs.after(self._last_number) if last_number > self._last_number else []
        fresh = [job for job in found if job.number <= last_number]  # a later one's place is not known yet
        self._last_number = fresh[-1].number if fresh else self._last_number
        other = [head.id for head in heads.values() if not self._knows(head)]
        ended = [job_id for job_id in self._unfinished if job_id not in heads]
        new = {job.id for job in fresh}
        return [*fresh, *self._jobs.some([one for one in (*other, *ended) if one not in new])]

    def _knows(self, head: Head) -> bool:
        known = self._unfinished.get(head.id)
        return known is not None and known.version == head.version

    def _note(self, job: Job, place: int) -> bool:
        """Remember a job; tell whether it is news."""
        progress = self._progress(job)
        # What changes with every news: the stored version, frames that are not stored one by one, and the place.
        name = f"{job.version}-{progress.phase}-{progress.frames_done}-{place}"
        is_news = self._names.get(job.id) != name
        self._owners[job.id] = job.key_id
        if job.is_finished:
            self._unfinished.pop(job.id, None)
            self._names.pop(job.id, None)
        else:
            self._unfinished[job.id] = replace(job, plan=None)
            self._names[job.id] = name
        return is_news

    def _removed(self, count: int) -> list[Change]:
        """Return the jobs that are gone: all names are read only where their number is not what it should be."""
        if count == len(self._owners):
            return []
        now = self._jobs.owners()
        gone = {job_id: owner for job_id, owner in self._owners.items() if job_id not in now}
        self._owners = now
        for job_id in gone:
            self._unfinished.pop(job_id, None)
            self._names.pop(job_id, None)
        return [Change(job_id, owner, None) for job_id, owner in gone.items()]
