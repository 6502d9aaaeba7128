"""What an operator's monitoring asks: `/metrics`, and by which word of ours each request is counted.

What the figures are stands in `metrics`; a key is needed as everywhere, unless UPSCALE_METRICS_OPEN says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable

from fastapi import APIRouter, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool
from starlette.types import Scope

from upscale_server.metrics import CONTENT_TYPE

PATH = "/metrics"
NO_ROUTE = "none"
"""The label of what no route answered: a path is its sender's word, and every new one would be a new time series."""

router = APIRouter(tags=["server"])


@router.get(
    PATH,
    response_class=Response,
    responses={200: {"description": "Prometheus' text format", "content": {"text/plain": {}}}},
    openapi_extra={"x-commands": ["curl {address}/metrics"]},
)
async def metrics(request: Request) -> Response:
    """Give every figure as it is now, for Prometheus; docs/howto/monitor.md says what each one means."""
    figures: Callable[[], bytes] = request.app.state.figures
    return Response(await run_in_threadpool(figures), headers={"Content-Type": CONTENT_TYPE})


def route_of(scope: Scope) -> str:
    """Return the template of the route that answered."""
    template: str | None = getattr(scope.get("route"), "path", None)
    return template or NO_ROUTE
