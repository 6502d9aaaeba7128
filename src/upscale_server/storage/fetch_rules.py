"""The limits of a download, read from the settings once.

Values only.
"""

from __future__ import annotations

from dataclasses import dataclass

from upscale_server.server_settings import Fetch
from upscale_server.storage.addresses import Guard
from upscale_server.storage.dialling import Resolver, look_up
from upscale_server.storage.proxy import Road, proxy_of
from upscale_server.storage.urls import Location
from upscale_server.storage.watchdog import Pace


@dataclass(frozen=True, slots=True)
class FetchRules:
    """What is fetched and what is not."""

    guard: Guard
    pace: Pace
    max_bytes: int
    attempts: int = 3
    pause_seconds: float = 0.5
    resolver: Resolver = look_up
    proxy: Location | None = None

    @property
    def road(self) -> Road:
        """Return the way to a source."""
        return Road(self.guard, self.resolver, self.proxy)

    @classmethod
    def of(cls, settings: Fetch) -> FetchRules:
        """Read the settings.

        Raises:
            BadRequest: an allowed network or host, or a proxy, that is none.
        """
        pace = Pace(
            connect_seconds=settings.connect_seconds,
            idle_seconds=settings.idle_seconds,
            total_seconds=settings.total_seconds,
            least_bytes_per_second=settings.least_bytes_per_second,
        )
        guard = Guard.of(settings.allowed_networks, settings.allowed_hosts)
        return cls(guard, pace, settings.max_bytes, settings.attempts, proxy=proxy_of(settings.proxy))
