"""For whom a waiting job is kept: what is finished of it lies on one server's disk, and is made again anywhere else.

It changes no row; the steps are `store`'s.
"""

from __future__ import annotations

from sqlalchemy import ColumnElement, and_, or_

from upscale_server.jobs.codec import progress_from
from upscale_server.jobs.job import Progress
from upscale_server.jobs.rows import StoredRow, how_far
from upscale_server.jobs.tables import jobs

LEAST_SECONDS = 5.0
"""A server looks for work every second; a busy one may be late."""
LONGEST_SECONDS = 600.0
"""A server that is replaced is back by then; one that is not is not waited for."""
MOST_MOVES = 30
"""Attempts after which a job that moves from server to server is held to the furthest that any of them came: one that
kills them all ends."""
_NO_SEGMENTS = how_far(Progress("upscale"))


def is_for(owner: str, now: float) -> ColumnElement[bool]:
    """Return the question for jobs that a server may take: not those at home elsewhere, nor those kept for another."""
    at_home = or_(jobs.c.home == "", jobs.c.home == owner)
    return and_(at_home, or_(jobs.c.owner.is_(None), jobs.c.owner == owner, jobs.c.lease_until < now))


def kept_for(owner: str, row: StoredRow, now: float, *, has_work: bool) -> dict[str, object]:
    """Return what keeps a job for the server that gives it up, or died with it, where some of it is finished.

    Its disk knows best: an attempt that has just begun has counted no segments yet, and one that stores a file, none.
    For as long as the job has been in work: whether that server comes back or not, waiting for it costs no more than
    twice what the better choice would have.
    """
    if not (has_work or progress_from(row.progress).segments_done):
        return {}
    seconds = min(max(now - (row.started_at or now), LEAST_SECONDS), LONGEST_SECONDS)
    return {"owner": owner, "lease_until": now + seconds}


def left_by(row: StoredRow) -> dict[str, object]:
    """Return what notes on whose disk a job is that is taken from a silent server; it is kept for nobody."""
    return {"owner": row.owner, "lease_until": row.lease_until}


def kept_on(row: StoredRow, now: float) -> dict[str, object]:
    """Return what keeps a job that is paused, or waits again, for the server it was kept for: as long as then."""
    if row.owner is None:
        return {}
    return {"owner": row.owner, "lease_until": now + row.lease_until - row.updated_at}


def begun_anew(row: StoredRow, owner: str) -> dict[str, object]:
    """Return what is forgotten of a job that another server begins anew: segments that it has not got are no mark."""
    if row.owner in (None, owner) or row.attempt >= MOST_MOVES:
        return {}
    return {"reached": min(row.reached, _NO_SEGMENTS)}
