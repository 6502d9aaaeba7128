"""Takes a multipart form apart as it arrives: short fields, and files that go where the caller says.

It bounds everything but the files; those are bounded by whoever takes them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from upscale_server.errors import BadRequest

MOST_FIELDS = 32
_FIELD_BYTES = 8192
_PART_HEAD_BYTES = 8192


class Taker(Protocol):
    """Where a file's bytes go."""

    def take(self, content: bytes, /) -> None:
        """Keep bytes."""


OpenFile = Callable[[str, str], Taker]
"""Is given a file's field and name, and refuses by raising."""


def frame_bytes(most_parts: int) -> int:
    """Return what a form of so many parts may hold besides its files."""
    return most_parts * (_FIELD_BYTES + _PART_HEAD_BYTES)


def boundary_of(request: Request) -> bytes | None:
    """Return what separates the parts of a form, None where the request is no form.

    Raises:
        BadRequest: it is malformed.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind != b"multipart/form-data":
        return None
    boundary = options.get(b"boundary", b"")
    if not 1 <= len(boundary) <= 70:
        raise BadRequest(f"the form's boundary has {len(boundary)} characters; expected 1 to 70 (RFC 2046)")
    return boundary


async def read_form(request: Request, form: Form, after_each: Callable[[], Awaitable[None]]) -> None:
    """Read a request's form to its end.

    Args:
        request: one whose `boundary_of` is not None.
        form: takes it apart.
        after_each: called after each piece that came, to write what has gathered.

    Raises:
        BadRequest: the form is malformed, or has too much besides its files.
    """
    parser = MultipartParser(boundary_of(request) or b"", form.callbacks())  # type: ignore[arg-type]  # a typed dict
    seen = 0
    try:
        async for chunk in request.stream():
            seen += len(chunk)
            parser.write(chunk)
            if seen > form.file_bytes + form.frame_bytes + len(chunk):
                raise BadRequest(f"the form has more than {form.frame_bytes} bytes besides its files")
            await after_each()
        parser.finalize()
    except MultipartParseError as err:
        raise BadRequest(f"the form is malformed: {str(err)[:200].lower()}") from err
    if not form.is_ended:
        raise BadRequest("the form ends before its last boundary")


class Form:
    """What has been read of a form."""

    def __init__(self, open_file: OpenFile, most_parts: int = MOST_FIELDS) -> None:
        self._open_file = open_file
        self._most_parts = most_parts
        self.frame_bytes = frame_bytes(most_parts)
        self.fields: dict[str, str] = {}
        self.file_bytes = 0
        self.is_ended = False
        self._parts = 0
        self._head: dict[bytes, bytes] = {}
        self._name, self._value = bytearray(), bytearray()
        self._head_bytes = 0
        self._field = ""
        self._taker: Taker | None = None
        self._content = bytearray()

    def callbacks(self) -> dict[str, Any]:
        """Return what the parser calls."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._head_part(self._name, data[start:end]),
            "on_header_value": lambda data, start, end: self._head_part(self._value, data[start:end]),
            "on_header_end": self._head_line,
            "on_headers_finished": self._head_done,
            "on_part_data": lambda data, start, end: self._take(data[start:end]),
            "on_part_end": self._end,
            "on_end": self._finish,
        }

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > self._most_parts:
            raise BadRequest(f"the form has more than {self._most_parts} parts")
        self._head, self._head_bytes = {}, 0
        self._content = bytearray()

    def _head_part(self, kept: bytearray, content: bytes) -> None:
        self._head_bytes += len(content)
        if self._head_bytes > _PART_HEAD_BYTES:
            raise BadRequest(f"a part of the form has a head of more than {_PART_HEAD_BYTES} bytes")
        kept += content

    def _head_line(self) -> None:
        self._head[bytes(self._name).lower()] = bytes(self._value)
        self._name, self._value = bytearray(), bytearray()

    def _head_done(self) -> None:
        _, options = parse_options_header(self._head.get(b"content-disposition", b""))
        self._field = options.get(b"name", b"").decode("utf-8", "replace")
        self._taker = None
        if b"filename" in options:
            self._taker = self._open_file(self._field, options[b"filename"].decode("utf-8", "replace"))

    def _take(self, content: bytes) -> None:
        if self._taker is not None:
            self.file_bytes += len(content)
            self._taker.take(content)
            return
        self._content += content
        if len(self._content) > _FIELD_BYTES:
            raise BadRequest(f"field {self._field[:64]} has more than {_FIELD_BYTES} bytes")

    def _end(self) -> None:
        if self._taker is not None:
            return
        if self._field in self.fields:
            raise BadRequest(f"field {self._field[:64]} is there twice")
        try:
            self.fields[self._field] = self._content.decode()
        except UnicodeDecodeError as err:
            raise BadRequest(f"field {self._field[:64]} is not UTF-8") from err

    def _finish(self) -> None:
        self.is_ended = True
