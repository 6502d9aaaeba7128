"""Secrets that are known to nobody but a test, and the search for them in all that a server leaves and says.

Each is one word that occurs nowhere else, so that a single find in a file, a line or an answer is a leak.
"""

from __future__ import annotations

import base64
import os
import secrets
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from urllib.parse import quote


def _word() -> str:
    return f"canary{secrets.token_hex(8)}"


@dataclass(frozen=True, slots=True)
class Canaries:
    """One word for each place in which a secret comes to a server, by a setting or by a caller."""

    api_key: str = field(default_factory=_word)
    wrong_api_key: str = field(default_factory=_word)
    s3_access_key: str = field(default_factory=_word)
    s3_secret_key: str = field(default_factory=_word)
    webhook_secret: str = field(default_factory=_word)
    database_password: str = field(default_factory=_word)
    signature: str = field(default_factory=_word)
    source_token: str = field(default_factory=_word)
    source_fragment: str = field(default_factory=_word)
    source_user: str = field(default_factory=_word)
    webhook_path: str = field(default_factory=_word)
    webhook_token: str = field(default_factory=_word)
    authorization: str = field(default_factory=_word)
    cookie: str = field(default_factory=_word)
    query_token: str = field(default_factory=_word)
    redirect_signature: str = field(default_factory=_word)

    def words(self) -> dict[str, str]:
        """Return the words by what they are."""
        return {one.name: getattr(self, one.name) for one in fields(self)}

    @property
    def query(self) -> str:
        """Return what stands behind a signed source's path."""
        return (
            f"?X-Amz-Credential=AKIA&X-Amz-Signature={self.signature}&token={self.source_token}#{self.source_fragment}"
        )


def found_in(content: bytes, canaries: Canaries) -> set[str]:
    """Return the names of the secrets that are in some bytes, as they are or in base64."""
    return {name for name, word in canaries.words().items() if any(form in content for form in _forms(word))}


def found_below(folder: Path, canaries: Canaries) -> dict[str, set[str]]:
    """Return which secrets each file below a folder holds; its name is looked at, too."""
    found = {}
    for root, _, names in os.walk(folder):
        for path in (Path(root) / name for name in names):
            with suppress(FileNotFoundError):  # a server at work removes what it has done with
                here = found_in(path.read_bytes() + bytes(path), canaries) if path.is_file() else set()
                if here:
                    found[str(path.relative_to(folder))] = here
    return found


def found_in_texts(texts: Iterable[str], canaries: Canaries) -> dict[str, set[str]]:
    """Return which secrets each text holds, by its first characters."""
    return {text[:200]: here for text in texts if (here := found_in(text.encode(errors="replace"), canaries))}


def _forms(word: str) -> Iterable[bytes]:
    """Return a word as it may stand in a file: base64 has three forms, by where in the text the word begins."""
    yield word.encode()
    yield quote(word).encode()
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + word.encode())
        yield encoded[4 if offset else 0 : -4]
