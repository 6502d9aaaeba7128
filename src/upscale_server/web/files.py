"""Gives a stored file away: in whole or one range of it, and so that no browser ever runs it as a page of ours.

Who may have it was decided before.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from email.utils import formatdate
from typing import BinaryIO

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from upscale_server.errors import Gone, RangeOutside
from upscale_server.service import StoredFile
from upscale_server.storage.names import disposition
from upscale_server.web.faults import reply_to

_CHUNK_BYTES = 1 << 20
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes from `start` on, `count` of them, of a file of `total`."""

    start: int
    count: int
    total: int

    @property
    def content_range(self) -> str:
        """Return the header that names them."""
        return f"bytes {self.start}-{self.start + self.count - 1}/{self.total}"


async def file_reply(request: Request, file: StoredFile, content_type: str = "video/mp4") -> Response:
    """Return a file, a range of it, or that nothing has changed.

    Raises:
        Gone: it was removed just now.
    """
    headers = _headers(file)
    if _names(request.headers.get("if-none-match", ""), file.stored.etag):
        return Response(status_code=304, headers=headers)
    total = file.stored.byte_count
    asked = request.headers.get("range") if _is_unchanged(request, file) else None
    span = None if asked is None else span_of(asked, total)
    if span is not None and span.count <= 0:
        error = RangeOutside(f"range {asked!r} lies outside the file of {total} bytes")
        request_id = getattr(request.state, "request_id", None)
        return reply_to(error, request_id, {"Content-Range": f"bytes */{total}"})
    status = 200 if span is None else 206
    if span is not None:
        headers["Content-Range"] = span.content_range
    span = span or Span(0, total, total)
    headers["Content-Length"] = str(span.count)
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type=content_type)
    opened = await run_in_threadpool(file.open)
    return StreamingResponse(_chunks(opened, span), status, headers, media_type=content_type)


def span_of(text: str, total: int) -> Span | None:
    """Return the range asked for; None where the header is to be ignored, an empty span where none of it is there.

    Several ranges at once are ignored, which RFC 9110 allows: no player asks for them, and they cost more than they
    are worth.
    """
    found = _RANGE.fullmatch(text.replace(" ", ""))
    if found is None or not any(found.groups()):
        return None
    first, last = found.groups()
    if not first:
        count = min(int(last), total)
        return Span(total - count, count, total)
    start, end = int(first), min(int(last), total - 1) if last else total - 1
    if last and int(last) < start:
        return None
    return Span(start, max(0, end - start + 1), total)


def _headers(file: StoredFile) -> dict[str, str]:
    return {
        "Accept-Ranges": "bytes",
        "ETag": f'"{file.stored.etag}"',
        "Last-Modified": formatdate(file.stored.modified, usegmt=True),
        "Content-Disposition": disposition(file.file_name),
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "sandbox; default-src 'none'",
        "Cache-Control": "private, no-cache",
    }


def _is_unchanged(request: Request, file: StoredFile) -> bool:
    """Tell whether a range may be given: the reader's earlier part, if it names one, is of this same file."""
    condition = request.headers.get("if-range")
    if condition is None:
        return True
    return condition in (f'"{file.stored.etag}"', formatdate(file.stored.modified, usegmt=True))


def _names(header: str, etag: str) -> bool:
    return header.strip() == "*" or f'"{etag}"' in [one.strip().removeprefix("W/") for one in header.split(",")]


async def _chunks(opened: BinaryIO, span: Span) -> AsyncIterator[bytes]:
    try:
        await run_in_threadpool(opened.seek, span.start)
        left = span.count
        while left > 0:
            chunk = await run_in_threadpool(opened.read, min(_CHUNK_BYTES, left))
            if not chunk:
                raise Gone("the file became shorter while it was read")
            left -= len(chunk)
            yield chunk
    finally:
        opened.close()
