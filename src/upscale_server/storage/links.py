"""Signed links to files of the local store: who holds one may download that file until it expires, and nobody else.

It knows a key and a clock; serving the file is the business of `web`.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import stat
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from upscale_server.disk import naming_write_faults
from upscale_server.errors import Forbidden, Gone, StorageError

PREFIX = "/files/"
SHORTEST_SECONDS = 60
LONGEST_SECONDS = 604_800
"""What S3 signs for at most; both stores promise the same."""
KEY_BYTES = 32


def clamp(seconds: int) -> int:
    """Return a lifetime that both stores can sign for."""
    return min(max(seconds, SHORTEST_SECONDS), LONGEST_SECONDS)


class Signer:
    """Makes and checks links with one secret."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def link(self, key: str, seconds: int) -> str:
        """Return the path and query of a link that works for `seconds` (clamped)."""
        expires = str(int(time.time()) + clamp(seconds))
        return f"{PREFIX}{quote(key)}?expires={expires}&signature={self._sign(key, expires)}"

    def check(self, key: str, query: Mapping[str, str]) -> None:
        """Let a link of ours pass.

        Raises:
            Forbidden: it is not signed by us, or was changed.
            Gone: it was ours and has expired.
        """
        expires = query.get("expires", "")
        expected = self._sign(key, expires)
        if not hmac.compare_digest(expected.encode(), query.get("signature", "").encode()):
            raise Forbidden("the link's signature is missing or not ours", hint="ask the job for a fresh link")
        if int(expires) <= time.time():
            raise Gone("the link has expired", hint="ask the job for a fresh link")

    def _sign(self, key: str, expires: str) -> str:
        text = f"{quote(key)}\n{expires}"  # a quoted key holds no line end that could be moved to the other part
        return hmac.new(self._secret, text.encode(), hashlib.sha256).hexdigest()


def load_or_make_secret(path: Path) -> bytes:
    """Return the secret in a file; make it, for its owner's eyes only, where there is none.

    Two processes that start at once end with the same secret: the file appears whole or not at all, once.

    Raises:
        StorageError: others may read it, or it is no secret of ours.
    """
    if not path.exists():
        _make(path)
    with naming_write_faults(path):
        mode = path.stat().st_mode
        text = path.read_text(encoding="ascii", errors="replace").strip()
    if stat.S_IMODE(mode) & 0o077:
        raise StorageError(f"{path} can be read by others (mode {stat.S_IMODE(mode):04o})", hint=f"chmod 600 {path}")
    try:
        secret = bytes.fromhex(text)
    except ValueError:
        secret = b""
    if len(secret) < KEY_BYTES:
        raise StorageError(
            f"{path} holds no key of {KEY_BYTES} bytes in hexadecimal", hint="remove it; a new one will be made"
        )
    return secret


def _make(path: Path) -> None:
    part = path.with_name(f"{path.name}.{secrets.token_hex(8)}.part")
    # Where another process was first, its secret is ours.
    with naming_write_faults(path), suppress(FileExistsError):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_hex(KEY_BYTES))
                file.flush()
                os.fsync(file.fileno())
            path.hardlink_to(part)  # fails where there is one already, unlike a rename
        finally:
            part.unlink(missing_ok=True)
