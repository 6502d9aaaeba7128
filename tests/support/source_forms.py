"""The forms of source that the server must be able to answer, each with the code that it ends with.

The servers behind them are `bad_source` and `worse_source`; `OTHER` stands for the port of a second server.
"""

from __future__ import annotations

TAKEN = ""
"""In place of a code: the source is taken, whole."""

OTHER = "OTHER"

PLAIN = {
    "ok": TAKEN,
    "chunked": TAKEN,
    "noclen": TAKEN,
    "evilname": TAKEN,
    "flaky?n=1": TAKEN,
    "resume": TAKEN,
    "chain?n=2": TAKEN,
    "chain?n=3": TAKEN,
    "chain?n=4": TAKEN,
    "redirect?to=/ok": TAKEN,
    "redirect?c=308&to=/ok": TAKEN,
    "redirect?to=http://127.0.0.1:OTHER/ok": TAKEN,
    "short": "source_error",
    "long": TAKEN,  # as long as its server says; what follows is never read
    "clen-huge": "source_too_large",
    "clen-negative": "source_error",
    "clen-two": "source_error",
    "endless": "source_too_large",
    "bighead": "source_error",
    "manyhead": "source_error",
    "gzipbomb": "unsupported_format",
    "gzipbombchunked": "unsupported_format",
    "deflatebomb": "unsupported_format",
    "gzip": "unsupported_format",
    "badchunk": "source_error",
    "bigext": "source_error",
    "http09": "source_error",
    "breaks": "source_error",
    "rst": "source_error",
    "loop": "source_not_found",
    "chain?n=50": "source_not_found",
    "nolocation": "source_not_found",
    "status?c=404": "source_not_found",
    "status?c=500": "source_error",
    "status?c=204": "source_error",
    "status?c=304": "source_error",
    "html": "not_media",
    "partial": "source_error",
    "redirect?to=file:///etc/passwd": "bad_scheme",
    "redirect?to=ftp://127.0.0.1/x": "bad_scheme",
    "redirect?to=gopher://127.0.0.1:70/x": "bad_scheme",
    "redirect?to=data:video/mp4,xx": "bad_scheme",
    "redirect?to=http://127.0.0.2:OTHER/ok": "source_forbidden",
    "redirect?to=http://169.254.169.254/latest/meta-data": "source_forbidden",
    "redirect?to=http://[::1]:OTHER/ok": "source_forbidden",
    "redirect?to=http://u:p@127.0.0.1:OTHER/ok": "bad_url",
    "redirect?to=//169.254.169.254/": "source_forbidden",
}
"""Those that end by what they say."""

SLOW = {
    "stall": "source_timeout",
    "stall?after=0": "source_timeout",
    "drip": "source_timeout",
    "slowhead": "source_timeout",
    "noreply": "source_timeout",
    "flood100": "source_timeout",
}
"""Those that end by a limit of ours: 53 with the others, as many as the threat table names."""

MORE = {
    "half": "source_error",
    "hangup": "source_error",
    "changes": TAKEN,
    "swaps": TAKEN,
    "shifts": TAKEN,
    "shortrest": "source_error",
    "busy?n=9&after=3600": "source_error",
    "br": "unsupported_format",
    "encodings": "unsupported_format",
    "transfer": "source_error",
    "lengthandchunks": "source_error",
    "manyheaders": "source_error",
    "longheader": "source_error",
    "trailers": "source_error",
    "m3u8": "not_media",
    "json": "not_media",
    "zip": "not_media",
    "empty": "not_media",
    "zeros": "not_media",
    "elf": "not_media",
    "wide": "not_media",
    "png": "unsupported_format",
}
MORE_SLOW = {"chunkext": "source_timeout", "slowly": "source_timeout"}
"""Twenty-four of our own: what the code does that the table does not think of."""


def path_of(form: str, other_port: int) -> str:
    """Return a form's path and query."""
    return form.replace(OTHER, str(other_port))
