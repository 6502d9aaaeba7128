"""Keeps strangers' web pages away from a server that needs no key: a browser would drive it for them.

Where keys are needed it is not asked, because a browser sends no key by itself. The trap: a page may let its own name
point at this machine (DNS rebinding), so the names that we are asked by count, not only who asks.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from upscale_server.errors import Forbidden
from upscale_server.settings import Settings

_HINT = "name it in UPSCALE_ALLOWED_HOSTS or UPSCALE_PUBLIC_URL, or set UPSCALE_API_KEYS"


@dataclass(frozen=True, slots=True)
class OwnNames:
    """The host names that are ours besides loopback, in lower case, and the sites whose pages may ask, too."""

    names: frozenset[str]
    origins: frozenset[str] = frozenset()

    @classmethod
    def of(cls, settings: Settings) -> OwnNames:
        """Return the names that the settings know, and the machine's own."""
        public = urlsplit(settings.public_url).hostname or ""
        known = {public, socket.gethostname(), *settings.allowed_hosts}
        return cls(frozenset(name.lower() for name in known if name), frozenset(settings.http.cors_origins))

    def check(self, headers: Mapping[str, str], reached_at: str) -> None:
        """Let a request pass that no web page but our own can have caused.

        Args:
            headers: of the request.
            reached_at: our address on this connection; a name can only be turned on loopback, the rest is open anyway.

        Raises:
            Forbidden: another site's page asks, or we are asked by a name that is not ours.
        """
        host = headers.get("host", "")
        name = name_in(host)
        if is_loopback(reached_at) and not self._is_own(name):
            raise Forbidden(f"host {host[:100]!r} is none of this server's names", hint=_HINT)
        origin = headers.get("origin")
        if origin is not None and origin not in self.origins and not self._is_own_page(origin, host):
            raise Forbidden(f"a page of {origin[:100]!r} asks; only this server's own pages may", hint=_HINT)

    def _is_own(self, name: str) -> bool:
        return bool(name) and (is_loopback(name) or name in self.names)

    def _is_own_page(self, origin: str, host: str) -> bool:
        place = origin.partition("://")[2].lower()
        return place == host.lower() or name_in(place) in self.names


def name_in(host: str) -> str:
    """Return the name in a Host header without its port, empty where it is malformed."""
    if not host.isascii() or any(letter in host for letter in "/\\@?# \t"):
        return ""
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port
    except ValueError:
        return ""
    return (parts.hostname or "").lower()


def is_loopback(name: str) -> bool:
    """Tell whether a name or address means this machine and nothing else."""
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return name == "localhost"
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback
