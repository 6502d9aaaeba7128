"""Lets the processes of an image server tell one another their figures: whichever is asked answers for all of them.

They share a port, so that a scraper reaches one of them by chance. What the figures are stands in `metrics`.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress

from upscale_server.logs import get_logger
from upscale_server.metrics import Metrics
from upscale_server.metrics.merged import merged, packed
from upscale_server.web.family import Family

PATIENCE_SECONDS = 8.0
"""How long a process may take to tell its figures: the driver of a GPU alone may take five, scrapers wait ten."""
_CHUNK_BYTES = 1 << 16
_LENGTH = struct.Struct(">Q")
"""Stands before the figures: what breaks off is known by it."""
_CLOSED = (errno.EBADF, errno.EINVAL)
_PAUSE_SECONDS = 0.1


class Siblings:
    """The figures of all processes of a server; starts a thread that tells the others this process's own."""

    def __init__(self, family: Family, metrics: Metrics) -> None:
        self._family = family
        self._metrics = metrics
        threading.Thread(target=self._answer, name="figures", daemon=True).start()

    def text(self) -> bytes:
        """Return the figures of all, each asked at once; one that does not answer in time is told of as down."""
        with ThreadPoolExecutor(len(self._family.addresses)) as pool:
            told = pool.map(self._told_by, range(len(self._family.addresses)))
            return merged(dict(enumerate(told)))

    def _told_by(self, index: int) -> bytes | None:
        if index == self._family.index:
            return packed(self._metrics)
        return asked(self._family.addresses[index])

    def _answer(self) -> None:
        while True:
            try:
                caller, _ = self._family.door.accept()
            except OSError as err:
                if err.errno in _CLOSED:  # the server ends
                    return
                get_logger().warning("figures_not_told", detail=str(err))
                time.sleep(_PAUSE_SECONDS)  # short of descriptors: one call later there may be some
                continue
            try:
                self._tell(caller)
            except Exception as err:  # noqa: BLE001 - the one thread that tells outlives any call
                get_logger().exception("figures_not_told", detail=str(err))

    def _tell(self, caller: socket.socket) -> None:
        with closing(caller), suppress(OSError):  # the caller may have given up
            if _user_of(caller) == os.getuid():
                caller.settimeout(PATIENCE_SECONDS)
                content = packed(self._metrics)
                caller.sendall(_LENGTH.pack(len(content)) + content)


def asked(address: bytes, patience_seconds: float = PATIENCE_SECONDS) -> bytes | None:
    """Return what a process tells; None where it does not in time, or breaks off."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
            line.settimeout(patience_seconds)
            line.connect(address)
            content = b"".join(iter(lambda: line.recv(_CHUNK_BYTES), b""))
    except OSError:
        return None
    told, figures = content[: _LENGTH.size], content[_LENGTH.size :]
    return figures if len(told) == _LENGTH.size and _LENGTH.unpack(told)[0] == len(figures) else None


def _user_of(caller: socket.socket) -> int:
    """Return whose process calls: an abstract name is open to every user of the machine."""
    found: int = struct.unpack("3i", caller.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1]
    return found
