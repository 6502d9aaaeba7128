"""Tells about a job as it happens: server-sent events, each a full snapshot, so that a lost one is never missed.

It ends with the job; where a reader went away it stops at the next beat.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable

from starlette.concurrency import run_in_threadpool

from upscale_server.errors import UpscaleError
from upscale_server.jobs.job import FINISHED
from upscale_server.wire import JobView

HEARTBEAT_SECONDS = 10.0
"""Longest silence; readers and proxies take a longer one for a dead connection."""
LOOK_SECONDS = 0.25

HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


async def told(view: Callable[[], JobView], last_id: str) -> AsyncIterator[str]:
    """Yield events until the job is finished.

    Args:
        view: looks at the job now.
        last_id: what the reader has seen already (Last-Event-ID); a snapshot of the same version is not sent again.
    """
    seen, spoken = last_id, time.monotonic()
    yield "retry: 1000\n\n"
    while True:
        try:
            job = await run_in_threadpool(view)
        except UpscaleError:  # removed, or the server stops: the reader asks again and is told
            return
        text = job.model_dump_json()
        if _id_of(job) != seen:
            seen, spoken = _id_of(job), time.monotonic()
            yield f"id: {seen}\nevent: job\ndata: {text}\n\n"
        if job.state in FINISHED:
            return
        if time.monotonic() - spoken > HEARTBEAT_SECONDS:
            spoken = time.monotonic()
            yield ": still here\n\n"
        await asyncio.sleep(LOOK_SECONDS)


def _id_of(job: JobView) -> str:
    """Return what changes with every news: the stored version, and frames that are not stored one by one."""
    return f"{job.version}-{job.progress.phase}-{job.progress.frames_done}"
