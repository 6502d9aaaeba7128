"""The routes of the documented video server: one blocking call, its health and its statistics, and the probes.

A blocking call is a job like any other that somebody waits for.
"""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from upscale_server import __version__
from upscale_server.errors import StorageError, UpscaleError
from upscale_server.geometry import BOXES, TASKS
from upscale_server.jobs.job import Job
from upscale_server.jobs.view import MEBI
from upscale_server.service import VideoService
from upscale_server.settings import Settings
from upscale_server.web.asking import SCALES, asked_by_video, idempotent
from upscale_server.web.bodies import MAX_JSON_BYTES, body_of, documented
from upscale_server.web.faults import reply_to
from upscale_server.web.limits import VIDEO_GROUPS, fixed, in_force
from upscale_server.web.links import base_url_of, joined
from upscale_server.web.parts import Service, header_of_job, owner_of, places_to_wait
from upscale_server.web.views import failure_of, job_view, queue_counts
from upscale_server.web.waiting import finished
from upscale_server.wire import Alive, Health, LimitsView, LocalFolders, QueueCounts, Stats, UpscaledVideo, UpscaleVideo
from upscale_server.wire_jobs import JobView

TASK_WORKERS = {"SD2HD": 10, "SD24K": 8, "HD24K": 12, "4K28K": 8}
"""The documented lanes of each task; what a task really gets is `task_lanes`."""
TASK_RESOLUTIONS: dict[str, list[str | int]] = {
    "SD2HD": ["854x480", "1920x1080", 2],
    "SD24K": ["854x480", "3840x2160", 4],
    "HD24K": ["1920x1080", "3840x2160", 2],
    "4K28K": ["3840x2160", "7680x4320", 2],
}

router = APIRouter(tags=["documented server"])
probes = APIRouter(tags=["server"])


@router.post(
    "/upscale-video",
    response_model=UpscaledVideo,
    openapi_extra=documented(UpscaleVideo),
    responses={202: {"model": JobView, "description": "UPSCALE_JOBS__WAIT_SECONDS are over; the job goes on"}},
)
async def upscale_video(
    request: Request, service: Service, body: Annotated[UpscaleVideo, Depends(body_of(UpscaleVideo))]
) -> Response:
    """Upscale a video and answer when it is done; a caller that hangs up does not lose the job."""
    with places_to_wait(request).one(owner_of(request)):
        return await _upscaled(request, service, body)


async def _upscaled(request: Request, service: VideoService, body: UpscaleVideo) -> Response:
    began = time.monotonic()
    base_url = "" if service.settings.storage.kind == "s3" else base_url_of(request, service.settings)
    asked = asked_by_video(body)
    await run_in_threadpool(service.check_url, body.payload_url)
    new = idempotent(asked, request.headers.get("idempotency-key"), owner_of(request))
    job = await finished(request, service, (await run_in_threadpool(service.submit, new)).id, owner_of(request))
    failure = failure_of(job)
    if failure is not None:
        return reply_to(failure, request.state.request_id, header_of_job(job))
    view = await run_in_threadpool(job_view, service, job, base_url)
    if not job.is_finished:
        location = {"Location": f"/v1/jobs/{job.id}"}
        return JSONResponse(view.model_dump(), 202, location | header_of_job(job))
    url = await run_in_threadpool(lambda: joined(base_url, service.results.link_of(job)))
    answer = _answer(job, url, time.monotonic() - began)
    return JSONResponse(answer.model_dump(), headers=header_of_job(job))


def _answer(job: Job, url: str, seconds: float) -> UpscaledVideo:
    return UpscaledVideo(
        optimized_video_url=url,
        uploaded_video_url=url,
        processing_time=round(seconds, 3),
        task_type=job.asked.task or "",
        file_size_mb=job.outcome.byte_count / MEBI if job.outcome else 0.0,
        job_id=job.id,
    )


@router.get("/health", response_model=Health, response_model_exclude_none=True)
async def health(request: Request, service: Service) -> Response | Health:
    """Tell whether jobs can be done; 503 with the reason where they cannot."""
    return await run_in_threadpool(health_of, service, request.state.request_id)


def health_of(service: VideoService, request_id: str) -> Response | Health:
    """Return what `/health` answers; this touches the database."""
    facts = {
        "workers_ready": service.lanes_ready(),
        "max_workers": service.settings.max_workers,
        "supported_tasks": list(TASKS),
    }
    try:
        counts = ready_counts(service)
    except UpscaleError as err:
        refusal = reply_to(err, request_id)
        kept = {name: value for name, value in refusal.headers.items() if name == "retry-after"}
        return JSONResponse(err.as_record(request_id) | facts, refusal.status_code, kept, refusal.media_type)
    if not service.settings.subnet.enabled:
        return Health(status="healthy", **facts)
    return Health(status="ok", competition_local_io=_folders(service.settings), queue=counts, **facts)


def ready_counts(service: VideoService) -> QueueCounts:
    """Return how many jobs run and wait, where a job would be done now.

    Raises:
        Draining, ModelsNotLoaded: it would not.
        StorageError: the jobs' database cannot be read; its status is 503 here, as for all that keeps us from work.
    """
    service.check_ready()
    try:
        return queue_counts(service)
    except StorageError as err:
        err.http_status = 503
        raise


def _folders(settings: Settings) -> LocalFolders:
    root = None if settings.subnet.shared_root is None else str(settings.subnet.shared_root)
    return LocalFolders(remote_io_disabled=False, input_root=root, output_root=root)


@router.get("/stats", response_model=Stats)
async def stats(service: Service) -> Stats:
    """Give the documented configuration, and what was measured on this machine."""
    status = service.pool_status()
    lane = next((one for one in status.lanes if one.engine), None)
    return Stats(
        workers_ready=service.lanes_ready(),
        max_workers=service.settings.max_workers,
        task_worker_mapping=TASK_WORKERS,
        task_resolution_mapping=TASK_RESOLUTIONS,
        task_lanes=service.task_lanes(),
        engine=lane.engine if lane else "",
        device=lane.device if lane else "",
        model=lane.model if lane else "",
        version=__version__,
    )


@probes.get("/livez", response_model=Alive)
async def livez() -> Alive:
    """Answer as long as the process does."""
    return Alive(status="alive")


@probes.get("/readyz", response_model=Alive)
async def readyz(service: Service) -> Alive:
    """Tell whether a job would be done now: models loaded, database there, not stopping."""
    await run_in_threadpool(ready_counts, service)
    return Alive(status="ready")


@probes.get("/limits", response_model=LimitsView)
async def limits(service: Service) -> LimitsView:
    """Give what is refused, and the settings to change it with."""
    return await run_in_threadpool(limits_view, service)


def limits_view(service: VideoService) -> LimitsView:
    """Return what is refused."""
    settings = service.settings
    return LimitsView(
        max_source_bytes=settings.fetch.max_bytes,
        max_source_side=settings.limits.max_source_side,
        max_pixels=settings.limits.max_pixels,
        max_output_side=settings.limits.max_output_side,
        max_json_bytes=MAX_JSON_BYTES,
        max_items=5,
        room=settings.jobs.room,
        wait_seconds=settings.jobs.wait_seconds,
        link_seconds=settings.storage.link_seconds,
        keep_seconds=settings.storage.keep_seconds,
        codecs=["h264", "hevc", "av1"],
        tasks=list(TASKS),
        targets=list(BOXES),
        scales=list(SCALES),
        models=sorted(service.model_names()),
        settings={
            "max_source_bytes": "UPSCALE_FETCH__MAX_BYTES",
            "max_source_side": "UPSCALE_LIMITS__MAX_SOURCE_SIDE",
            "max_pixels": "UPSCALE_LIMITS__MAX_PIXELS",
            "max_output_side": "UPSCALE_LIMITS__MAX_OUTPUT_SIDE",
            "room": "UPSCALE_JOBS__ROOM",
            "wait_seconds": "UPSCALE_JOBS__WAIT_SECONDS",
            "link_seconds": "UPSCALE_STORAGE__LINK_SECONDS",
            "keep_seconds": "UPSCALE_STORAGE__KEEP_SECONDS",
        },
        in_force=in_force(settings, VIDEO_GROUPS),
        fixed=fixed(),
    )
