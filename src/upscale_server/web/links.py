"""What stands before a link: the configured address, or the request's own host where that is known to be ours.

A Host header is a stranger's word: a link made from any of them would send a caller's result anywhere.
"""

from __future__ import annotations

from starlette.requests import Request

from upscale_server.errors import BadRequest
from upscale_server.settings import Settings
from upscale_server.web.own_names import is_loopback, name_in


def base_url_of(request: Request, settings: Settings) -> str:
    """Return the scheme and host that links begin with, without a slash at the end.

    Raises:
        BadRequest: the request's host is neither loopback nor on the list.
    """
    if settings.public_url:
        return settings.public_url.rstrip("/")
    host = request.headers.get("host", "")
    name = name_in(host)
    if name and (is_loopback(name) or name in {one.lower() for one in settings.allowed_hosts}):
        return f"{request.url.scheme}://{host}"
    raise BadRequest(
        f"no link can be made for host {host[:100]!r}, which is neither loopback nor allowed",
        hint="set UPSCALE_PUBLIC_URL, or name the host in UPSCALE_ALLOWED_HOSTS",
    )


def relative_or_whole(request: Request, settings: Settings) -> str:
    """Return the same, or nothing where no link can be made: the reader then puts its own address before a path."""
    try:
        return base_url_of(request, settings)
    except BadRequest:
        return ""


def joined(base_url: str, link: str) -> str:
    """Return a whole address; a store's own address stays as it is."""
    return f"{base_url}{link}" if link.startswith("/") else link
