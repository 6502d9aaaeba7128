"""A server on loopback whose answers are any bytes at all: no HTTP library sends what bad servers send.

What they send is the business of subclasses: a method per first part of the path, which yields pieces.
"""

from __future__ import annotations

import collections
import contextlib
import fcntl
import socket
import ssl
import struct
import termios
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it came; header names in lower case."""

    mode: str
    query: dict[str, str]
    headers: dict[str, str]


class Reset(Exception):
    """End the connection with a reset, once what was sent has arrived."""


@dataclass
class RawServer:
    """A thread per connection; a context manager that ends them all. With `tls` it speaks https."""

    tls: ssl.SSLContext | None = None
    address: tuple[str, int] = ("127.0.0.1", 0)
    asked: list[Asked] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._socket = socket.create_server(self.address)
        self.port: int = self._socket.getsockname()[1]
        self.failed: collections.Counter[str] = collections.Counter()
        self._closing = threading.Event()
        self._open: set[socket.socket] = set()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)

    def url(self, mode: str, host: str = "127.0.0.1") -> str:
        """Return the address of a mode (`stall`, `chain?n=3`)."""
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}/{mode}"

    def ranges(self) -> list[str | None]:
        """Return the Range header of every request so far."""
        return [one.headers.get("range") for one in self.asked]

    def wait(self, seconds: float = 3600) -> None:
        """Do nothing for a while, or until the server is closed."""
        self._closing.wait(seconds)

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with contextlib.suppress(OSError):
                connection = self.tls.wrap_socket(connection, server_side=True) if self.tls else connection
                self._open.add(connection)
                self._talk(connection)
        except Reset:
            self._drain(connection)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        finally:
            self._open.discard(connection)
            connection.close()

    def _talk(self, connection: socket.socket) -> None:
        asked = read_request(connection)
        if asked is None:
            return
        self.asked.append(asked)
        for piece in getattr(self, f"_{asked.mode.replace('-', '_')}", self._notfound)(asked):
            connection.sendall(piece)
            if self._closing.is_set():
                return

    def _notfound(self, _: Asked) -> Iterator[bytes]:
        yield head(404, content_length=0)

    def _drain(self, connection: socket.socket) -> None:
        """Wait until the other side has taken what was sent: a reset throws the rest away."""
        unsent = bytearray(4)
        while not self._closing.wait(0.001):
            fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, unsent)
            if not any(unsent):
                return


def head(status: int = 200, **headers: object) -> bytes:
    """Return a status line and headers; `content_length` is Content-Length."""
    lines = [f"HTTP/1.1 {status} X", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode()


def as_video(body: bytes) -> Iterator[bytes]:
    """Give a body that calls itself a video."""
    yield head(content_length=len(body), content_type="video/mp4") + body


def range_start(asked: Asked) -> int:
    """Return where the rest that was asked for begins; 0 where all was."""
    return int(asked.headers.get("range", "bytes=0-").removeprefix("bytes=").rstrip("-"))


def read_request(connection: socket.socket) -> Asked | None:
    """Read a request's head; None where the other side hung up."""
    raw = b""
    while b"\r\n\r\n" not in raw:
        piece = connection.recv(65536)
        if not piece:
            return None
        raw += piece
    first, *lines = raw.decode("latin-1").split("\r\n\r\n")[0].split("\r\n")
    parts = urlsplit(first.split(" ")[1])
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Asked(parts.path.strip("/").split("/")[0], dict(parse_qsl(parts.query)), headers)
