"""Sources over HTTP: sent or fetched once, looked at, and kept for a plan, a preview or a job; each is its key's own.

What is in a source is found out by a worker; how long it is kept is the service's.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from upscale_server.errors import BadRequest, Draining
from upscale_server.jobs.kept_sources import KeptSource
from upscale_server.jobs.view import iso
from upscale_server.service import VideoService
from upscale_server.service.sources import Arrived
from upscale_server.storage.names import clean_name
from upscale_server.web.bodies import checked, documented, json_in
from upscale_server.web.faults import shorten
from upscale_server.web.handing_in import UPLOAD_TYPES, kind_of
from upscale_server.web.long_calls import LongCalls
from upscale_server.web.parts import Calls, Service, owner_of
from upscale_server.web.places import Places
from upscale_server.web.uploads import Received, received
from upscale_server.wire_sources import NewSourceBody, ProbeView, SourceView

router = APIRouter(prefix="/v1/sources", tags=["sources"])

LONGEST_NAME = 1024
_UPLOADS: dict[str, Any] = {  # OpenAPI's own JSON values
    "multipart/form-data": {
        "schema": {
            "type": "object",
            "required": ["file"],
            "properties": {"file": {"type": "string", "format": "binary"}},
        }
    },
    **{kind: {"schema": {"type": "string", "format": "binary"}} for kind in UPLOAD_TYPES},
}


@router.post("", status_code=201, response_model=SourceView, openapi_extra=documented(NewSourceBody, **_UPLOADS))
async def bring(request: Request, service: Service, calls: Calls) -> Response:
    """Bring a source: JSON with `payload_url`, a form with `file`, or the video itself as the body.

    It is looked at before the answer, and kept for UPSCALE_SOURCES__KEEP_SECONDS: plans, previews and jobs take its
    `id`. Beside a body that is the video, `file_name` in the query names it.
    """
    if service.is_draining:
        raise Draining("the server is stopping; it takes no new sources")
    kind = kind_of(request)
    file_name = _file_name(request)
    places: Places = request.app.state.uploading
    with places.one(owner_of(request)):
        if kind == "application/json":
            source = await _fetched(request, service, calls)
        else:
            source = await _sent(request, service, calls, file_name)
    return _shown(source, 201, {"Location": f"/v1/sources/{source.id}"})


@router.get("/{source_id}", response_model=SourceView)
async def show(request: Request, service: Service, source_id: str) -> Response:
    """Show a source."""
    return _shown(await run_in_threadpool(service.sources.get, source_id, owner_of(request)))


@router.delete("/{source_id}", status_code=204, response_class=Response)
async def remove(request: Request, service: Service, source_id: str) -> Response:
    """Remove a source; jobs that were made from it keep their own."""
    await run_in_threadpool(service.sources.remove, source_id, owner_of(request))
    return Response(status_code=204)


@router.get("/{source_id}/poster.jpg", response_class=Response, responses={200: {"content": {"image/jpeg": {}}}})
async def poster(request: Request, service: Service, calls: Calls, source_id: str) -> Response:
    """Give a frame from about a tenth of the way, its longest side at most 640 pixels."""
    owner = owner_of(request)
    picture = await calls.run(request, service, lambda stop: service.sources.poster(source_id, owner, stop))
    headers = {"Cache-Control": "private, max-age=3600", "X-Content-Type-Options": "nosniff"}
    return Response(picture, headers=headers, media_type="image/jpeg")


def source_view(source: KeptSource) -> SourceView:
    """Return a source as its owner sees it."""
    return SourceView(
        id=source.id,
        file_name=source.file_name,
        byte_count=source.byte_count,
        created_at=iso(source.created_at),
        expires_at=iso(source.expires_at),
        probe=ProbeView.model_validate(source.facts),
    )


def _shown(source: KeptSource, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(source_view(source).model_dump_json(), status, headers, media_type="application/json")


async def _fetched(request: Request, service: VideoService, calls: LongCalls) -> KeptSource:
    body = checked(NewSourceBody, await json_in(request))
    service.check_url(body.payload_url)
    owner = owner_of(request)
    return await calls.run(request, service, lambda stop: service.sources.fetch(body.payload_url, owner, stop))


async def _sent(request: Request, service: VideoService, calls: LongCalls, file_name: str) -> KeptSource:
    await run_in_threadpool(service.quota.check, owner_of(request))
    count = partial(service.quota.add, owner_of(request))
    async with received(request, service.uploads, service.settings.fetch.max_bytes, count) as file:
        arrived = _arrived(request, file, file_name)
        return await calls.run(request, service, lambda stop: service.sources.take(arrived, stop))


def _arrived(request: Request, file: Received, file_name: str) -> Arrived:
    unknown = sorted(set(file.fields) - {"file_name"})
    if unknown:
        raise BadRequest(f"field {shorten(unknown[0])} does not exist; a source has `file` and `file_name` alone")
    named = file_name or file.fields.get("file_name", "") or file.file_name
    return Arrived(file.path, clean_name(named[:LONGEST_NAME], ""), file.sha256, owner_of(request))


def _file_name(request: Request) -> str:
    unknown = sorted(set(request.query_params) - {"file_name"})
    if unknown:
        raise BadRequest(f"there is no parameter {shorten(unknown[0])}; expected file_name")
    return request.query_params.get("file_name", "")
