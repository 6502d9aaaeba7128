"""What routes share: the service, the caller's key, and the header that names a job.

No route stands here.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from upscale_server.jobs.job import Job
from upscale_server.service import VideoService
from upscale_server.web.long_calls import LongCalls
from upscale_server.web.places import Places


async def service_of(request: Request) -> VideoService:
    """Return the service that the application was made with."""
    service: VideoService = request.app.state.service
    return service


Service = Annotated[VideoService, Depends(service_of)]


async def long_calls_of(request: Request) -> LongCalls:
    """Return the threads for what takes long."""
    calls: LongCalls = request.app.state.long_calls
    return calls


Calls = Annotated[LongCalls, Depends(long_calls_of)]


def owner_of(request: Request) -> str:
    """Return the id of the caller's key, empty where none is needed."""
    owner: str = request.state.key_id
    return owner


def header_of_job(job: Job) -> dict[str, str]:
    """Return what names the job behind a blocking answer, so that a caller can ask about it."""
    return {"X-Job-ID": job.id}


def places_to_wait(request: Request) -> Places:
    """Return the places of callers that are held until something happens."""
    places: Places = request.app.state.waiting
    return places
