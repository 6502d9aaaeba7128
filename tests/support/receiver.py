"""A server that is told things: it keeps every request and answers with the statuses it was given, then with 200.

It runs on loopback in a thread; what it was told is read when the test likes.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self


@dataclass(frozen=True, slots=True)
class Told:
    """One request; header names in lower case."""

    path: str
    headers: dict[str, str]
    body: bytes


class Receiver:
    """A context manager; `answers` are taken one by one, and `hold` keeps every answer back while it is set."""

    def __init__(self, *answers: int, body: bytes = b"thanks") -> None:
        self.told: list[Told] = []
        self.answers = deque(answers)
        self.body = body
        self.hold = threading.Event()
        self._go_on = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=lambda: self._server.serve_forever(poll_interval=0.01))

    @property
    def port(self) -> int:
        """Return where it listens."""
        return int(self._server.server_address[1])

    def url(self, path: str = "/hook?token=hidden", host: str = "127.0.0.1") -> str:
        """Return an address of it."""
        return f"http://{host}:{self.port}{path}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._go_on.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                """Keep a message and answer it."""
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.told.append(Told(self.path, headers, body))
                if receiver.hold.is_set():
                    receiver._go_on.wait(60)
                status = receiver.answers.popleft() if receiver.answers else 200
                self.send_response(status)
                if 300 <= status < 400:
                    self.send_header("Location", receiver.url("/elsewhere"))
                self.send_header("Content-Length", str(len(receiver.body)))
                self.end_headers()
                self.wfile.write(receiver.body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        return Handler
