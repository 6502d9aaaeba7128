"""What a source's URL must look like, so that one parser decides and what it found is what gets dialled.

It opens nothing; whether a host's address is allowed is for `addresses`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv6Address
from urllib.parse import unquote, urljoin, urlsplit

from upscale_server.errors import BadScheme, BadUrl

MAX_URL_LENGTH = 4096
"""Longer than any signed link (those with session tokens reach 2 500), shorter than what servers refuse."""
DEFAULT_PORTS = {"http": 80, "https": 443}

_HOST = re.compile(r"[a-z0-9_]([a-z0-9._-]*[a-z0-9_.])?")
_UNPRINTABLE = re.compile(r"[^\x21-\x7e]")


@dataclass(frozen=True, slots=True)
class Location:
    """A URL taken apart: `target` is path and query, as sent; `host` is lower case, without brackets."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def shown(self) -> str:
        """Return what of it may be shown and logged: paths and queries carry signatures and names."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == DEFAULT_PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}/…"

    @property
    def authority(self) -> str:
        """Return the value of the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def file_name(self) -> str:
        """Return the last part of the path, decoded; empty where it ends in a slash."""
        return unquote(self.target.split("?")[0].rsplit("/", 1)[-1])


def parse_url(url: str) -> Location:
    """Take a URL apart.

    Raises:
        BadScheme: it is neither http nor https.
        BadUrl: its form is wrong. No text of the URL beyond scheme and host is repeated.
    """
    _check_characters(url)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as err:
        raise BadUrl("the URL's host or port is malformed; expected http(s)://host[:port]/path") from err
    scheme = parts.scheme.lower()
    if scheme not in DEFAULT_PORTS:
        raise BadScheme(f"the URL's scheme is {scheme[:20]!r}; only http and https are fetched")
    _check_authority(parts.netloc, parts.hostname or "")
    if port == 0:
        raise BadUrl("the URL's port is 0; expected 1 to 65535")
    path = parts.path or "/"
    target = f"{path}?{parts.query}" if parts.query else path
    return Location(scheme, _host(parts.hostname or ""), port or DEFAULT_PORTS[scheme], target)


def follow(here: Location, redirect: str) -> Location:
    """Return where a redirect leads.

    Raises:
        BadScheme: it leads away from http(s), or from https to http.
        BadUrl: its form is wrong.
    """
    base = f"{here.scheme}://{here.authority}{here.target}"
    try:
        joined = urljoin(base, redirect)
    except ValueError as err:
        raise BadUrl(f"{here.shown} redirects to a malformed address") from err
    there = parse_url(joined)
    if here.scheme == "https" and there.scheme != "https":
        raise BadScheme(f"{here.shown} redirects from https to http; what was asked to be safe stays so")
    return there


def _check_characters(url: str) -> None:
    if not url:
        raise BadUrl("the URL is empty; expected http(s)://host[:port]/path")
    if len(url) > MAX_URL_LENGTH:
        raise BadUrl(f"the URL has {len(url)} characters; the limit is {MAX_URL_LENGTH}")
    if _UNPRINTABLE.search(url) or "\\" in url:
        raise BadUrl(
            "the URL holds a space, a backslash, a control character or a letter outside ASCII",
            hint="percent-encode the path and write the host in its ASCII form (xn--…)",
        )


def _check_authority(authority: str, host: str) -> None:
    """Refuse what two parsers may read as two hosts."""
    if "@" in authority:
        raise BadUrl(
            "the URL holds a user name or password", hint="use a signed link instead of credentials in the URL"
        )
    if "[" in authority and ":" not in host:
        raise BadUrl("the URL's host stands in brackets and is no IPv6 address")


def _host(host: str) -> str:
    if ":" in host:
        try:
            address = IPv6Address(host)
        except AddressValueError as err:
            raise BadUrl("the URL's host is no IPv6 address") from err
        if address.scope_id is not None:
            raise BadUrl("the URL's host names a network zone; only addresses without one are fetched")
        return str(address)
    if not _HOST.fullmatch(host) or len(host) > 253:
        raise BadUrl("the URL's host is missing or malformed; expected a name or an address")
    return host
