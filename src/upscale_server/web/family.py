"""The sockets on which an image server's processes ask one another; the parent makes them before there is any process.

Each has no name in the file system and is held open through a process's death: nothing is left behind, and one that is
started again is found at the same address. What is said through them stands in `siblings`.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass

_WAITING = 16
"""Processes that may ask at once."""


@dataclass(frozen=True, slots=True)
class Family:
    """Which process this is, the socket that it listens on, and where all of them, in their order, are asked."""

    index: int
    door: socket.socket
    addresses: tuple[bytes, ...]


def family_doors(count: int) -> tuple[socket.socket, ...]:
    """Return a listening socket for each process of a server; the kernel gives each a name of its own."""
    doors = []
    for _ in range(count):
        door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        door.bind("")  # an abstract name, see unix(7): who else may connect is asked at each call
        door.listen(_WAITING)
        doors.append(door)
    return tuple(doors)
