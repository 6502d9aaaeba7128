"""Serves results to whoever holds a signed link; no key is asked for, the signature is one.

Links are made by the store and point here where that store is local.
"""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from upscale_server.web.files import file_reply
from upscale_server.web.parts import Service

router = APIRouter(tags=["results"])


@router.head("/files/{key:path}", include_in_schema=False)
@router.get("/files/{key:path}", response_class=Response)
async def linked(request: Request, service: Service, key: str) -> Response:
    """Give a result, in whole or one range of it."""
    return await file_reply(
        request, await run_in_threadpool(service.results.linked_file, key, dict(request.query_params))
    )
