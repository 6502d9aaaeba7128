"""What can be watched of a job: the small copies of its finished segments, while it runs and afterwards.

Who may watch is the asker's business; what a copy is, `media.proxy`'s.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from upscale_server.errors import NotFound, UpscaleError
from upscale_server.jobs.copies import Copies
from upscale_server.jobs.job import Job
from upscale_server.media.proxy import mime_of, proxy_size
from upscale_server.media.types import Size
from upscale_server.plan import Plan
from upscale_server.proxies import copy_path, picture_path, ticks_of
from upscale_server.service.results import StoredFile
from upscale_server.storage.base import Stored
from upscale_server.stored_plan import plan_from


@dataclass(frozen=True, slots=True)
class Copy:
    """The copy of one segment, and where it belongs, from the job's first frame on."""

    index: int
    start_seconds: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Watchable:
    """What can be watched of a planned job now; `mime` is None while there is nothing."""

    copies: tuple[Copy, ...]
    total: int
    duration_seconds: float
    size: Size
    mime: str | None


class Watching:
    """The copies of all jobs; safe to call from several threads."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def of(self, job: Job) -> Watchable | None:
        """Return what is there of a job; None where it is not planned yet."""
        plan = _plan_of(job)
        if plan is None:
            return None
        folder = self._folder(job, plan)
        found = [one.index for one in plan.segments if copy_path(folder, one.index).exists()]
        return Watchable(
            copies=tuple(_copy(plan, index) for index in found),
            total=len(plan.segments),
            duration_seconds=_duration(plan),
            size=proxy_size(plan.spec),
            mime=_mime(copy_path(folder, found[0])) if found else None,
        )

    def copy(self, job: Job, index: int) -> StoredFile:
        """Return the copy of a segment.

        Raises:
            NotFound: it is not there, or not yet.
        """
        plan = _plan_of(job)
        if plan is not None and 0 <= index < len(plan.segments):
            found = _stored(job, copy_path(self._folder(job, plan), index), f"{index}.mp4")
            if found is not None:
                return found
        raise NotFound(f"job {job.id} has no segment {index} to watch")

    def picture(self, job: Job) -> StoredFile:
        """Return the newest picture of a job's result; one from its middle when it is finished.

        Raises:
            NotFound: there is none yet.
        """
        plan = _plan_of(job)
        if plan is not None:
            folder = self._folder(job, plan)
            newest_first = [picture_path(folder, one.index) for one in reversed(plan.segments)]
            there = [path for path in newest_first if path.exists()]
            best = len(there) // 2 if job.is_finished else 0
            found = _stored(job, there[best], "thumbnail.jpg") if there else None
            if found is not None:
                return found
        raise NotFound(f"job {job.id} has no picture yet")

    def _folder(self, job: Job, plan: Plan) -> Path:
        return Copies(self._root, job.id).of(plan.digest)


def _plan_of(job: Job) -> Plan | None:
    """Return a job's plan; None where there is none, or another release wrote it."""
    try:
        return None if job.plan is None else plan_from(job.plan)
    except UpscaleError:
        return None


def _copy(plan: Plan, index: int) -> Copy:
    """Return where a segment's copy belongs; a stream without reliable times is one segment."""
    ticks, first, tick = ticks_of(plan, index), plan.first_pts or 0, plan.spec.time_base
    start = first if ticks.start is None else ticks.start
    seconds = _duration(plan) if ticks.end is None else float((ticks.end - start) * tick)
    return Copy(index, float((start - first) * tick), seconds)


def _duration(plan: Plan) -> float:
    if plan.first_pts is None or plan.end_pts is None:
        return plan.source.duration_seconds
    return float((plan.end_pts - plan.first_pts) * plan.spec.time_base)


def _mime(path: Path) -> str | None:
    try:
        return mime_of(path)
    except (OSError, UpscaleError):
        return None


def _stored(job: Job, path: Path, name: str) -> StoredFile | None:
    try:
        facts = path.stat()
    except OSError:
        return None
    etag = f"{job.id}-{path.stem}-{facts.st_size:x}-{facts.st_mtime_ns:x}"
    return StoredFile(path, Stored("", facts.st_size, facts.st_mtime, etag), f"{job.id}-{name}")
