"""Waits for jobs without holding a thread: hundreds of callers may wait, and one that hangs up costs its job nothing.

It looks again and again; what a look costs is one read of the database.
"""

from __future__ import annotations

import asyncio
import time

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from upscale_server.errors import DatabaseAway, Draining
from upscale_server.jobs.job import Job
from upscale_server.service import VideoService
from upscale_server.web.doorway import ClientGone

FIRST_LOOK_SECONDS = 0.05
LONGEST_LOOK_SECONDS = 0.5
"""Pause between two looks; it grows with the wait, so that it stays under a hundredth of it or half a second."""
AWAY_SECONDS = 5.0
"""Pause after a look that met no database: hundreds of callers would keep it from coming back."""


async def finished(request: Request, service: VideoService, job_id: str, owner: str = "") -> Job:
    """Return a job when it is finished, or as it is when the longest wait is over.

    A database that is away is sat out: the job goes on, and a caller that was sent away would hand it in once more.

    Raises:
        DatabaseAway: it still is when the longest wait is over.
        ClientGone: nobody waits any more; the job goes on.
        Draining: the server stops first; the job goes on after its restart.
        NotFound: the job was removed meanwhile.
    """
    began = time.monotonic()
    while True:
        waited = time.monotonic() - began
        pause = min(LONGEST_LOOK_SECONDS, max(FIRST_LOOK_SECONDS, waited / 100))
        is_over = waited > service.settings.jobs.wait_seconds
        try:
            job = await run_in_threadpool(service.job, job_id, owner)
        except DatabaseAway:
            if is_over:
                raise
            pause = AWAY_SECONDS
        except Draining as err:
            raise Draining(
                f"the server is stopping; job {job_id} goes on after its restart",
                hint=f"ask again with GET /v1/jobs/{job_id}",
            ) from err
        else:
            if job.is_finished or is_over:
                return job
        if await request.is_disconnected():
            raise ClientGone
        await asyncio.sleep(pause)
