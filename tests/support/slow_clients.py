"""Clients that take their time: they say nothing, send a head or a body a byte at a time, or read nothing.

One thread holds all of them and opens each again when the server has dropped or refused it, at once or, where it could
not connect, in the next round. How often that happened is counted, and how many there were at the least.

Those that read nothing leave it to the kernel how much it takes in.
"""

from __future__ import annotations

import select
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
LOOK_SECONDS = 1.0
"""Between two counts of those that are there."""
_BEGUN = {
    "idle": b"",
    "head": b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n",
    "body": (
        b"POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 60000\r\n\r\n{"
    ),
    "reader": b"GET /openapi.json HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 40,
}
_NEXT = {"head": b"X-Slow: y\r\n", "body": b" "}
_GONE = select.POLLHUP | select.POLLERR | select.POLLRDHUP


@dataclass(slots=True)
class _Client:
    kind: str
    line: socket.socket


@dataclass
class SlowClients:
    """A context manager that attacks while it is open.

    `least` is how many were connected when fewest were, counted each second; `looks` is how often that was.

    Args:
        address: host and port of the server.
        count: how many clients there are at any time.
    """

    address: tuple[str, int]
    count: int
    dropped: Counter[str] = field(default_factory=Counter)
    opened: int = 0
    least: int = 0
    looks: int = 0

    def __enter__(self) -> Self:
        self._ending = threading.Event()
        self._poll = select.poll()
        self._clients: dict[int, _Client] = {}
        self._shut_out: list[str] = []
        self._all_open = threading.Event()
        self._thread = threading.Thread(target=self._attack, daemon=True)
        self._thread.start()
        self._all_open.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()
        for client in self._clients.values():
            client.line.close()

    def _attack(self) -> None:
        try:
            for place in range(self.count):
                self._open(KINDS[place % len(KINDS)])
        finally:
            self._all_open.set()
        step_at = look_at = time.monotonic()
        self.least = self.count
        while not self._ending.is_set():
            for number, event in self._poll.poll(100):
                self._hear(self._clients[number], event)
            if time.monotonic() >= look_at:
                look_at = time.monotonic() + LOOK_SECONDS
                self.least, self.looks = min(self.least, len(self._clients)), self.looks + 1
            if time.monotonic() >= step_at:
                step_at = time.monotonic() + STEP_SECONDS
                self._step()

    def _step(self) -> None:
        """Let all say more, and those come again that were shut out."""
        for client in list(self._clients.values()):
            self._say_more(client)
        again, self._shut_out = self._shut_out, []
        for kind in again:
            if not self._ending.is_set():
                self._open(kind)

    def _open(self, kind: str) -> None:
        line = socket.socket()
        line.settimeout(5)
        try:
            line.connect(self.address)
            line.sendall(_BEGUN[kind])
        except OSError:
            line.close()
            self.dropped[kind] += 1
            self._shut_out.append(kind)
            return
        line.settimeout(0)
        self.opened += 1
        self._clients[line.fileno()] = _Client(kind, line)
        # One that reads nothing must not hear, or it would read: of its line it learns the end alone.
        self._poll.register(line, select.POLLRDHUP if kind == "reader" else select.POLLIN)

    def _hear(self, client: _Client, event: int) -> None:
        if client.kind == "reader":
            if event & _GONE:
                self._begin_again(client)
            return
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
        self._poll.unregister(client.line)
        del self._clients[client.line.fileno()]
        client.line.close()
        self.dropped[client.kind] += 1
        self._open(client.kind)
