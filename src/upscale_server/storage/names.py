"""What a download is called: names that strangers chose, made safe for headers and for people's folders.

No such name ever becomes a path of ours.
"""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import quote

MAX_NAME_BYTES = 200
"""Below the 255 of every file system, with room for what browsers add (` (1)`)."""

_ENDS = ". \u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
"""A dot and Unicode's white space, less its control characters."""
_MOST_SUFFIX = 8
_RESERVED = re.compile(r'[/\\:*?"<>|]')


def clean_name(text: str, otherwise: str) -> str:
    """Return a file name without folders, control or direction characters; `otherwise` where nothing is left."""
    kept = "".join(letter for letter in text if not unicodedata.category(letter).startswith("C"))
    name = _RESERVED.sub("_", unicodedata.normalize("NFC", kept)).strip(_ENDS)
    if len(name.encode()) > MAX_NAME_BYTES:
        stem, dot, suffix = name.rpartition(".")
        end = dot + suffix if stem and len(suffix) <= _MOST_SUFFIX else ""
        begin = name.removesuffix(end).encode()[: MAX_NAME_BYTES - len(end.encode())]
        name = (begin.decode(errors="ignore") + end).strip(_ENDS)
    return name or otherwise


def disposition(file_name: str) -> str:
    """Return a Content-Disposition that saves the object under a name: plain ASCII, whatever the name is.

    Source: RFC 6266, with the `filename*` form of RFC 8187 for readers that know it.
    """
    name = clean_name(file_name, "download")
    plain = re.sub(r"[^A-Za-z0-9._ -]", "_", name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
