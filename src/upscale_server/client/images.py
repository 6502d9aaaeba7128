"""One image server as its callers see it: a picture out, a larger one back, and what the server says of itself.

It asks once; asking again, and asking another server, belongs to `image_servers`.
"""

from __future__ import annotations

import mimetypes
import socket
import urllib.request
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Any, Self

import httpx

from upscale_server.client.answers import answer_of, error_of
from upscale_server.client.api import is_here
from upscale_server.client.picture_reply import NoPicture, Received, read_text, receive
from upscale_server.errors import BadRequest, NotFound, ServerUnreachable, SourceNotFound, UpscaleError

DEFAULT_PORT = 8090
_CONNECT_SECONDS = 10.0
_ANSWER_SECONDS = 30.0
"""Longest wait for a control route, which a healthy server answers in milliseconds."""
_WORK_SECONDS = 3700.0
"""Longest silence while a picture is worked on: diffusion on a CPU takes many minutes."""
_SOCKET = [
    # A machine that lost its power sends no goodbye: after about a minute without a sign of life it counts as gone.
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 20),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4),
]
_LIMITS = httpx.Limits(max_connections=None, keepalive_expiry=4.0)
"""Callers bound their threads; a connection is dropped before servers drop it, which would cost a try."""
FORMATS = {".png": None, ".webp": "webp", ".jpg": "jpeg", ".jpeg": "jpeg"}
"""The suffixes that a result may have, and what is asked for; PNG is what every server of this kind answers with."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked for; None leaves it to the server's own default."""

    factor: int | None = None
    process_size: int | None = None
    format: str | None = None
    bits: int | None = None


class Miss(Enum):
    """Why a picture did not come back, as far as it decides what to do next."""

    BUSY = auto()
    """It asks to come again later: 429, or 503 while its models load."""
    DOWN = auto()
    """No connection, or it broke, or a proxy has nobody behind it: another one, or this one later."""
    BROKEN = auto()
    """This server cannot do it; another one might."""
    FINAL = auto()
    """No server would do it: the request or the picture is wrong, or the result cannot be written."""


class Missed(Exception):
    """A picture did not come back; `error` says why in the words of our error tree."""

    def __init__(
        self, kind: Miss, error: UpscaleError, *, seconds: float = 0.0, began: bool = True, answered: bool = True
    ) -> None:
        super().__init__(error.detail)
        self.kind = kind
        self.error = error
        self.seconds = seconds
        self.began = began
        """False where no server had the picture in its hands, so that it cannot be what broke it."""
        self.answered = answered
        """False where nobody spoke HTTP."""


class ImageServer:
    """Talks to one image server; a context manager. Safe to use from several threads.

    Args:
        base_url: its address, such as `http://127.0.0.1:8090`.
        api_key: sent as `Authorization: Bearer`.
        transport: another way to the server, for tests.
    """

    def __init__(self, base_url: str, api_key: str | None = None, transport: httpx.BaseTransport | None = None) -> None:
        self.base_url = base_url.rstrip("/")
        here = is_here(_host_of(self.base_url))
        if transport is None and not here and not urllib.request.getproxies():
            transport = httpx.HTTPTransport(socket_options=_SOCKET, limits=_LIMITS)
        self._http = httpx.Client(
            headers={"Accept-Encoding": "identity"} | ({"Authorization": f"Bearer {api_key}"} if api_key else {}),
            timeout=httpx.Timeout(_ANSWER_SECONDS, connect=_CONNECT_SECONDS),
            limits=_LIMITS,
            transport=transport,
            trust_env=not here,  # no proxy reaches this machine's own loopback
        )

    def ask(self, path: str) -> dict[str, Any]:  # JSON values of many types
        """Return the JSON object of `GET path`: `/health`, `/info` or `/stats`.

        Raises:
            UpscaleError: as the answer's `code` says; ServerUnreachable where nobody or somebody else answers.
        """
        try:
            answer = answer_of(self._http.get(f"{self.base_url}{path}"))
        except (httpx.TransportError, httpx.DecodingError) as err:
            raise self._unreachable(err) from err
        if not isinstance(answer, dict):
            raise ServerUnreachable(f"{self.base_url}{path} answered {type(answer).__name__}; expected an object")
        return answer

    def upscale(self, source: Path, part: Path, wish: Wish) -> Received:
        """Send a picture once and write what comes back to `part`.

        Raises:
            Missed: with what it means for the next try.
        """
        try:
            return self._send(source, part, wish)
        except NoPicture as err:
            raise Missed(Miss.BROKEN, err) from err
        except UpscaleError as err:
            raise Missed(Miss.FINAL, err) from err
        except httpx.ReadTimeout as err:
            late = ServerUnreachable(f"{self.base_url} has not answered for {_WORK_SECONDS:.0f} s")
            raise Missed(Miss.BROKEN, late) from err
        except (httpx.TransportError, httpx.DecodingError) as err:
            began = not isinstance(err, httpx.ConnectError | httpx.ConnectTimeout)
            raise Missed(Miss.DOWN, self._unreachable(err, began=began), began=began, answered=False) from err

    def _send(self, source: Path, part: Path, wish: Wish) -> Received:
        kind = mimetypes.guess_type(source.name)[0] or "application/octet-stream"
        asked = {"upscale": wish.factor, "process_size": wish.process_size, "format": wish.format, "bits": wish.bits}
        params = {name: str(value) for name, value in asked.items() if value is not None}
        try:
            file = source.open("rb")
        except OSError as err:
            raise SourceNotFound(f"source {source} cannot be read: {(err.strerror or str(err)).lower()}") from err
        with (
            file,
            self._http.stream(
                "POST",
                f"{self.base_url}/upscale",
                params=params,
                files={"file": (source.name, file, kind)},
                timeout=httpx.Timeout(_WORK_SECONDS, connect=_CONNECT_SECONDS),
            ) as response,
        ):
            if response.is_success:
                return receive(response, part)
            missed = missed_by(read_text(response))
        if type(missed.error) is BadRequest and self._is_another():
            raise NoPicture(f"{self.base_url} is no image server: {missed.error.detail}")
        raise missed

    def _is_another(self) -> bool:
        """Tell whether a server of ours that refuses our words is the video server, which has no `/info`."""
        try:
            self.ask("/info")
        except NotFound:
            return True
        except UpscaleError:
            return False  # it has other troubles, and what it said first counts
        return False

    def _unreachable(self, err: Exception, *, began: bool = False) -> ServerUnreachable:
        reason = str(err) or type(err).__name__
        if "refused" in reason.lower():
            reason = "connection refused"
        what = "broke the connection" if began else "does not answer"
        hint = "check that the server runs, and --host and --port"
        return ServerUnreachable(f"{self.base_url} {what}: {reason[:1].lower()}{reason[1:].rstrip('.')}", hint=hint)

    def close(self) -> None:
        """Close the connections; safe to call twice."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def missed_by(response: httpx.Response) -> Missed:
    """Return what an answer that is no success means for the next try; its body must have been read."""
    error, status = error_of(response), response.status_code
    ours = not isinstance(error, ServerUnreachable)
    seconds = _retry_after(response)
    if status == 429 or (status == 503 and (error.retryable if ours else seconds > 0)):
        return Missed(Miss.BUSY, error, seconds=seconds or 1.0)
    if status in (502, 503) and not ours:
        return Missed(Miss.DOWN, error, began=False)
    if status >= 500 or not ours or status in (404, 405):
        return Missed(Miss.BROKEN, error)
    return Missed(Miss.FINAL, error)


def _retry_after(response: httpx.Response) -> float:
    """Return the seconds of Retry-After, 0 without one; a date is not worth the clocks' disagreement."""
    try:
        return max(0.0, float(response.headers.get("retry-after", "0")))
    except ValueError:
        return 0.0


def format_of(target: Path) -> str | None:
    """Return the format to ask for so that the result is what its name says.

    Raises:
        BadRequest: servers do not write it.
    """
    try:
        return FORMATS[target.suffix.lower()]
    except KeyError as err:
        raise BadRequest(
            f"output {target.name} ends with {target.suffix!r}; servers write {', '.join(FORMATS)}",
            hint="name another file with -o",
        ) from err


def _host_of(url: str) -> str:
    try:
        address = httpx.URL(url)
    except httpx.InvalidURL as err:
        raise BadRequest(f"address {url!r} is none: {err}", hint="for example http://127.0.0.1:8090") from err
    if address.scheme not in ("http", "https") or not address.host:
        raise BadRequest(f"address {url!r} is no server's", hint="for example http://127.0.0.1:8090")
    return address.host
