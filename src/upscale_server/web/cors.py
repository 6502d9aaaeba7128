"""Lets pages of named sites ask from a browser; with no site named, which is the default, it is not there at all.

It lets nobody in: keys are looked at behind it. No cookie is ever used, so that a page has what its reader gave it.
"""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_METHODS = "GET, HEAD, POST, DELETE"
_SENT = "Authorization, Content-Type, Idempotency-Key, If-None-Match, If-Range, Last-Event-ID, Range, X-API-Key"
_SEEN = "Content-Disposition, Content-Range, ETag, Location, Retry-After, X-Job-ID, X-Output-Size, X-Request-ID"
_KEPT_SECONDS = "600"


class Cors:
    """Wraps an application; `origins` are those of the named sites."""

    def __init__(self, app: ASGIApp, origins: tuple[str, ...]) -> None:
        self._app = app
        self._origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; that of any other page goes on as if nobody were named."""
        headers = Headers(scope=scope) if scope["type"] == "http" else Headers()
        origin = headers.get("origin", "")
        if origin not in self._origins:
            await self._app(scope, receive, _varied(send))
            return
        if scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
            may = {"Access-Control-Allow-Methods": _METHODS, "Access-Control-Allow-Headers": _SENT}
            asked = Response(status_code=204, headers=may | {"Access-Control-Max-Age": _KEPT_SECONDS})
            await asked(scope, receive, _allowing(send, origin))
            return
        await self._app(scope, receive, _allowing(send, origin))


def _varied(send: Send) -> Send:
    """Tell caches that the answer is another for other pages."""

    async def told(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).add_vary_header("Origin")
        await send(message)

    return told


def _allowing(send: Send, origin: str) -> Send:
    async def told(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["Access-Control-Allow-Origin"] = origin
            headers["Access-Control-Expose-Headers"] = _SEEN
            headers.add_vary_header("Origin")
        await send(message)

    return told
