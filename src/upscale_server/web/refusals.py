"""Refusals that no route sees: what is written to a connection that is dropped, and who is answered when all are held.

When a connection is refused is `guard`'s business.
"""

from __future__ import annotations

import secrets
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from upscale_server.errors import UpscaleError
from upscale_server.logs import get_logger
from upscale_server.web.auth import OPEN_PATHS
from upscale_server.web.faults import PROBLEM_TYPE, SAFE_HEADERS, problem, reply_to, retry_after

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application


def probes_alone(app: ASGI3Application, refusal: UpscaleError) -> ASGI3Application:
    """Return an application that answers probes and nothing else, and lets no connection stay."""

    async def narrow(scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401 - uvicorn's own, passed on

        async def send_last(message: Any) -> None:  # noqa: ANN401 - as above
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        if scope["path"] in OPEN_PATHS:
            await app(scope, receive, send_last)
            return
        request_id = _noted(refusal)
        headers = {**SAFE_HEADERS, "Connection": "close", "X-Request-ID": request_id}
        reply = reply_to(refusal, request_id, headers)
        await reply(scope, receive, send)

    return narrow


def answer_of(error: UpscaleError) -> bytes:
    """Return a whole answer for a connection that no application has, and log it."""
    request_id = _noted(error)
    body = problem(error, request_id)
    seconds = retry_after(error)
    retry = "" if seconds is None else f"Retry-After: {seconds}\r\n"
    safe = "".join(f"{name}: {value}\r\n" for name, value in SAFE_HEADERS.items())
    head = (
        f"HTTP/1.1 {error.http_status} {HTTPStatus(error.http_status).phrase}\r\n"
        f"Content-Type: {PROBLEM_TYPE}\r\nContent-Length: {len(body)}\r\n{retry}X-Request-ID: {request_id}\r\n"
        f"{safe}Connection: close\r\n\r\n"
    )
    return head.encode() + body


def _noted(error: UpscaleError) -> str:
    """Log a refusal that no route sees, and return the id that its sender is told."""
    request_id = secrets.token_hex(8)
    get_logger().info("request_refused", status=error.http_status, detail=error.detail, request_id=request_id)
    return request_id
