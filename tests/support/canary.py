"""What notices that a server was sent where it must not go: a canary on loopback, and a list of all that is dialled.

The list also keeps attacks at home: whatever the code under test is made to dial, nothing but loopback is connected to.
"""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Self

import pytest

CANARY = "127.0.0.1"
ALLOWED = "127.0.0.2"
"""Where an honest server listens, on the canary's own port: a name can change from one to the other."""


class Canary:
    """Listens on 127.0.0.1 and, where there is IPv6, on ::1; counts who connects and answers with a small file."""

    def __init__(self) -> None:
        first = socket.create_server((CANARY, 0))
        self.port: int = first.getsockname()[1]
        self.visits = 0
        self._sockets = [first]
        with suppress(OSError):
            self._sockets.append(socket.create_server(("::1", self.port), family=socket.AF_INET6))
        self._threads = [threading.Thread(target=self._serve, args=(one,), daemon=True) for one in self._sockets]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for one in self._sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        for thread in self._threads:
            thread.join(10)

    def _serve(self, listening: socket.socket) -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            self.visits += 1
            with connection, suppress(OSError):
                connection.settimeout(5)
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\nConnection: close\r\n\r\n\0the secret")


@dataclass
class Dials:
    """Every address that was connected to from this process, without those that clients of the test use."""

    seen: list[tuple[str, int]] = field(default_factory=list)

    def to(self, port: int) -> set[str]:
        """Return the addresses that were dialled on a port."""
        return {address for address, dialled in self.seen if dialled == port}

    @property
    def abroad(self) -> set[str]:
        """Return the addresses beyond loopback that would have been dialled."""
        return {address for address, _ in self.seen if not is_loopback(address)}


def is_loopback(address: str) -> bool:
    """Tell whether a number is this machine's own."""
    return address.startswith("127.") or address in ("::1", "0.0.0.0", "::", "::ffff:127.0.0.1")  # noqa: S104 - as Linux does


@contextmanager
def watched_dials() -> Iterator[Dials]:
    """Note each connection that this process begins, and refuse those that would leave the machine."""
    dials = Dials()

    def noting(begin: Callable[[socket.socket, Any], Any], refused: Callable[[], Any]) -> Callable[..., Any]:
        def connect(self: socket.socket, address: Any) -> Any:  # noqa: ANN401 - the socket's own signature
            if self.family in (socket.AF_INET, socket.AF_INET6):
                dials.seen.append((str(address[0]), int(address[1])))
                if not is_loopback(str(address[0])):
                    return refused()
            return begin(self, address)

        return connect

    def refuse() -> None:
        raise ConnectionRefusedError(errno.ECONNREFUSED, "kept at home")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", noting(socket.socket.connect, refuse))
        patch.setattr(socket.socket, "connect_ex", noting(socket.socket.connect_ex, lambda: errno.ECONNREFUSED))
        yield dials
