"""Chooses how a stranger's server is reached: straight from here, or through the proxy that an operator named.

The environment's proxy settings are read nowhere: they would hand the choice of what is connected to to someone else.
Behind a proxy that choice is the proxy's; what can be told from a URL alone is still refused here.
"""

from __future__ import annotations

from dataclasses import dataclass

import httpcore

from upscale_server.errors import BadRequest, BadUrl
from upscale_server.storage.addresses import Guard
from upscale_server.storage.dialling import GuardedBackend, Resolver, look_up
from upscale_server.storage.urls import Location, parse_url
from upscale_server.storage.watchdog import Watchdog

PROXY_SETTING = "UPSCALE_FETCH__PROXY"

_OPERATORS_OWN = Guard.of(["0.0.0.0/0", "::/0"], [])
"""Wherever the operator's proxy stands; it is not a stranger's choice."""


@dataclass(frozen=True, slots=True)
class Road:
    """The way out: which addresses may be connected to, who knows them, and the proxy, where there is one."""

    guard: Guard
    resolver: Resolver = look_up
    proxy: Location | None = None

    def connections(self, watchdog: Watchdog, connect_seconds: float) -> httpcore.ConnectionPool:
        """Return a pool for one request; it is the caller's to close."""
        if self.proxy is None:
            backend = GuardedBackend(self.guard, watchdog, connect_seconds, self.resolver)
            return httpcore.ConnectionPool(max_connections=1, max_keepalive_connections=0, network_backend=backend)
        backend = GuardedBackend(_OPERATORS_OWN, watchdog, connect_seconds, self.resolver)
        return httpcore.HTTPProxy(
            httpcore.URL(scheme=self.proxy.scheme, host=self.proxy.host, port=self.proxy.port, target=b"/"),
            max_connections=1,
            max_keepalive_connections=0,
            network_backend=backend,
        )


def proxy_of(setting: str) -> Location | None:
    """Return the proxy that a setting names; None for an empty one.

    Raises:
        BadRequest: it is no address of a proxy.
    """
    if not setting:
        return None
    try:
        return parse_url(setting)
    except BadUrl as err:
        raise BadRequest(f"setting {PROXY_SETTING} is no http(s)://host:port: {err.detail}") from err
