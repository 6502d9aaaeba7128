"""Clients that take their time: they say nothing, send a head or a body a byte at a time, or read nothing.

One thread holds all of them and opens each again when the server has dropped it; how often that happened is counted.
"""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self

KINDS = ("idle", "head", "body", "reader")
STEP_SECONDS = 0.5
"""Between two bytes of a client; a hundredth of what any honest one sends."""
_BEGUN = {
    "idle": b"",
    "head": b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n",
    "body": (
        b"POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 60000\r\n\r\n{"
    ),
    "reader": b"GET /openapi.json HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 40,
}
_NEXT = {"head": b"X-Slow: y\r\n", "body": b" "}


@dataclass(slots=True)
class _Client:
    kind: str
    line: socket.socket


@dataclass
class SlowClients:
    """A context manager that attacks while it is open.

    Args:
        address: host and port of the server.
        count: how many clients there are at any time.
        key: a header that opens the door for them, with its end of line.
    """

    address: tuple[str, int]
    count: int
    key: bytes = b""
    dropped: Counter[str] = field(default_factory=Counter)
    opened: int = 0

    def __enter__(self) -> Self:
        self._ending = threading.Event()
        self._lines = selectors.DefaultSelector()
        self._readers: list[socket.socket] = []
        self._all_open = threading.Event()
        self._thread = threading.Thread(target=self._attack, daemon=True)
        self._thread.start()
        self._all_open.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()
        for key in list(self._lines.get_map().values()):
            key.data.line.close()
        for line in self._readers:
            line.close()
        self._lines.close()

    def _attack(self) -> None:
        try:
            for place in range(self.count):
                self._open(KINDS[place % len(KINDS)])
        finally:
            self._all_open.set()
        step_at = time.monotonic()
        while not self._ending.is_set():
            for key, _ in self._lines.select(0.1):
                self._hear(key.data)
            if time.monotonic() >= step_at:
                step_at = time.monotonic() + STEP_SECONDS
                for key in list(self._lines.get_map().values()):
                    self._say_more(key.data)

    def _open(self, kind: str) -> None:
        line = socket.socket()
        line.settimeout(5)
        try:
            line.connect(self.address)
            line.sendall(_BEGUN[kind].replace(b"\r\n", b"\r\n" + self.key, 1))
        except OSError:
            line.close()
            self.dropped[kind] += 1
            return
        line.settimeout(0)
        self.opened += 1
        # One that reads nothing must not hear, or it would read.
        if kind == "reader":
            self._readers.append(line)
            return
        self._lines.register(line, selectors.EVENT_READ, _Client(kind, line))

    def _hear(self, client: _Client) -> None:
        with suppress(BlockingIOError):
            try:
                if client.line.recv(65536):
                    return
            except ConnectionError:
                pass
            self._begin_again(client)

    def _say_more(self, client: _Client) -> None:
        if client.kind not in _NEXT:
            return
        with suppress(BlockingIOError):
            try:
                client.line.send(_NEXT[client.kind])
            except ConnectionError:
                self._begin_again(client)

    def _begin_again(self, client: _Client) -> None:
        self._lines.unregister(client.line)
        client.line.close()
        self.dropped[client.kind] += 1
        self._open(client.kind)
