"""Lets the processes of an image server tell one another their figures: whichever is asked answers for all of them.

They share a port, so that a scraper reaches one of them by chance. What the figures are stands in `metrics`.
"""

from __future__ import annotations

import os
import socket
import struct
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress

from upscale_server.metrics import Metrics
from upscale_server.metrics.merged import merged, packed
from upscale_server.web.family import Family

PATIENCE_SECONDS = 2.0
"""How long a process may take to tell its figures; scrapers wait ten seconds for all of them."""
_CHUNK_BYTES = 1 << 16


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
            except OSError:  # the server ends
                return
            with closing(caller), suppress(OSError):  # the caller may have given up
                if _user_of(caller) == os.getuid():
                    caller.settimeout(PATIENCE_SECONDS)
                    caller.sendall(packed(self._metrics))


def asked(address: bytes, patience_seconds: float = PATIENCE_SECONDS) -> bytes | None:
    """Return what a process tells; None where it does not in time, or breaks off."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
            line.settimeout(patience_seconds)
            line.connect(address)
            content = b"".join(iter(lambda: line.recv(_CHUNK_BYTES), b""))
    except OSError:
        return None
    return content if content.endswith(b"]") else None


def _user_of(caller: socket.socket) -> int:
    """Return whose process calls: an abstract name is open to every user of the machine."""
    found: int = struct.unpack("3i", caller.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1]
    return found
