"""Watching a job while it renders: which small copies there are, each of them, and one picture for a list.

What they are and where they lie is the service's business; the result itself is given by `jobs_routes`.
"""

from __future__ import annotations

import re

from fastapi import APIRouter, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from upscale_server.errors import NotFound
from upscale_server.jobs.job import Job
from upscale_server.service import StoredFile
from upscale_server.web.faults import shorten
from upscale_server.web.files import file_reply
from upscale_server.web.parts import Service, owner_of
from upscale_server.wire_jobs import SegmentsView, SegmentView

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

_INDEX = re.compile(r"[0-9]{1,7}")
"""A segment's number: a video of years has fewer than ten million."""


@router.get("/{job_id}/segments", response_model=SegmentsView)
async def segments(request: Request, service: Service, job_id: str) -> Response:
    """List the finished segments that can be watched, while the job runs and afterwards."""

    def shown() -> Response:
        view = _view(service, service.job(job_id, owner_of(request)))
        return Response(
            view.model_dump_json(), headers={"Cache-Control": "private, no-store"}, media_type="application/json"
        )

    return await run_in_threadpool(shown)


@router.get(
    "/{job_id}/segments/{index}.mp4",
    responses={200: {"content": {"video/mp4": {}}}},
    response_class=Response,
)
async def segment(request: Request, service: Service, job_id: str, index: str) -> Response:
    """Give the small H.264 copy of one segment: a whole fragmented MP4, its times from 0."""
    # Not the framework's own number: one of 5000 digits is more than Python reads, and would be a fault of ours.
    if not _INDEX.fullmatch(index):
        raise NotFound(f"there is no segment {shorten(index)}; the list of segments has their numbers")

    def found() -> StoredFile:
        return service.watching.copy(service.job(job_id, owner_of(request)), int(index))

    return await file_reply(request, await run_in_threadpool(found))


@router.get(
    "/{job_id}/thumbnail.jpg",
    responses={200: {"content": {"image/jpeg": {}}}},
    response_class=Response,
)
async def thumbnail(request: Request, service: Service, job_id: str) -> Response:
    """Give the newest picture of the result; when the job is finished, one from its middle."""

    def found() -> StoredFile:
        return service.watching.picture(service.job(job_id, owner_of(request)))

    return await file_reply(request, await run_in_threadpool(found), "image/jpeg")


def _view(service: Service, job: Job) -> SegmentsView:
    found = service.watching.of(job)
    if found is None:
        return SegmentsView(segments=[], total=None, duration_seconds=None, width=None, height=None, mime=None)
    return SegmentsView(
        segments=[
            SegmentView(
                index=one.index,
                start_seconds=round(one.start_seconds, 6),
                seconds=round(one.seconds, 6),
                url=f"/v1/jobs/{job.id}/segments/{one.index}.mp4",
            )
            for one in found.copies
        ],
        total=found.total,
        duration_seconds=round(found.duration_seconds, 6),
        width=found.size.width,
        height=found.size.height,
        mime=found.mime,
    )
