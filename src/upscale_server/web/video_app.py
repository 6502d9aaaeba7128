"""The video server's application: routes, one door before them, one shape for every failure.

What the routes do stands with them; what runs behind them is the service's.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import Response

from upscale_server import __version__
from upscale_server.service import VideoService
from upscale_server.web import documented, jobs_routes, link_routes, page, subnet_routes
from upscale_server.web.auth import Keys
from upscale_server.web.doorway import Doorway
from upscale_server.web.faults import PROBLEM_TYPE, from_framework, from_validation, methods_at, reply_to
from upscale_server.web.own_names import OwnNames
from upscale_server.web.places import Places
from upscale_server.wire import Problem

MOST_WAITING = 384
"""Callers that may be held at once, of the guard's 512 connections: asking and cancelling go on beside them."""
MOST_UPLOADS = 16
"""Uploads at once: more would only share the disk, and each may be as large as a source."""

_DESCRIPTION = """Video super-resolution that loses nothing. A job that was accepted survives everything.

Where keys are set, send one as `Authorization: Bearer KEY` or `X-API-Key: KEY`. Every failure is a problem object
(RFC 9457) with a `code`; every reply carries `X-Request-ID`."""

_ROUTERS = (
    documented.router,
    subnet_routes.router,
    jobs_routes.router,
    link_routes.router,
    documented.probes,
    page.router,
)


def create_app(service: VideoService) -> FastAPI:
    """Return the application; entering its lifespan starts the service, leaving it stops the service.

    Raises:
        BadRequest: an API key in the settings is malformed.
    """
    app = FastAPI(
        title="upscale-server",
        version=__version__,
        description=_DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        lifespan=_lifespan,
        responses={"default": {"description": "A failure", "content": {PROBLEM_TYPE: {"schema": _problem_schema()}}}},
    )
    app.state.service = service
    app.state.routers = _ROUTERS
    app.state.waiting = Places(
        MOST_WAITING, "callers wait for jobs", "hand the job in with POST /v1/jobs and ask again"
    )
    app.state.uploading = Places(MOST_UPLOADS, "uploads are under way", "send it again a little later")
    for router in _ROUTERS:
        app.include_router(router)
    app.add_exception_handler(HTTPException, _refused_by_framework)
    app.add_exception_handler(RequestValidationError, _refused_by_validation)
    keys = Keys.of(service.settings.api_keys.get_secret_value())
    app.add_middleware(Doorway, keys=keys, names=OwnNames.of(service.settings))
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    service: VideoService = app.state.service
    await run_in_threadpool(service.start)
    try:
        yield
    finally:
        await run_in_threadpool(service.stop)


async def _refused_by_framework(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    allowed = {"Allow": ", ".join(methods_at(request))} if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED else None
    return reply_to(from_framework(request, error), request.state.request_id, allowed)


async def _refused_by_validation(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    return reply_to(from_validation(error.errors()), request.state.request_id)


def _problem_schema() -> dict[str, object]:
    return Problem.model_json_schema()
