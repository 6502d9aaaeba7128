"""The routes that enlarge pictures: one picture in and its file out, or many in and a list out.

Reading, enlarging and writing happen in the service's threads; a caller that waits costs the event loop nothing.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, ExitStack
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from upscale_server.errors import UpscaleError
from upscale_server.logs import get_logger
from upscale_server.service.image import ImageService, Submit
from upscale_server.service.picture_work import FORMATS, Made, Wish
from upscale_server.web.doorway import ClientGone
from upscale_server.web.faults import opaque
from upscale_server.web.files import file_reply
from upscale_server.web.held import HeldResponse
from upscale_server.web.image_asking import WORDS, wish_in
from upscale_server.web.image_form import Arrived, Bounds, Pictures, pictures_in
from upscale_server.web.links import joined, relative_or_whole
from upscale_server.web.parts import owner_of
from upscale_server.web.places import Places
from upscale_server.wire_image import UpscaledBatch

MEBI = 2**20
_LOOK_SECONDS = 0.5
"""How often one who waits is looked after: a picture of a client that hung up before its turn is not begun."""

router = APIRouter(tags=["pictures"])
files = APIRouter(tags=["results"])


async def service_of(request: Request) -> ImageService:
    """Return the service that the application was made with."""
    service: ImageService = request.app.state.service
    return service


Service = Annotated[ImageService, Depends(service_of)]


def _described(field: str, *, many: bool, example: str) -> dict[str, Any]:  # OpenAPI's own JSON values
    """Return what the documentation says of a route whose form is read here."""
    file = {"type": "string", "format": "binary", "description": "a picture's file"}
    schema = {
        "type": "object",
        "required": [field],
        "properties": {field: {"type": "array", "items": file, "description": "pictures' files"} if many else file},
    }
    parameters = [
        {"name": name, "in": "query", "required": False, "schema": {"type": "string"}, "description": about}
        for name, about in WORDS.items()
    ]
    return {
        "parameters": parameters,
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}},
        "x-commands": [example],
    }


@router.post(
    "/upscale",
    response_class=Response,
    responses={200: {"description": "The picture", "content": {kind: {} for _, kind in FORMATS.values()}}},
    openapi_extra=_described(
        "file",
        many=False,
        example='curl -X POST "{address}/upscale?upscale=2&process_size=128" -F "file=@input.png" --output output.png',
    ),
)
async def upscale(request: Request, service: Service) -> Response:
    """Enlarge one picture, exactly by the factor.

    Headers: `X-Output-Size` (such as 3840x2160), `X-Model`, `X-Warnings` where something could not be kept, and
    `Server-Timing` with the milliseconds of each step.
    """
    service.check_ready()
    wish_in(request, {}, service.settings.image)
    await run_in_threadpool(service.quota.check, owner_of(request))
    with ExitStack() as held:
        held.enter_context(_room(request).one(owner_of(request)))
        async with _pictures(request, service, Bounds.of_one(service.settings.image)) as sent:
            wish = wish_in(request, sent.fields, service.settings.image)
            made = await _made(request, service.submit(sent.files[0], wish))
        await run_in_threadpool(service.quota.add, owner_of(request), pixels=made.size.pixels)
        return HeldResponse(made.content, _headers_of(made), wish.media_type).hold(held.pop_all())


@router.post(
    "/upscale_batch",
    response_model=UpscaledBatch,
    openapi_extra=_described(
        "files",
        many=True,
        example='curl -X POST "{address}/upscale_batch?upscale=4" -F "files=@a.png" -F "files=@b.jpg"',
    ),
)
async def upscale_batch(request: Request, service: Service) -> Response:
    """Enlarge several pictures; one that cannot be is an entry with an `error`, and the others go on.

    `temp_path` is a file on the server's machine and `url` fetches it; both end after UPSCALE_IMAGE__RESULT_SECONDS.
    """
    service.check_ready()
    wish_in(request, {}, service.settings.image)
    await run_in_threadpool(service.quota.check, owner_of(request))
    with _room(request).one(owner_of(request)):
        async with _pictures(request, service, Bounds.of_batch(service.settings.image)) as sent:
            wish = wish_in(request, sent.fields, service.settings.image)
            with service.batch() as submit:
                results = [await _entry(request, service, submit, one, wish) for one in sent.files]
    successful = sum("error" not in one for one in results)
    model = service.facts.name if service.facts else ""
    body = {"results": results, "total": len(results), "successful": successful}
    return JSONResponse(body, headers={"X-Model": model})


@files.head("/files/{key:path}", include_in_schema=False)
@files.get("/files/{key:path}", response_class=Response)
async def linked(request: Request, service: Service, key: str) -> Response:
    """Give a batch's result, in whole or one range of it."""
    file = await run_in_threadpool(service.results.linked_file, key, dict(request.query_params))
    kinds = dict(FORMATS.values())
    return await file_reply(request, file, kinds.get(file.path.suffix, "application/octet-stream"))


def _headers_of(made: Made) -> dict[str, str]:
    steps = zip(("read", "enlarge", "write"), made.seconds, strict=True)
    timing = ", ".join(f"{name};dur={1000 * seconds:.1f}" for name, seconds in steps)
    headers = {"X-Output-Size": str(made.size), "X-Model": made.model, "Server-Timing": timing}
    if made.warnings:
        headers["X-Warnings"] = ", ".join(dict.fromkeys(code for code, _ in made.warnings))
    return headers


async def _entry(
    request: Request, service: ImageService, submit: Submit, source: Arrived, wish: Wish
) -> dict[str, Any]:  # JSON values
    try:
        made = await _made(request, submit(source, wish))
        kept = await run_in_threadpool(service.results.keep, made.content, wish.suffix)
        await run_in_threadpool(service.quota.add, owner_of(request), pixels=made.size.pixels)
    except UpscaleError as err:
        return {"filename": source.file_name, "error": err.detail, "code": err.code}
    except ClientGone:
        raise
    except Exception as err:  # noqa: BLE001 - one picture's misfortune is not the others'
        get_logger().error("picture_failed", failure=type(err).__name__, exc_info=err)
        error = opaque(request.state.request_id)
        return {"filename": source.file_name, "error": error.detail, "code": error.code}
    return {
        "filename": source.file_name,
        "temp_path": str(kept.path),
        "output_size": str(made.size),
        "file_size_mb": kept.byte_count / MEBI,
        "url": joined(relative_or_whole(request, service.settings), kept.link),
        "warnings": list(dict.fromkeys(code for code, _ in made.warnings)),
    }


def _pictures(request: Request, service: ImageService, bounds: Bounds) -> AbstractAsyncContextManager[Pictures]:
    """Take a request's pictures in; what came counts among what its key may bring in a day."""
    return pictures_in(request, service.temp_dir, bounds, partial(service.quota.add, owner_of(request)))


async def _made(request: Request, submitted: Future[Made]) -> Made:
    """Wait for a picture; a client that hangs up before its turn gives its turn away.

    Raises:
        ClientGone: nobody waits any more.
        UpscaleError: the picture cannot be made.
    """
    waiting = asyncio.wrap_future(submitted)
    try:
        while not waiting.done():
            await asyncio.wait({waiting}, timeout=_LOOK_SECONDS)
            if not waiting.done() and await request.is_disconnected():
                raise ClientGone
    finally:
        waiting.cancel()  # what has ended stays as it is
    return waiting.result()


def _room(request: Request) -> Places:
    room: Places = request.app.state.room
    return room
