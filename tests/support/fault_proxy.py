"""A proxy on loopback that stands between a store and its client and does what networks and stores do at their worst.

It passes bytes on, and knows just enough HTTP to answer in the store's place.
"""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import threading
from collections import deque
from typing import Self


class FaultProxy:
    """Passes connections on to `upstream_port` until a fault is set; a context manager.

    `down`: connections are reset. `answers`: the next requests get these statuses and codes instead of the store.
    `reset_after`: the next connection that sends so many bytes is reset, once. `bytes_per_second`: that, upwards.
    `drop_replies_to`: requests whose first line matches reach the store, and their connection is reset, once each.
    `asked` are the first lines of all requests that were passed on.
    """

    def __init__(self, upstream_port: int) -> None:
        self.down = False
        self.answers: deque[tuple[int, str]] = deque()
        self.reset_after: int | None = None
        self.bytes_per_second: int | None = None
        self.drop_replies_to: list[str] = []
        self.asked: list[str] = []
        self.refused = 0
        self.passed = 0
        self._upstream_port = upstream_port
        self._closing = threading.Event()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self.cut()
        for thread in self._threads:
            thread.join(10)

    def cut(self) -> None:
        """End the connections there are, so that a fault set now meets the next request."""
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _start(self, target: object, *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self._start(self._serve, connection)

    def _serve(self, client: socket.socket) -> None:
        self._open.add(client)
        try:
            with contextlib.suppress(OSError):
                if self.down:
                    self.refused += 1
                    _reset(client)
                elif self.answers:
                    self._answer(client)
                else:
                    self._pass_on(client)
        finally:
            self._open.discard(client)
            client.close()

    def _answer(self, client: socket.socket) -> None:
        """Read one request and answer it as a store in trouble does."""
        head, _, body = _read_head(client).partition(b"\r\n\r\n")
        if b"100-continue" in head.lower():
            client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        length = re.search(rb"\r\ncontent-length: *(\d+)", head.lower())
        left = int(length[1]) - len(body) if length else 0
        while left > 0 and (piece := client.recv(65536)):
            left -= len(piece)
        status, code = self.answers.popleft()
        self.refused += 1
        text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>no</Message></Error>".encode()
        head_lines = [f"HTTP/1.1 {status} X", "Content-Type: application/xml", f"Content-Length: {len(text)}"]
        client.sendall("\r\n".join([*head_lines, "Connection: close", "", ""]).encode() + text)

    def _pass_on(self, client: socket.socket) -> None:
        with socket.create_connection(("127.0.0.1", self._upstream_port)) as upstream:
            self._open.add(upstream)
            dropping = threading.Event()
            back = threading.Thread(target=self._pump_back, args=(upstream, client, dropping), daemon=True)
            back.start()
            try:
                self._pump_up(client, upstream, dropping)
            finally:
                self._open.discard(upstream)
                with contextlib.suppress(OSError):
                    upstream.shutdown(socket.SHUT_WR)
                back.join()

    def _pump_up(self, client: socket.socket, upstream: socket.socket, dropping: threading.Event) -> None:
        sent = 0
        while piece := client.recv(16384):
            first = piece.split(b"\r\n", 1)[0].decode("latin-1")
            if re.fullmatch(r"[A-Z]+ \S+ HTTP/1\.1", first):
                self.asked.append(first)
            matching = next((one for one in self.drop_replies_to if re.match(one, first)), None)
            if matching is not None:
                self.drop_replies_to.remove(matching)
                dropping.set()
            sent += len(piece)
            if self.reset_after is not None and sent > self.reset_after:
                self.reset_after = None
                self.refused += 1
                _reset(client)
                return
            upstream.sendall(piece)
            self.passed += len(piece)
            if self.bytes_per_second:
                self._closing.wait(len(piece) / self.bytes_per_second)

    def _pump_back(self, upstream: socket.socket, client: socket.socket, dropping: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while piece := upstream.recv(16384):
                if dropping.is_set():
                    self.refused += 1
                    _reset(client)
                    client.shutdown(socket.SHUT_RDWR)
                    return
                client.sendall(piece)
            client.shutdown(socket.SHUT_WR)


def _reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _read_head(connection: socket.socket) -> bytes:
    raw = b""
    while b"\r\n\r\n" not in raw:
        piece = connection.recv(65536)
        if not piece:
            raise ConnectionError
        raw += piece
    return raw
