"""Who may ask: API keys are kept as hashes and compared in constant time, and a job belongs to the key that made it.

It reads no settings; whether a server may start without a key is decided in `cli`, before it starts.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from upscale_server.errors import BadRequest, Unauthorized

OPEN_PATHS = frozenset({"/livez", "/readyz", "/health"})
"""What probes and callers without a key may ask; beside these only signed links and the page are open."""
OPEN_PAGE = "/"
"""The page itself tells nothing: it asks for a key where its questions need one."""
OPEN_PREFIXES = ("/files/", "/static/")

_HASHED = re.compile(r"sha256:([0-9a-fA-F]{64})")
_ID_LENGTH = 16
"""Digits of a key's hash that name it in logs and in the jobs' table: too few to find the key, enough to tell keys."""


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys that are ours, as SHA-256; none at all means that nobody needs one.

    A plain hash is enough, because keys are long and random; a slow one would only slow every request down.
    """

    digests: tuple[bytes, ...]

    @classmethod
    def of(cls, text: str) -> Keys:
        """Read keys separated by commas; `sha256:HEX` is the hash of one.

        Raises:
            BadRequest: a hash is malformed; no key is repeated in the message.
        """
        entries = [entry.strip() for entry in text.split(",") if entry.strip()]
        return cls(tuple(_digest(entry, place) for place, entry in enumerate(entries, 1)))

    @property
    def needed(self) -> bool:
        """Tell whether callers must give a key."""
        return bool(self.digests)

    def check(self, given: str | None) -> str:
        """Return the id of the key that was given; empty where none is needed.

        Raises:
            Unauthorized: a key is needed and none or a wrong one was given.
        """
        if not self.needed:
            return ""
        if not given:
            raise Unauthorized("an API key is needed", hint="send it as Authorization: Bearer KEY, or as X-API-Key")
        digest = hashlib.sha256(given.encode("utf-8", "surrogateescape")).digest()
        # All are compared, so that the time taken does not tell which one matched.
        matches = [hmac.compare_digest(digest, known) for known in self.digests]
        if not any(matches):
            raise Unauthorized("the API key is not one of this server's")
        return digest.hex()[:_ID_LENGTH]


def key_in(headers: Mapping[str, str]) -> str | None:
    """Return the key that a request carries, None without one."""
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and credentials.strip():
        return credentials.strip()
    return headers.get("x-api-key") or None


def is_open(path: str, more: Collection[str] = ()) -> bool:
    """Tell whether a path needs no key: probes, the page, links that carry their own signature, and `more`."""
    return path in OPEN_PATHS or path == OPEN_PAGE or path.startswith(OPEN_PREFIXES) or path in more


def _digest(entry: str, place: int) -> bytes:
    if not entry.startswith("sha256:"):
        return hashlib.sha256(entry.encode()).digest()
    hashed = _HASHED.fullmatch(entry)
    if hashed is None:
        raise BadRequest(f"API key {place} begins with sha256: and is not followed by 64 hexadecimal digits")
    return bytes.fromhex(hashed[1])
