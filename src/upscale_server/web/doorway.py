"""The one door that every request comes through: it gets an id, shows its key, is answered whatever happens, is logged.

It knows no route. A reply that it makes itself has the shape of `faults`.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time
import traceback
from dataclasses import dataclass, field
from urllib.parse import quote

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from upscale_server.errors import HeadTooLarge, UpscaleError
from upscale_server.logs import get_logger
from upscale_server.metrics import Metrics
from upscale_server.web.auth import Keys, is_open, key_in
from upscale_server.web.faults import SAFE_HEADERS, opaque, reply_to
from upscale_server.web.observe import route_of
from upscale_server.web.own_names import OwnNames
from upscale_server.web.rates import Rates

MOST_HEADERS = 100
GONE = 499
"""What the log says of a client that hung up; nobody is answered with it. The number is nginx's."""
BROKEN = 500
"""What counts for an answer that broke off behind its head, whatever that said: the client has no whole answer."""

_OWN_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_LONGEST_PATH = 200
_QUERY = re.compile(r"\?[^\s'\"<>]+")
"""What may hold a signature, wherever it stands in a traceback."""


class ClientGone(Exception):
    """The client hung up; what it asked for goes on without it."""


@dataclass(slots=True)
class _Visit:
    """What is known of a request so far."""

    request_id: str
    began: float
    key_id: str = ""
    status: int = 0
    broken: bool = False


@dataclass(frozen=True, slots=True)
class Rules:
    """Who is let in: by which keys, under which names of ours, and where without a key beside what is always open.

    What is always open is not counted among a key's requests: probes must be answered whoever is busy.
    """

    keys: Keys
    names: OwnNames
    also_open: frozenset[str] = frozenset()
    rates: Rates = field(default_factory=lambda: Rates(0))


class Doorway:
    """Wraps the application; `metrics` counts the answers."""

    def __init__(self, app: ASGIApp, rules: Rules, metrics: Metrics) -> None:
        self._app = app
        self._rules = rules
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        visit = _Visit(given if _OWN_ID.fullmatch(given) else secrets.token_hex(8), time.monotonic())
        with structlog.contextvars.bound_contextvars(request_id=visit.request_id):
            try:
                await self._serve(scope, receive, _noting(send, visit), visit)
            except asyncio.CancelledError:
                visit.status, visit.broken = GONE, True
                raise
            except BaseException:
                visit.status, visit.broken = BROKEN, True
                raise
            finally:
                seconds = time.monotonic() - visit.began
                self._metrics.request(route_of(scope), scope["method"], visit.status or GONE, seconds)
                _log(scope, visit, seconds)

    async def _serve(self, scope: Scope, receive: Receive, send: Send, visit: _Visit) -> None:
        state = scope.setdefault("state", {})
        state["request_id"] = visit.request_id
        try:
            visit.key_id = state["key_id"] = self._let_in(scope)
            await self._app(scope, receive, send)
        except (ClientGone, ClientDisconnect):
            visit.status = visit.status or GONE
        except UpscaleError as err:
            await self._answer(err, visit, (scope, receive, send))
        except Exception as err:  # noqa: BLE001 - the last place to turn a failure into a reply
            _log_failure(err)
            await self._answer(opaque(visit.request_id), visit, (scope, receive, send))

    def _let_in(self, scope: Scope) -> str:
        headers = Headers(scope=scope)
        if len(headers) > MOST_HEADERS:
            raise HeadTooLarge(f"the request has {len(headers)} headers; the limit is {MOST_HEADERS}")
        rules = self._rules
        if is_open(scope["path"], rules.also_open):
            return ""
        if not rules.keys.needed:
            rules.names.check(headers, str((scope.get("server") or ("",))[0]))
        key_id = rules.keys.check(key_in(headers))
        rules.rates.count(key_id)
        return key_id

    @staticmethod
    async def _answer(error: UpscaleError, visit: _Visit, call: tuple[Scope, Receive, Send]) -> None:
        if visit.status:
            # The reply has begun: only breaking it off tells the client that it is not whole.
            raise error
        await reply_to(error, visit.request_id)(*call)


def _noting(send: Send, visit: _Visit) -> Send:
    async def noted(message: Message) -> None:
        if message["type"] == "http.response.start":
            visit.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-ID"] = visit.request_id
            for name, value in SAFE_HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return noted


def _log(scope: Scope, visit: _Visit, seconds: float) -> None:
    path = (scope.get("raw_path") or quote(scope["path"]).encode()).split(b"?")[0].decode("ascii", "replace")
    get_logger().info(
        "request",
        method=scope["method"],
        path=path[:_LONGEST_PATH],
        status=visit.status or GONE,
        ms=round(1000 * seconds, 1),
        key_id=visit.key_id,
        **({"broken": True} if visit.broken else {}),
    )


def _log_failure(error: Exception) -> None:
    trace = "".join(traceback.format_exception(error))
    get_logger().error("request_failed", failure=type(error).__name__, trace=_QUERY.sub("?…", trace))
