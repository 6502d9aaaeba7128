"""The list of hosts that sources may come from, where an operator keeps one.

It compares names; which address a name leads to is judged where it is dialled. The trap: a pattern that is matched as
text lets `good.org.evil.com` and `evilgood.org` through, so whole labels are compared.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv6Address
from typing import Self

from upscale_server.errors import BadRequest

HOSTS_SETTING = "UPSCALE_FETCH__ALLOWED_HOSTS"

_ENTRY = re.compile(r"(\*\.)?(?:\[([0-9a-f:.]+)\]|([a-z0-9_]([a-z0-9._-]*[a-z0-9_])?))(?::(\d{1,5}))?")


@dataclass(frozen=True, slots=True)
class HostRule:
    """One entry: a host, or with `below` every host under it; with a port that port alone."""

    name: str
    below: bool = False
    port: int | None = None

    @classmethod
    def of(cls, text: str) -> Self:
        """Read `host`, `*.suffix`, either with `:port`; an IPv6 address stands in brackets.

        Raises:
            BadRequest: it is none of these; an entry that matches nothing would go unnoticed.
        """
        match = _ENTRY.fullmatch(text.strip().lower().rstrip("."))
        if match is None or (match[5] is not None and not 0 < int(match[5]) < 65_536):
            raise BadRequest(f"setting {HOSTS_SETTING} has {text!r}; expected host, *.suffix or either with :port")
        below, literal, name, _, port = match.groups()
        return cls(_address(literal, text) if literal else name, bool(below), None if port is None else int(port))

    def admits(self, host: str, port: int) -> bool:
        """Tell whether a host (lower case, without a dot at its end) may be asked on a port."""
        named = host.endswith(f".{self.name}") if self.below else host == self.name
        return named and self.port in (None, port)


def _address(literal: str, text: str) -> str:
    try:
        return str(IPv6Address(literal))
    except AddressValueError as err:
        raise BadRequest(f"setting {HOSTS_SETTING} has {text!r}, which is no IPv6 address") from err
