"""Which copies for watching go when the janitor comes: those of no job, half a one, and the oldest over the budget.

It never touches those of a job that is not over.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

from upscale_server.errors import NotFound
from upscale_server.jobs.copies import Copies
from upscale_server.jobs.folder import JobFolder
from upscale_server.jobs.job import JOB_ID
from upscale_server.jobs.parts import Parts


def remove_forgotten(parts: Parts, carried: Collection[str], tidying: threading.Lock) -> int:
    """Remove the copies of jobs that are gone, or that ended without a result and left no work; return how many.

    Of a job that another server finished, what was half written here counts as well.
    """
    removed = 0
    for job_id in _names(parts.proxies_dir):
        copies = Copies(parts.proxies_dir, job_id)
        with tidying:  # nobody begins it again meanwhile
            if job_id in carried:
                continue
            if _is_watched(parts, job_id):
                removed += copies.remove_unfinished()
            else:
                copies.remove()
                removed += 1
    return removed


def remove_over_budget(parts: Parts) -> int:
    """Remove the copies of the jobs that ended first while all together are over the budget; return of how many."""
    left, removed = parts.settings.jobs.proxies_bytes, 0
    for _, copies in sorted(_of_succeeded(parts), key=lambda one: one[0], reverse=True):
        left -= copies.byte_count
        if left < 0:
            copies.remove()
            removed += 1
    return removed


def _is_watched(parts: Parts, job_id: str) -> bool:
    try:
        state = parts.store.outline(job_id).state
    except NotFound:
        return False
    return state not in ("failed", "canceled") or JobFolder(parts.temp_dir, job_id).path.exists()


def _of_succeeded(parts: Parts) -> Iterator[tuple[float, Copies]]:
    for job_id in _names(parts.proxies_dir):
        with suppress(NotFound):
            job = parts.store.outline(job_id)
            if job.state == "succeeded":
                yield job.finished_at or 0, Copies(parts.proxies_dir, job_id)


def _names(folder: Path) -> list[str]:
    found = folder.iterdir() if folder.is_dir() else ()
    return [path.name for path in found if JOB_ID.fullmatch(path.name)]
