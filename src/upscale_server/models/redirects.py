"""Opens an https address that a user named, and follows redirects only to https on public hosts.

The address itself is the user's own choice, and may be inside the house; where it sends us on to is not. It guards a
command that checks a SHA-256 afterwards; what servers download goes through a stricter door.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import urllib.error
import urllib.parse
import urllib.request
from typing import IO


def open_address(url: str, timeout_seconds: float) -> http.client.HTTPResponse:
    """Open an https address.

    Raises:
        OSError, http.client.HTTPException: it does not answer, or sends us where we do not go.
    """
    answer: http.client.HTTPResponse = urllib.request.build_opener(_PublicOnly).open(url, timeout=timeout_seconds)
    return answer


class _PublicOnly(urllib.request.HTTPRedirectHandler):
    """Holds every redirect against the rule."""

    def redirect_request(  # noqa: PLR0913, PLR0917 - urllib's own signature
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        """Return the next request, or raise."""
        refuse_private(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def refuse_private(url: str) -> None:
    """Refuse an address that is not https, or whose host has an address that is not public.

    Raises:
        OSError: with the address and the reason.
    """
    parts = urllib.parse.urlsplit(url)
    if parts.scheme != "https" or not parts.hostname:
        raise urllib.error.URLError(f"it redirects to {url}, which is not https")
    for *_, place in socket.getaddrinfo(parts.hostname, parts.port or 443, type=socket.SOCK_STREAM):
        if not ipaddress.ip_address(str(place[0]).partition("%")[0]).is_global:
            raise urllib.error.URLError(f"it redirects to {parts.hostname}, which is the private address {place[0]}")
