"""Previews over HTTP: asked for, watched, played and removed; each belongs to the key that asked.

What a preview is, is made and kept by the service.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from upscale_server.disk import link_or_copy
from upscale_server.errors import BadRequest, NotFound
from upscale_server.jobs.job import Source
from upscale_server.jobs.preview_record import KeptPreview, NewPreview
from upscale_server.models.added import path_of
from upscale_server.models.at_hand import models_folder
from upscale_server.preview import Candidate
from upscale_server.service import StoredFile, VideoService
from upscale_server.storage.base import Stored
from upscale_server.storage.names import clean_name
from upscale_server.storage.urls import parse_url
from upscale_server.web.asking import asked_by_fields, check_model, check_one_source
from upscale_server.web.bodies import checked, documented, json_in
from upscale_server.web.files import file_reply
from upscale_server.web.parts import Service, owner_of
from upscale_server.web.preview_views import preview_view
from upscale_server.wire_previews import NewPreviewBody, PreviewView
from upscale_server.wish import Wish

router = APIRouter(prefix="/v1/previews", tags=["previews"])


@router.post("", status_code=202, response_model=PreviewView, openapi_extra=documented(NewPreviewBody))
async def ask(request: Request, service: Service) -> Response:
    """Ask for a few seconds of a video through models, beside the source enlarged by bicubic.

    Of a job's fields the size counts; codec and quality are the preview's own. Its files play in step in any browser.
    """
    body = checked(NewPreviewBody, await json_in(request))
    kept = await run_in_threadpool(_taken, service, body, owner_of(request))
    return _reply(kept, 202, {"Location": f"/v1/previews/{kept.id}"})


@router.get("/{preview_id}", response_model=PreviewView)
async def show(request: Request, service: Service, preview_id: str) -> Response:
    """Show a preview; sides are listed as they become ready."""
    return await _shown(lambda: service.previews.get(preview_id, owner_of(request)))


@router.post("/{preview_id}/cancel", response_model=PreviewView)
async def cancel(request: Request, service: Service, preview_id: str) -> Response:
    """Stop a preview; what is ready of it stays until it expires."""
    return await _shown(lambda: service.previews.cancel(preview_id, owner_of(request)))


@router.delete("/{preview_id}", status_code=204, response_class=Response)
async def remove(request: Request, service: Service, preview_id: str) -> Response:
    """Stop a preview if need be, and remove all of it."""
    await run_in_threadpool(service.previews.remove, preview_id, owner_of(request))
    return Response(status_code=204)


@router.head("/{preview_id}/files/{name}", include_in_schema=False)
@router.get("/{preview_id}/files/{name}", response_class=Response, responses={200: {"content": {"video/mp4": {}}}})
async def file(request: Request, service: Service, preview_id: str, name: str) -> Response:
    """Give one side's file, in whole or in ranges."""

    def found() -> StoredFile:
        path = service.previews.file(preview_id, name, owner_of(request))
        try:
            facts = path.stat()
        except OSError as err:
            raise NotFound(f"preview {preview_id} has no file {name[:64]!r}") from err
        etag = f"{preview_id}-{path.stem}-{facts.st_size:x}-{facts.st_mtime_ns:x}"
        return StoredFile(path, Stored("", facts.st_size, facts.st_mtime, etag), name)

    return await file_reply(request, await run_in_threadpool(found))


def _taken(service: VideoService, body: NewPreviewBody, owner: str) -> KeptPreview:
    check_one_source(body.source_id, body.payload_url)
    new = replace(_new(service, body), owner=owner)
    service.previews.check_room(owner)
    service.quota.check(owner)
    if body.payload_url is not None:
        service.check_url(body.payload_url)
        name = clean_name(parse_url(body.payload_url).file_name, new.file_name)
        return service.previews.take(replace(new, address=body.payload_url, file_name=name))
    with service.sources.lent(body.source_id or "", owner) as lent:
        return service.previews.take(replace(new, file_name=lent.source.file_name), partial(_move, lent.path))


def _move(source: Path, target: Path) -> None:
    """Move a file, to another disk, too."""
    link_or_copy(source, target)
    source.unlink(missing_ok=True)


def _new(service: VideoService, body: NewPreviewBody) -> NewPreview:
    """Return what is asked for, without its source.

    Raises:
        BadRequest and its kinds: a value that could never be done.
    """
    settings, known = service.settings, service.model_names()
    given = asked_by_fields(body, known, Source("upload", ""), "")
    if body.model is not None:
        raise BadRequest("field model does not exist here; give models, a list")
    if body.webhook_url is not None:
        raise BadRequest("field webhook_url is given, and nobody is told of a preview; ask for it at its place")
    models = body.models or []
    most = settings.previews
    if len(models) > most.most_models:
        raise BadRequest(
            f"field models names {len(models)}; the limit is {most.most_models}, see UPSCALE_PREVIEWS__MOST_MODELS"
        )
    if body.seconds > most.most_seconds:
        raise BadRequest(
            f"field seconds is {body.seconds:g}; the limit is {most.most_seconds:g}, see UPSCALE_PREVIEWS__MOST_SECONDS"
        )
    for name in models:
        check_model(name, known)
    folder = models_folder(settings)
    wish = Wish(
        task=given.task, to=given.to, scale=given.scale, fit=given.fit, allow_partial=given.allow_partial,
        model=path_of(settings.model_path or None, folder),
    )  # fmt: skip
    candidates = Candidate.named([(name, path_of(name, folder)) for name in models])
    return NewPreview(wish, candidates, body.start_seconds, body.seconds, body.self_test)


async def _shown(found: Callable[[], KeptPreview]) -> Response:
    return _reply(await run_in_threadpool(found))


def _reply(kept: KeptPreview, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(preview_view(kept).model_dump_json(), status, headers, media_type="application/json")
