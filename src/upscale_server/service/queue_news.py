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
        """Return what has changed since the last look; three small questions where nothing has.

        Everything is read before anything is noted: what is not told because the database fails is told later.
        """
        pulse = self._jobs.pulse()
        heads = {head.id: head for head in pulse.heads}
        fresh = self._fresh(pulse.last_number)
        changed = {job.id: job for job in [*fresh, *self._other(heads, {job.id for job in fresh})]}
        kept = None if pulse.count == len(self._owners.keys() | changed.keys()) else self._jobs.owners()
        self._last_number = fresh[-1].number if fresh else self._last_number
        found = []
        known = [job for job in self._unfinished.values() if job.id in heads and job.id not in changed]
        for job in [*changed.values(), *known]:
            place = heads[job.id].place if job.id in heads else 0
            if self._note(job, place):
                found.append(Change(job.id, job.key_id, replace(job, plan=None), place))
        return found if kept is None else found + self._forget_all_but(kept)

    def _fresh(self, last_number: int) -> list[Job]:
        """Return the jobs that are new; a later one than the pulse knew has no place yet and waits for the next."""
        found = self._jobs.after(self._last_number) if last_number > self._last_number else []
        return [job for job in found if job.number <= last_number]

    def _other(self, heads: dict[str, Head], fresh: set[str]) -> list[Job]:
        """Return the jobs that are not what they were, or are not unfinished any more."""
        other = [head.id for head in heads.values() if head.id not in fresh and not self._knows(head)]
        ended = [job_id for job_id in self._unfinished if job_id not in heads]
        return self._jobs.some([*other, *ended])

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

    def _forget_all_but(self, kept: dict[str, str]) -> list[Change]:
        """Return the jobs that are gone."""
        gone = {job_id: owner for job_id, owner in self._owners.items() if job_id not in kept}
        self._owners = kept
        for job_id in gone:
            self._unfinished.pop(job_id, None)
            self._names.pop(job_id, None)
        return [Change(job_id, owner, None) for job_id, owner in gone.items()]
