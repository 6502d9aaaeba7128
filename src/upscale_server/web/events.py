"""Tells about a job as it happens: server-sent events, each a full snapshot, so that a lost one is never missed.

It ends with the job; where a reader went away it stops at the next beat.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from upscale_server.errors import UpscaleError
from upscale_server.jobs.job import Job, Progress
from upscale_server.web.places import Places
from upscale_server.wire_jobs import JobView

HEARTBEAT_SECONDS = 10.0
"""Longest silence; readers and proxies take a longer one for a dead connection."""
LOOK_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A job at a moment: the event's id, the whole job as JSON where the id is news, and whether no other follows."""

    id: str
    text: str
    is_last: bool


class EventStream(StreamingResponse):
    """Events as they are sent; `owner` holds one of `places` until the end, and is answered 429 where none is free."""

    def __init__(self, events: AsyncIterator[str] | AsyncIterator[bytes], places: Places, owner: str) -> None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(events, headers=headers, media_type="text/event-stream")
        self._places = places
        self._owner = owner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send them."""
        with self._places.one(self._owner):
            await super().__call__(scope, receive, send)


async def told(snapshot: Callable[[str], Snapshot], last_id: str) -> AsyncIterator[str]:
    """Yield events until the job is finished.

    Args:
        snapshot: looks at the job now, given the id of the snapshot that is known; called in a thread.
        last_id: what the reader has seen already (Last-Event-ID); a snapshot of the same version is not sent again.
    """
    seen, spoken = last_id, time.monotonic()
    yield "retry: 1000\n\n"
    while True:
        try:
            now = await run_in_threadpool(snapshot, seen)
        except UpscaleError:  # removed, or the server stops: the reader asks again and is told
            return
        if now.id != seen:
            seen, spoken = now.id, time.monotonic()
            yield f"id: {seen}\nevent: job\ndata: {now.text}\n\n"
        if now.is_last:
            return
        if time.monotonic() - spoken > HEARTBEAT_SECONDS:
            spoken = time.monotonic()
            yield ": still here\n\n"
        await asyncio.sleep(LOOK_SECONDS)


def snapshot_of(job: Job, progress: Progress, view: Callable[[], JobView], known: str) -> Snapshot:
    """Return a job's snapshot; what is known already is not put into words again, a plan may be long."""
    # What changes with every news: the stored version, and frames that are not stored one by one.
    name = f"{job.version}-{progress.phase}-{progress.frames_done}"
    return Snapshot(name, "" if name == known else view().model_dump_json(), is_last=job.is_finished)
