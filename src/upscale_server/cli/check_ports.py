"""Check of a server's usual port: free, held by a server of ours, or by somebody else.

Anybody on the machine may hold it, so no key is ever sent there, and nobody there can hold the check up for long. A
server that was started with another `--port` is not looked for.
"""

from __future__ import annotations

import json
import socket
import time
from dataclasses import dataclass
from typing import Any

from upscale_server.cli import doors
from upscale_server.cli.checks import Check
from upscale_server.errors import BadRequest, Unauthorized

PORTS = {"video": 29115, "image": 8090}
_TITLES = ("upscale-server", "TSD-SR Worker Server")
"""What the servers call themselves in their descriptions."""
_ANSWER_SECONDS = 3.0
"""For a whole answer: the first description takes a slow machine a second, and a person waits."""
_MOST_SHOWN = 200
_MOST_BYTES = 4 << 20
"""A server's description has some hundred KiB; what is longer is not read."""


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    fields: dict[str, Any]  # JSON values of many types


_NOTHING = _Answer(0, {})


def port_check(face: str, port: int) -> Check:
    """Tell whether a port is free, or who answers there."""
    name = f"port {port}"
    try:
        doors.listening("127.0.0.1", port).close()
    except BadRequest as err:
        return _running(name, port) or Check(
            name,
            "warning",
            err.detail,
            f"no server of ours answers there within {_ANSWER_SECONDS:.0f} s; the {face} server can have another port",
            f"upscale serve {face} --port {_free_port()}",
        )
    return Check(name, "ok", f"free for the {face} server (one with another --port is not looked for)")


def _running(name: str, port: int) -> Check | None:
    """Return how our server at a port is; None where what answers there is not ours, or nothing does."""
    if _asked(port, "/livez") != _Answer(200, {"status": "alive"}):
        return None
    title = _title(_asked(port, "/openapi.json"))
    if title is None:
        return None
    ready = _asked(port, "/readyz")
    if ready.status == 200:
        return Check(name, "ok", f"{title} answers and is ready")
    why = _printable(ready.fields.get("detail") or "it is not ready, and gives no reason")
    hint = _printable(ready.fields.get("hint") or "")
    return Check(name, "warning", f"{title} answers: {why}", hint, f"curl http://127.0.0.1:{port}/readyz")


def _title(answer: _Answer) -> str | None:
    """Return the name and version that a server gives itself; one with keys hides them, and refuses in our words."""
    about = answer.fields.get("info")
    if answer.status == 200 and isinstance(about, dict) and about.get("title") in _TITLES:
        return _printable(f"{about['title']} {about.get('version', '')}").strip()
    if answer.status == Unauthorized.http_status and answer.fields.get("code") == Unauthorized.code:
        return "a server of ours, whose version needs its key,"
    return None


def _printable(text: object) -> str:
    """Return what a stranger may say on an operator's terminal, which obeys what is not printable."""
    return "".join(one if one.isprintable() else " " for one in str(text)[:_MOST_SHOWN])


def _asked(port: int, path: str) -> _Answer:
    """Ask without a key; what is no answer, or comes too slowly, is none."""
    try:
        head, _, body = _exchanged(port, path).partition(b"\r\n\r\n")
        fields = json.loads(body)
        return _Answer(int(head.split(None, 2)[1]), fields) if isinstance(fields, dict) else _NOTHING
    except (OSError, ValueError, IndexError, RecursionError):
        return _NOTHING


def _exchanged(port: int, path: str) -> bytes:
    """Return what comes back; HTTP 1.0, because its answers end with the connection.

    An HTTP client has a limit for each piece of an answer: who sends one byte a second would hold us for ever.
    """
    until = time.monotonic() + _ANSWER_SECONDS
    received = bytearray()
    with socket.create_connection(("127.0.0.1", port), _ANSWER_SECONDS) as line:
        line.sendall(f"GET {path} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\nAccept: */*\r\n\r\n".encode("ascii"))
        while len(received) < _MOST_BYTES and (left := until - time.monotonic()) > 0:
            line.settimeout(left)
            if not (part := line.recv(1 << 16)):
                return bytes(received)
            received += part
    return b""


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as door:
        return int(door.getsockname()[1])
