"""The native API: jobs are handed in, watched, stopped, repeated and removed; each belongs to the key that made it.

What is asked for is read in `asking` and `uploads`; what a job is, is shown by `views`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from upscale_server.errors import BadRequest, NotFound
from upscale_server.jobs.job import Job
from upscale_server.service import StoredFile
from upscale_server.web.bodies import documented
from upscale_server.web.events import EventStream, Snapshot, snapshot_of, told
from upscale_server.web.faults import shorten
from upscale_server.web.files import file_reply
from upscale_server.web.handing_in import UPLOAD_TYPES, handed_in
from upscale_server.web.links import relative_or_whole
from upscale_server.web.parts import Service, header_of_job, owner_of, places_to_wait
from upscale_server.web.views import job_view, known_of
from upscale_server.wire_jobs import JobsView, JobView, NewJobBody, NewJobFields, StateWord

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

_UPLOADS: dict[str, Any] = {  # OpenAPI's own JSON values
    "multipart/form-data": {
        "schema": {
            "type": "object",
            "required": ["file"],
            "properties": {
                "file": {"type": "string", "format": "binary"},
                **NewJobFields.model_json_schema()["properties"],
            },
        }
    },
    **{kind: {"schema": {"type": "string", "format": "binary"}} for kind in UPLOAD_TYPES},
}


@router.post("", status_code=202, response_model=JobView, openapi_extra=documented(NewJobBody, **_UPLOADS))
async def submit(request: Request, service: Service) -> Response:
    """Hand in a job: JSON with `payload_url`, a form with `file`, or the video itself as the body.

    Beside a body that is the video the fields stand in the query, and `file_name` names it. With an Idempotency-Key
    a repeated request is answered with the job of the first one.
    """
    job = await handed_in(request, service)
    headers = {"Location": f"/v1/jobs/{job.id}"} | header_of_job(job)
    return await _shown(request, service, lambda: job, 202, headers)


@router.get("", response_model=JobsView)
async def jobs(
    request: Request,
    service: Service,
    after: Annotated[str | None, Query(max_length=100, description="the `next` of the page before")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    state: StateWord | None = None,
) -> Response:
    """List jobs, newest first, without their plans."""
    unknown = sorted(set(request.query_params) - {"after", "limit", "state"})
    if unknown:
        raise BadRequest(f"there is no parameter {shorten(unknown[0])}; expected after, limit or state")

    def page() -> bytes:
        found, following = service.jobs(after, limit, state, owner_of(request))
        base_url = relative_or_whole(request, service.settings)
        known = known_of(service, found)
        views = [job_view(service, replace(job, plan=None), base_url, known) for job in found]
        return JobsView(jobs=views, next=following).model_dump_json().encode()

    return Response(await run_in_threadpool(page), media_type="application/json")


@router.get("/{job_id}", response_model=JobView)
async def job(request: Request, service: Service, job_id: str) -> Response:
    """Show a job."""
    return await _shown(request, service, lambda: service.job(job_id, owner_of(request)))


@router.get(
    "/{job_id}/events",
    responses={200: {"content": {"text/event-stream": {}}}, 204: {"description": "Nothing follows; ask no more"}},
    response_class=Response,
)
async def events(request: Request, service: Service, job_id: str) -> Response:
    """Watch a job: a full snapshot on connect and after every change, until it is finished."""
    owner, base_url = owner_of(request), relative_or_whole(request, service.settings)
    last_id, places = request.headers.get("last-event-id", ""), places_to_wait(request)

    def snapshot(known: str) -> Snapshot:
        found = service.job(job_id, owner)
        return snapshot_of(found, service.progress(found), lambda: job_view(service, found, base_url), known)

    first = await run_in_threadpool(snapshot, last_id)
    if first.is_last and first.id == last_id:
        return Response(status_code=204)  # any other answer makes an EventSource come back for ever
    return EventStream(told(snapshot, last_id), places, owner)


@router.post("/{job_id}/cancel", response_model=JobView)
async def cancel(request: Request, service: Service, job_id: str) -> Response:
    """Stop a job for good; one that runs stops at its next tile."""
    return await _shown(request, service, lambda: service.cancel(job_id, owner_of(request)))


@router.post("/{job_id}/pause", response_model=JobView)
async def pause(request: Request, service: Service, job_id: str) -> Response:
    """Stop a job and keep what is finished; one that runs stops after its running segments."""
    return await _shown(request, service, lambda: service.pause(job_id, owner_of(request)))


@router.post("/{job_id}/resume", response_model=JobView)
async def resume(request: Request, service: Service, job_id: str) -> Response:
    """Let a paused job go on."""
    return await _shown(request, service, lambda: service.resume(job_id, owner_of(request)))


@router.post("/{job_id}/retry", response_model=JobView)
async def retry(request: Request, service: Service, job_id: str) -> Response:
    """Queue a failed or cancelled job again."""
    return await _shown(request, service, lambda: service.retry(job_id, owner_of(request)))


@router.delete("/{job_id}", status_code=204, response_class=Response)
async def remove(request: Request, service: Service, job_id: str) -> Response:
    """Remove a finished job and its result."""
    await run_in_threadpool(service.remove, job_id, owner_of(request))
    return Response(status_code=204)


@router.head("/{job_id}/output", include_in_schema=False)
@router.get("/{job_id}/output", response_class=Response)
async def output(request: Request, service: Service, job_id: str) -> Response:
    """Give a job's result, in whole or in ranges; with an object store, redirect to it."""

    def found() -> StoredFile | str:
        one = service.job(job_id, owner_of(request))
        return service.results.file_of(one) or service.results.link_of(one)

    place = await run_in_threadpool(found)
    return RedirectResponse(place, 307) if isinstance(place, str) else await file_reply(request, place)


@router.get("/{job_id}/audit", response_model=dict[str, Any])
async def audit(request: Request, service: Service, job_id: str) -> Response:
    """Give what the result was held against, rule by rule, and how it was made."""
    found = await run_in_threadpool(service.job, job_id, owner_of(request))
    if found.outcome is None:
        raise NotFound(f"job {job_id} is {found.state} and has no audit")
    return await run_in_threadpool(JSONResponse, {"audit": found.outcome.audit, "report": found.outcome.report})


async def _shown(
    request: Request,
    service: Service,
    found: Callable[[], Job],
    status: int = 200,
    headers: dict[str, str] | None = None,
) -> Response:
    """Return a job as a reply, found and put into words in one thread: the plan of a long video is a long text."""

    def shown() -> Response:
        view = job_view(service, found(), relative_or_whole(request, service.settings))
        return Response(view.model_dump_json(), status, headers, media_type="application/json")

    return await run_in_threadpool(shown)
