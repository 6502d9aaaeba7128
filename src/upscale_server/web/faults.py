"""Makes every failure one kind of reply: a problem object (RFC 9457) with the statuses of our error table.

It decides no failure; it only words those that reach it, and hides what is nobody's business outside.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match

from upscale_server.errors import (
    BadRequest,
    BadScale,
    BadUrl,
    Draining,
    NotFound,
    QueueFull,
    UnknownTask,
    UpscaleError,
    WrongMethod,
)
from upscale_server.redaction import redacted

PROBLEM_TYPE = "application/problem+json"
SAFE_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}
"""What every answer says that does not say otherwise: it is no page, belongs in no frame and in no cache."""
_SHOWN = 120
"""Characters of a refused value that are repeated to its sender: enough to find it, too few to fill a log."""

_OWN_CODES: dict[str, type[BadRequest]] = {"task_type": UnknownTask, "scale": BadScale, "payload_url": BadUrl}
"""Fields whose wrong values have a code of their own."""


def problem(error: UpscaleError, request_id: str | None) -> bytes:
    """Return the body of a reply."""
    # A refused value may hold half a surrogate pair, which JSON can only escape.
    return json.dumps(error.as_record(request_id), ensure_ascii=False).encode(errors="backslashreplace")


def retry_after(error: UpscaleError) -> int | None:
    """Return the seconds to wait before asking again: what was said elsewhere, else for 429 and 503.

    A full queue moves with the jobs, a drained server is replaced in seconds, models load in about ten. What asking
    again does not mend has no time to wait: a client that obeys would ask for ever.
    """
    if not error.retryable:
        return None
    if error.retry_after is not None or error.http_status not in (429, 503):
        return error.retry_after
    if isinstance(error, QueueFull):
        return 15
    return 5 if isinstance(error, Draining) else 10


def reply_to(error: UpscaleError, request_id: str | None, headers: dict[str, str] | None = None) -> Response:
    """Return the reply to a failure."""
    named = dict(headers or {})
    seconds = retry_after(error)
    if seconds is not None:
        named["Retry-After"] = str(seconds)
    if error.http_status == 401:
        named["WWW-Authenticate"] = "Bearer"
    return Response(problem(error, request_id), error.http_status, named, media_type=PROBLEM_TYPE)


def opaque(request_id: str | None) -> UpscaleError:
    """Return what an unexpected failure is to those outside: an id to ask the operator about."""
    return UpscaleError("something went wrong inside the server", hint=f"the log has it under request {request_id}")


def from_validation(errors: Sequence[Any]) -> BadRequest:  # pydantic's own dictionaries
    """Return a validation's first complaint in our words: the field, its value and what was expected."""
    first = errors[0]
    where = ".".join(str(part) for part in first["loc"] if part not in ("query", "header", "path", "body"))
    kind = _OWN_CODES.get(where, BadRequest)
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    if first["type"] == "missing":
        return BadRequest(f"field {where} is missing{more}")
    if first["type"] == "extra_forbidden":
        return BadRequest(f"field {where} does not exist{more}", hint="/docs lists the fields")
    expected = first["msg"][0].lower() + first["msg"][1:]
    shown = shorten(first["input"])
    return kind(f"field {where} is {shown}: {expected}{more}" if where else f"the body is {shown}: {expected}{more}")


def shorten(value: object) -> str:
    """Return a value as JSON, cut to a readable length; an address in it keeps its signature to itself."""
    text = redacted(json.dumps(value, ensure_ascii=False, default=str))
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}… ({len(text)} characters)"


def from_framework(request: Request, error: HTTPException) -> UpscaleError:
    """Return what the framework refused in our words."""
    if error.status_code == 404:
        return NotFound(f"there is nothing at {request.url.path}", hint="/docs lists what there is")
    if error.status_code == 405:
        allowed = ", ".join(methods_at(request))
        return WrongMethod(f"{request.method} is not allowed at {request.url.path}; expected {allowed}")
    if error.status_code >= 500:
        return opaque(getattr(request.state, "request_id", None))
    return BadRequest(str(error.detail).lower())


def methods_at(request: Request) -> list[str]:
    """Return the methods that exist at a path; the framework names those of one route alone."""
    routes = [route for router in request.app.state.routers for route in router.routes]
    here = [route for route in routes if route.matches(request.scope)[0] is Match.PARTIAL]
    return sorted({method for route in here for method in route.methods})


def checked_by(error: ValidationError) -> BadRequest:
    """Return a model's complaint in our words."""
    return from_validation(error.errors(include_url=False, include_context=False))
