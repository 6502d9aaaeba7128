"""Takes out of a text what may be a secret, wherever it came from: the last look before a line is written or answered.

Whoever words a message leaves secrets out by itself; this catches what a library or a stranger put in. It knows the
forms in which secrets travel (a query, a user's password in an address, a header) and none of ours in particular.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

# Texts may be a stranger's and long: no pattern may look at a letter again for each place at which it could begin.
_USER = re.compile(r"(?<=://)[^/\s@'\"<>?#]*@")
_QUERY = re.compile(r"(?<=\S)[?#][^\s'\"<>?#]*=[^\s'\"<>]*")
_WORD = re.compile(r"[^\s'\"<>]+")
_SCHEME = re.compile(r"\bhttps?://", re.IGNORECASE)
_NAMED = re.compile(
    r"(?P<name>authorization|proxy-authorization|cookie|set-cookie|x-api-key|x-signature|x-amz-[a-z-]{1,40}|password|passwd"
    r"|api[-_]?key|(?:access|secret|private)[-_]?key|token|secret|signature)"
    r"(?P<between>['\"]?\s*[:=]\s*['\"]?)(?P<scheme>(?:bearer|basic)\s+)?[^\s'\"&,;<>)\]}]+",
    re.IGNORECASE,
)
_DEEPEST = 8


def redacted(text: str) -> str:
    """Return a text without queries and passwords of addresses, and without what stands behind a secret's name."""
    if not any(mark in text for mark in "?#@:="):
        return text
    text = _WORD.sub(_without_query, _USER.sub("…@", text))
    return _NAMED.sub(lambda found: f"{found['name']}{found['between']}…", _QUERY.sub("?…", text))


def _without_query(word: re.Match[str]) -> str:
    """Return a word up to what stands behind the path of the first address in it."""
    text, address = word[0], _SCHEME.search(word[0])
    ends = [place for mark in "?#" if address and 0 <= (place := text.find(mark, address.end())) < len(text) - 1]
    return f"{text[: min(ends)]}?…" if ends else text


def redacted_in(value: Any, depth: int = 0) -> Any:  # noqa: ANN401 - whatever is logged
    """Return a value with every text in it redacted; what is no text, list or mapping stays as it is."""
    if isinstance(value, str):
        return redacted(value)
    if depth >= _DEEPEST:
        return "…"
    if isinstance(value, Mapping):
        return {name: redacted_in(one, depth + 1) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [redacted_in(one, depth + 1) for one in value]
    if isinstance(value, BaseException):
        return redacted(str(value))
    return value
