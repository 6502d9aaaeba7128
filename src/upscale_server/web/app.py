"""What the servers' applications share: one door before the routes, one shape for every failure, one start and end.

What the routes do stands with them; what runs behind them is the service's.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Protocol

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import Response

from upscale_server import __version__
from upscale_server.metrics import Metrics
from upscale_server.settings import Settings
from upscale_server.web import observe
from upscale_server.web.auth import Keys
from upscale_server.web.cors import Cors
from upscale_server.web.doorway import Doorway, Rules
from upscale_server.web.faults import PROBLEM_TYPE, from_framework, from_validation, methods_at, reply_to
from upscale_server.web.own_names import OwnNames
from upscale_server.web.rates import Rates
from upscale_server.wire import Problem


class Service(Protocol):
    """What an application starts and stops; `settings` is what it was made with, `metrics` counts what it does."""

    settings: Settings
    metrics: Metrics

    def start(self) -> None:
        """Begin."""

    def stop(self) -> None:
        """Finish; safe to call twice."""


def app_of(service: Service, title: str, description: str, routers: Sequence[APIRouter]) -> FastAPI:
    """Return an application; entering its lifespan starts the service, leaving it stops the service.

    Raises:
        BadRequest: an API key in the settings is malformed.
    """
    app = FastAPI(
        title=title,
        version=__version__,
        description=description,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        lifespan=_lifespan,
        responses={"default": {"description": "A failure", "content": {PROBLEM_TYPE: {"schema": _problem_schema()}}}},
    )
    app.state.service = service
    app.state.figures = service.metrics.text
    app.state.routers = routers
    for router in routers:
        app.include_router(router)
    app.add_exception_handler(HTTPException, _refused_by_framework)
    app.add_exception_handler(RequestValidationError, _refused_by_validation)
    keys = Keys.of(service.settings.api_keys.get_secret_value())
    app.state.has_many_keys = len(set(keys.digests)) > 1
    opened = frozenset({observe.PATH} if service.settings.metrics_open else ())
    rates = Rates(service.settings.quotas.requests_per_minute)
    rules = Rules(keys, OwnNames.of(service.settings), opened, rates)
    app.add_middleware(Doorway, rules=rules, metrics=service.metrics)
    if service.settings.http.cors_origins:
        app.add_middleware(Cors, origins=service.settings.http.cors_origins)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    service: Service = app.state.service
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
