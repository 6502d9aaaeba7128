"""Sends a short message to a stranger's server: the one place where the product posts anything for a caller.

It goes the way of a download: the address is vetted where it is dialled, the environment's proxies are not read, and
redirects are not followed. Signing and trying again are the caller's business. No error repeats more of a URL than
scheme and host.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

import httpcore

from upscale_server.errors import Canceled, SourceError, SourceTimeout, SourceUnreachable
from upscale_server.storage.addresses import Guard
from upscale_server.storage.dialling import Resolver, look_up
from upscale_server.storage.proxy import Road
from upscale_server.storage.sentry import Sentry
from upscale_server.storage.urls import Location, parse_url
from upscale_server.storage.watchdog import Pace, Watchdog

LONGEST_ANSWER = 4096
LONGEST_ANSWER_SECONDS = 1.0
"""How much of an answer's body is read, so that its sender sees it taken; nothing is done with it."""


@dataclass(frozen=True, slots=True)
class PostRules:
    """Where messages may go, and how long one may take from the look-up to the answer."""

    guard: Guard
    seconds: float
    resolver: Resolver = look_up
    proxy: Location | None = None


def post(url: str, body: bytes, headers: Mapping[str, str], rules: PostRules, check: Callable[[], None]) -> int:
    """Post a body and return the status that it is answered with.

    Args:
        url: where to.
        body: what.
        headers: besides those of every request; latin-1 text.
        rules: the limits.
        check: called often; what it raises ends the attempt.

    Raises:
        BadUrl, BadScheme: the URL's form is wrong.
        SourceForbidden: its host is not allowed, or leads to a private address.
        SourceTimeout, SourceUnreachable: nobody answered, or not in HTTP.
    """
    location = parse_url(url)
    rules.guard.check_host(location.host, location.port)
    pace = Pace(rules.seconds, rules.seconds, rules.seconds, least_bytes_per_second=0)
    watchdog = Watchdog(pace, lambda _done, _total: check())
    try:
        road = Road(rules.guard, rules.resolver, rules.proxy)
        with Sentry(watchdog), road.connections(watchdog, rules.seconds) as pool:
            return _status(location, body, headers, pool, watchdog)
    except (httpcore.TimeoutException, SourceTimeout) as err:
        raise SourceTimeout(f"{location.shown} did not answer in {rules.seconds:g} s") from err
    except (httpcore.ProtocolError, httpcore.NetworkError, httpcore.ProxyError) as err:
        raise SourceUnreachable(f"{location.shown} broke off, or did not answer in proper HTTP") from err


def _status(
    location: Location, body: bytes, headers: Mapping[str, str], pool: httpcore.ConnectionPool, watchdog: Watchdog
) -> int:
    url = httpcore.URL(
        scheme=location.scheme, host=location.host, port=location.port, target=location.target.encode("ascii")
    )
    usual = {
        "Host": location.authority, "User-Agent": "upscale-server", "Connection": "close",
        "Content-Length": str(len(body)),
    }  # fmt: skip
    sent = [(name.encode(), value.encode("latin-1")) for name, value in {**usual, **headers}.items()]
    with pool.stream("POST", url, headers=sent, content=body) as reply:
        watchdog.hasten(LONGEST_ANSWER_SECONDS)
        _taste(reply)
        return reply.status


def _taste(reply: httpcore.Response) -> None:
    """Read a little of an answer's body; whatever comes, the status is known already."""
    with suppress(httpcore.ProtocolError, httpcore.NetworkError, SourceError, Canceled):
        came = 0
        for chunk in reply.iter_stream():
            came += len(chunk)
            if came >= LONGEST_ANSWER:
                return
