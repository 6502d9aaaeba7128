"""For whom a waiting job is kept: what is finished of it lies on one server's disk, and is made again anywhere else.

It changes no row; the steps are `store`'s.
"""

from __future__ import annotations

from sqlalchemy import ColumnElement, and_, or_

from upscale_server.jobs.codec import progress_from
from upscale_server.jobs.job import Claim
from upscale_server.jobs.rows import StoredRow
from upscale_server.jobs.tables import jobs

LEAST_SECONDS = 5.0
"""A server looks for work every second; a busy one may be late."""
LONGEST_SECONDS = 600.0
"""A server that is replaced is back by then; one that is not is not waited for."""


def is_for(owner: str, now: float) -> ColumnElement[bool]:
    """Return the question for jobs that a server may take: not those at home elsewhere, nor those kept for another."""
    at_home = or_(jobs.c.home == "", jobs.c.home == owner)
    return and_(at_home, or_(jobs.c.owner.is_(None), jobs.c.owner == owner, jobs.c.lease_until < now))


def kept_for(claim: Claim, row: StoredRow, now: float) -> dict[str, object]:
    """Return what keeps a job for the server that gives it up, where it has finished some of it.

    For as long as it has worked on it: whether that server comes back or not, waiting for it costs no more than twice
    what the better choice would have.
    """
    if not progress_from(row.progress).segments_done:
        return {}
    seconds = min(max(now - claim.job.updated_at, LEAST_SECONDS), LONGEST_SECONDS)
    return {"owner": claim.owner, "lease_until": now + seconds}


def kept_on(row: StoredRow, now: float) -> dict[str, object]:
    """Return what keeps a paused job that waits again for the server that paused it, as long as it was kept then."""
    if row.owner is None:
        return {}
    return {"owner": row.owner, "lease_until": now + row.lease_until - row.updated_at}
