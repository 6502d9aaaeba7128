"""Fifty-five ways to write a host that must not be reached, and the roads by which a server is sent there.

What a name leads to is decided by `Names`, which stands where the system's resolver is asked; nothing asks a real one.
"""

from __future__ import annotations

import itertools
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.support.canary import ALLOWED, CANARY

HOSTS = (
    "127.0.0.1", "127.1", "0177.0.0.1", "0x7f.1", "0x7f000001", "2130706433", "017700000001", "0", "0.0.0.0",  # noqa: S104 - nothing is bound
    "localhost", "localhost.", "LOCALHOST", "127.0.0.1.", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]",
    "[::127.0.0.1]", "[64:ff9b::7f00:1]", "[64:ff9b:1::7f00:1]", "[2002:7f00:1::]", "[2001:0:0:0:0:0:80ff:fffe]",
    "[fe80::1%25lo]", "[fe80::1]", "[fc00::1]", "[fd00:ec2::254]", "[ff02::1]", "[::ffff:169.254.169.254]",
    "169.254.169.254", "169.254.170.2", "100.100.100.200", "192.0.0.192", "168.63.129.16", "10.0.0.1", "172.16.0.1",
    "172.31.255.255", "192.168.0.1", "100.64.0.1", "198.18.0.1", "224.0.0.1", "255.255.255.255", "①②⑦.⓪.⓪.①",
    "127。0。0。1", "１２７.0.0.1", "127.0.0.1%00.example.com", "example.com@127.0.0.1", "127.0.0.1#@example.com",  # noqa: RUF001 - a trick of theirs
    "127.0.0.1\\@example.com", "[::1]%20", "rebind.test", "meta.test", "v6map.test", "cgnat.test", "multi.test",
    "metadata.google.internal",
)  # fmt: skip

NAMED = {
    "localhost": [CANARY],
    "meta.test": ["169.254.169.254"],
    "v6map.test": ["::ffff:127.0.0.1"],
    "cgnat.test": ["100.64.0.1"],
    "multi.test": ["10.0.0.1", CANARY],
    "metadata.google.internal": ["169.254.169.254"],
    "metadata.goog": [CANARY],
    "films.test": [CANARY],
}
REBINDING, TURNED = "rebind", "turned"
"""`rebind-N-…` leads to the allowed server first and to host N the second time; `turned-N-…` to host N at once."""


class Names:
    """Answers as a hostile name server does: differently every second time where a name begins with `rebind`."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()

    def __call__(self, host: str, port: int, *_: object, **__: object) -> list[tuple[Any, ...]]:
        """Stand for `socket.getaddrinfo`; numbers are read as the system reads them."""
        name = host.lower().rstrip(".")
        self.asked[name] += 1
        if name.startswith(REBINDING):
            return self._entries([ALLOWED] if self.asked[name] % 2 else self._later(name), port)
        if name.startswith(TURNED):
            return self._entries(self._later(name), port)
        if name in NAMED:
            return self._entries(NAMED[name], port)
        return _system(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)

    def _later(self, name: str) -> list[str]:
        """Return where a name leads the second time: to the host of its number, as far as that has an address."""
        _, _, place = name.removesuffix(".test").partition("-")
        return addresses_of(HOSTS[int(place.split("-")[0])]) if place else [CANARY]

    def _entries(self, addresses: list[str], port: int) -> list[tuple[Any, ...]]:
        return [
            (socket.AF_INET6 if ":" in one else socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port))
            for one in addresses
        ]


_system = socket.getaddrinfo


def addresses_of(host: str) -> list[str]:
    """Return the numbers that a host form stands for; the canary's where it is only a trick of writing."""
    bare = host.strip("[]").replace("%25", "%").rstrip(".").lower()
    if bare in NAMED:
        return NAMED[bare]
    try:
        found = _system(bare, 80, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        return [CANARY]
    return [str(entry[4][0]) for entry in found]


@contextmanager
def hostile_names() -> Iterator[Names]:
    """Let every look-up of this process be answered by `Names`."""
    names = Names()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", names)
        yield names


DOORS = ("job", "source", "preview", "webhook")
WAYS = ("direct", "redirect", "rebinding")


def attempts(thorough: bool) -> list[tuple[str, str, int]]:  # noqa: FBT001 - the long form and the usual one
    """Return (door, way, place of the host): six roads to each host, twelve in the long form."""
    if thorough:
        return list(itertools.product(DOORS, WAYS, range(len(HOSTS))))
    by_job = [("job", way, place) for way in WAYS for place in range(len(HOSTS))]
    others = [(door, WAYS[place % len(WAYS)], place) for door in DOORS[1:] for place in range(len(HOSTS))]
    return by_job + others
