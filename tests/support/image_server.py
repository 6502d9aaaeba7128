"""A small image server that keeps the documented contract and misbehaves on demand; it enlarges by repeating pixels.

It stands in for ours where a test needs faults or many processes; `python -m tests.support.image_server PORT
well|never|busy|loading [FILE...]` starts one in a process of its own.
"""

from __future__ import annotations

import io
import json
import re
import socket
import struct
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from PIL import Image

Answer = Callable[["Handler"], None]


@dataclass(slots=True)
class StandIn:
    """A running stand-in: `script` holds how the next uploads are answered, in order, `otherwise` all after them."""

    url: str = ""
    script: deque[Answer] = field(default_factory=deque)
    otherwise: Answer = field(default_factory=lambda: well)
    files: set[str] = field(default_factory=set)
    asked: list[dict[str, str]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    health_status: int = 200
    has_info: bool = True
    running: int = 0
    most: int = 0
    served: int = 0
    connections: list[socket.socket] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def port(self) -> int:
        """Return its port."""
        return int(self.url.rsplit(":", 1)[1])


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    state: StandIn

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def setup(self) -> None:
        """Note the connection, which must not outlive the server."""
        super().setup()
        self.state.connections.append(self.connection)

    def do_GET(self) -> None:
        """Answer the control routes."""
        bodies: dict[str, dict[str, Any]] = {
            "/health": {"status": "ok", "models_loaded": {"transformer": True, "vae": True, "device": "cpu"}},
            "/info": {"name": "TSD-SR Worker Server", "version": "1", "device": "cpu", "endpoints": {}},
            "/stats": {"timestamp": "2026-01-01T00:00:00", "device": "cpu", "gpu_memory_allocated_gb": None},
            "/readyz": {"ready": True},
        }
        path = urlsplit(self.path).path
        own = {"port": self.server.server_address[1], "running": self.state.running, "served": self.state.served}
        if path in bodies and (path != "/info" or self.state.has_info):
            status = self.state.health_status if path == "/health" else 200
            self.reply(status, json.dumps(bodies[path] | own).encode())
        elif path.removeprefix("/files/") in self.state.files:
            self.reply(200, b"a result", "image/png")
        else:
            problem(404, "not_found")(self)

    def do_POST(self) -> None:
        """Answer an upload, as the script says or well."""
        body = self.rfile.read(int(self.headers["content-length"]))
        state = self.state
        with state.lock:
            state.running += 1
            state.most = max(state.most, state.running)
            answer = state.script.popleft() if state.script else state.otherwise
            state.asked.append({name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()})
            state.keys.append(self.headers.get("authorization", ""))
        try:
            self.name, self.content = part_of(body, self.headers["content-type"])
            state.names.append(self.name)
            answer(self)
        finally:
            with state.lock:
                state.running -= 1

    def reply(self, status: int, body: bytes, kind: str = "application/json", **headers: str) -> None:
        """Send an answer; underscores in header names become dashes."""
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)


def well(handler: Handler) -> None:
    """Enlarge the picture and send it."""
    asked = parse_qs(urlsplit(handler.path).query)
    factor, kind = int(asked.get("upscale", ["2"])[0]), asked.get("format", ["png"])[0]
    try:
        picture = Image.open(io.BytesIO(handler.content)).convert("RGB")
    except OSError:
        problem(415, "not_media")(handler)
        return
    large = picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
    body = io.BytesIO()
    large.save(body, kind)
    handler.state.served += 1
    headers = {"X_Output_Size": f"{large.width}x{large.height}", "X_Model": "stand-in"}
    handler.reply(200, body.getvalue(), f"image/{kind}", **headers)


def problem(status: int, code: str, *, retryable: bool = False, retry_after: str = "") -> Answer:
    """Return an answer that refuses, in the product's own words."""
    body = {"code": code, "detail": f"refused with {code}", "status": status, "retryable": retryable}
    more = {"Retry_After": retry_after} if retry_after else {}
    return lambda handler: handler.reply(status, json.dumps(body).encode(), "application/problem+json", **more)


def busy(handler: Handler) -> None:
    """Ask to come again at once."""
    problem(429, "queue_full", retryable=True, retry_after="0")(handler)


def loading(handler: Handler) -> None:
    """Say that the models are not there yet."""
    problem(503, "models_not_loaded", retryable=True, retry_after="0")(handler)


def page(handler: Handler) -> None:
    """Answer as some other web server does."""
    handler.reply(200, b"<html><h1>It works!</h1></html>", "text/html; charset=utf-8")


def no_picture(handler: Handler) -> None:
    """Call something a picture that is none."""
    handler.reply(200, b"not a picture at all", "image/png")


def cut_picture(handler: Handler) -> None:
    """Send a picture without its end, and with a length that agrees."""
    body = io.BytesIO()
    Image.new("RGB", (8, 8)).save(body, "png")
    handler.reply(200, body.getvalue()[:-12], "image/png", X_Output_Size="8x8")


def begin(handler: Handler) -> None:
    """Send the first bytes of an answer."""
    handler.send_response(200)
    handler.send_header("Content-Type", "image/png")
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    handler.wfile.write(b"\x89PNG\r\n\x1a\n" + b"x" * 500)
    handler.wfile.flush()


def broken_off(handler: Handler) -> None:
    """Die in the middle of the answer."""
    begin(handler)
    hang_up(handler)


def hang_up(handler: Handler) -> None:
    """Die without an answer, as a killed process does."""
    handler.close_connection = True
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.shutdown(socket.SHUT_RDWR)


def part_of(body: bytes, kind: str) -> tuple[str, bytes]:
    """Return the name and the content of the one file in a multipart body."""
    boundary = kind.split("boundary=")[1].strip('"').encode()
    head, _, rest = body.split(b"--" + boundary, 1)[1].partition(b"\r\n\r\n")
    found = re.search(rb'filename="([^"]*)"', head)
    return (found[1].decode() if found else ""), rest.split(b"\r\n--" + boundary, 1)[0]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: object) -> None:
        """Say nothing of connections that broke: that is what is tested."""


@contextmanager
def standing_in(*script: Answer, port: int = 0) -> Iterator[StandIn]:
    """Run a stand-in as long as this lasts."""
    state = StandIn(script=deque(script))
    handler = type("Bound", (Handler,), {"state": state})
    with _Server(("127.0.0.1", port), handler) as server:
        state.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield state
        finally:
            server.shutdown()
            thread.join()
            for connection in state.connections:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)


def never(handler: Handler) -> None:
    """Take the picture and never answer."""
    del handler
    threading.Event().wait()


if __name__ == "__main__":
    with standing_in(port=int(sys.argv[1])) as running:
        running.otherwise = {"well": well, "never": never, "busy": busy, "loading": loading}[sys.argv[2]]
        running.files.update(sys.argv[3:])
        sys.stderr.write(f"ready at {running.url}\n")
        sys.stderr.flush()
        threading.Event().wait()
