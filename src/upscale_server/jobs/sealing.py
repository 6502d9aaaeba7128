"""Hides what may be a signature or a token in an address that is stored, so that a copy of the database opens nothing.

It knows one key and no table. Scheme, host and path of a source stay readable; of a receiver only scheme and host do,
because its path may be the secret. The key lies beside the database and not in it; who has both can read all.

A sealed address is one still, so that whatever reads its host goes on working; only `opened` gives the real one.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from urllib.parse import urlsplit

from upscale_server.errors import Gone
from upscale_server.jobs.job import Asked

_MARK = "sealed-1="
_NONCE_BYTES, _TAG_BYTES = 16, 32


class Sealer:
    """Seals and opens with one secret; safe to call from several threads.

    The standard library has no cipher. This is HMAC-SHA256 as a stream (counter mode under a random nonce), and a
    second one over what came out (encrypt, then authenticate), each with a key of its own.
    """

    def __init__(self, secret: bytes) -> None:
        self._stream_key = hmac.digest(secret, b"upscale seal: stream", "sha256")
        self._tag_key = hmac.digest(secret, b"upscale seal: tag", "sha256")

    def sealed(self, asked: Asked) -> Asked:
        """Return a wish whose addresses can be stored."""
        source, webhook = asked.source, asked.webhook
        if source.kind == "url":
            source = replace(source, location=self.seal_query(source.location))
        return replace(asked, source=source, webhook=webhook and self.seal_path(webhook))

    def seal_query(self, url: str) -> str:
        """Hide what stands behind an address's path; one that has nothing there stays as it is."""
        ends = [place for place in (url.find("?"), url.find("#")) if place >= 0]
        return self._hide(url, min(ends)) if ends else url

    def seal_path(self, url: str) -> str:
        """Hide what stands behind an address's host."""
        parts = urlsplit(url)
        host_ends = len(f"{parts.scheme}://{parts.netloc}")
        return self._hide(url, host_ends) if len(url) > host_ends + 1 else url

    def opened(self, url: str) -> str:
        """Return the address that was sealed; one that was not is returned as it is.

        Raises:
            Gone: it was sealed with another key.
        """
        shown, mark, text = url.partition(f"?{_MARK}")
        if not mark:
            return url
        try:
            whole = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        except ValueError:
            whole = b""
        nonce, hidden, tag = whole[:_NONCE_BYTES], whole[_NONCE_BYTES:-_TAG_BYTES], whole[-_TAG_BYTES:]
        if not hmac.compare_digest(tag, self._tag(shown, nonce + hidden)):
            raise Gone(
                "the job's address was sealed with a key that is not here",
                hint="hand the job in again; servers that share a database need the same UPSCALE_JOBS__SEAL_SECRET",
            )
        return shown + self._streamed(nonce, hidden).decode()

    def _hide(self, url: str, place: int) -> str:
        shown, nonce = url[:place], secrets.token_bytes(_NONCE_BYTES)
        hidden = nonce + self._streamed(nonce, url[place:].encode())
        text = base64.urlsafe_b64encode(hidden + self._tag(shown, hidden)).decode().rstrip("=")
        return f"{shown}?{_MARK}{text}"

    def _tag(self, shown: str, hidden: bytes) -> bytes:
        """Return what binds the hidden part to the part that is shown, so that none is moved to another host."""
        return hmac.digest(self._tag_key, hashlib.sha256(shown.encode()).digest() + hidden, "sha256")

    def _streamed(self, nonce: bytes, content: bytes) -> bytes:
        return bytes(one ^ other for one, other in zip(content, self._stream(nonce), strict=False))

    def _stream(self, nonce: bytes) -> Iterator[int]:
        for number in count():
            yield from hmac.digest(self._stream_key, nonce + number.to_bytes(8, "big"), "sha256")


class NoSealer(Sealer):
    """Stores addresses as they are: for servers that share a database and no secret."""

    def __init__(self) -> None:
        super().__init__(b"")

    def seal_query(self, url: str) -> str:
        """Return the address."""
        return url

    def seal_path(self, url: str) -> str:
        """Return the address."""
        return url
