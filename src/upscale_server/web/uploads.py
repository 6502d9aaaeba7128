"""Receives a file from a caller straight to disk: as the whole body or as the one file of a form, never in memory.

What the file is comes out later, in a worker; nothing here looks into it.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anyio import CancelScope
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from upscale_server.disk import naming_write_faults
from upscale_server.errors import BadRequest, DiskFull, SourceTooLarge

_WRITE_BYTES = 1 << 20
"""Bytes that are gathered before a thread writes them."""
SPARE_BYTES = 64 << 20
"""Left free on the disk: uploads side by side each write a MiB past their look at it, and jobs need room, too."""
_MOST_PARTS = 32
_FIELD_BYTES = 8192
_PART_HEAD_BYTES = 8192
_FRAME_BYTES = _MOST_PARTS * (_FIELD_BYTES + _PART_HEAD_BYTES)
"""What a form may hold besides the file."""


@dataclass(frozen=True, slots=True)
class Received:
    """A file that has arrived and lies on the disk for good."""

    path: Path
    byte_count: int
    sha256: str
    file_name: str = ""
    fields: dict[str, str] = field(default_factory=dict)


class _Sink:
    """Writes what arrives, counts it and hashes it."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._hash = hashlib.sha256()
        self._waiting = bytearray()
        self._file: Any = None  # opened in a thread with the first bytes
        self.byte_count = 0

    def take(self, content: bytes) -> None:
        """Keep bytes for the next write.

        Raises:
            SourceTooLarge: there are more of them than allowed.
        """
        self.byte_count += len(content)
        if self.byte_count > self._max_bytes:
            raise SourceTooLarge(
                f"the upload has more than {self._max_bytes} bytes; see UPSCALE_FETCH__MAX_BYTES",
            )
        self._waiting += content

    async def write(self, *, all_of_it: bool = False) -> None:
        """Write what has gathered."""
        if all_of_it or len(self._waiting) >= _WRITE_BYTES:
            content, self._waiting = bytes(self._waiting), bytearray()
            await run_in_threadpool(self._write, content)

    def check_room(self, byte_count: int) -> None:
        """Refuse before the disk is full, not when it is: the jobs' database lies on it, too.

        Raises:
            DiskFull: with what is needed and what is free.
        """
        needed, free = byte_count + SPARE_BYTES, _free(self.path.parent)
        if free < needed:
            raise DiskFull(
                f"the upload needs {needed} bytes; {free} are free",
                hint="free some space, or set UPSCALE_TEMP_DIR to a folder on a larger disk",
            )

    def _write(self, content: bytes) -> None:
        self.check_room(len(content))
        with naming_write_faults(self.path):
            if self._file is None:
                self._file = self.path.open("xb")
            self._file.write(content)
            self._hash.update(content)

    def settle(self) -> str:
        """Bring the file to the disk for good and return its hash: an accepted job must survive a power cut."""
        with naming_write_faults(self.path):
            self._file.flush()
            os.fsync(self._file.fileno())
            folder = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        return self._hash.hexdigest()

    def close(self) -> None:
        """Close the file; safe to call twice."""
        if self._file is not None:
            self._file.close()

    def discard(self) -> None:
        """Leave nothing behind."""
        self.close()
        self.path.unlink(missing_ok=True)


@asynccontextmanager
async def received(request: Request, folder: Path, max_bytes: int) -> AsyncIterator[Received]:
    """Give the file that a request carries; it is removed again where the block fails.

    Raises:
        SourceTooLarge: it is larger than allowed.
        BadRequest: the form is malformed or carries no file, or more than one.
        DiskFull, StorageError: it cannot be written.
    """
    announced = _announced(request, max_bytes)
    sink = _Sink(folder / secrets.token_hex(16), max_bytes)
    await run_in_threadpool(sink.check_room, announced)
    try:
        form = await _form(request, sink) if _boundary(request) else await _whole(request, sink)
        digest = await _settled(sink)
        yield Received(sink.path, sink.byte_count, digest, form.file_name, form.fields)
    except BaseException:
        with CancelScope(shield=True):  # gigabytes are not removed in an instant, and not left behind either
            await run_in_threadpool(sink.discard)
        raise
    finally:
        sink.close()


def _free(folder: Path) -> int:
    return shutil.disk_usage(folder).free


async def _settled(sink: _Sink) -> str:
    """Write the last bytes for good and return the file's hash."""
    if not sink.byte_count:
        raise BadRequest("the upload is empty", hint="send the video as the body, or as the form's field `file`")
    await sink.write(all_of_it=True)
    return await run_in_threadpool(sink.settle)


def _announced(request: Request, max_bytes: int) -> int:
    """Return how much is said to come, 0 where nothing is said; what is too large is refused."""
    announced = request.headers.get("content-length", "")
    if not announced.isdigit():
        return 0
    if int(announced) > max_bytes + _FRAME_BYTES:
        raise SourceTooLarge(f"the upload has {announced} bytes; the limit is {max_bytes}, UPSCALE_FETCH__MAX_BYTES")
    return int(announced)


def _boundary(request: Request) -> bytes | None:
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind != b"multipart/form-data":
        return None
    boundary = options.get(b"boundary", b"")
    if not 1 <= len(boundary) <= 70:
        raise BadRequest(f"the form's boundary has {len(boundary)} characters; expected 1 to 70 (RFC 2046)")
    return boundary


async def _whole(request: Request, sink: _Sink) -> _Form:
    async for chunk in request.stream():
        sink.take(chunk)
        await sink.write()
    return _Form(sink)


async def _form(request: Request, sink: _Sink) -> _Form:
    form = _Form(sink)
    parser = MultipartParser(_boundary(request) or b"", form.callbacks())  # type: ignore[arg-type]  # a typed dict
    seen = 0
    try:
        async for chunk in request.stream():
            seen += len(chunk)
            parser.write(chunk)
            if seen > sink.byte_count + _FRAME_BYTES + len(chunk):
                raise BadRequest(f"the form has more than {_FRAME_BYTES} bytes besides its file")
            await sink.write()
        parser.finalize()
    except MultipartParseError as err:
        raise BadRequest(f"the form is malformed: {str(err)[:200].lower()}") from err
    if not form.is_ended:
        raise BadRequest("the form ends before its last boundary")
    return form


class _Form:
    """Takes a form apart as it arrives: one file, and short fields."""

    def __init__(self, sink: _Sink) -> None:
        self._sink = sink
        self.fields: dict[str, str] = {}
        self.file_name = ""
        self.is_ended = False
        self._parts = self._files = 0
        self._head: dict[bytes, bytes] = {}
        self._name, self._value = bytearray(), bytearray()
        self._head_bytes = 0
        self._field: str | None = None
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
        if self._parts > _MOST_PARTS:
            raise BadRequest(f"the form has more than {_MOST_PARTS} parts")
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
        name = options.get(b"name", b"").decode("utf-8", "replace")
        if b"filename" not in options:
            self._field = name
            return
        self._field = None
        self._files += 1
        if name != "file" or self._files > 1:
            raise BadRequest(f"the form's file {self._files} is in field {name[:64]!r}; expected one, in `file`")
        self.file_name = options[b"filename"].decode("utf-8", "replace")

    def _take(self, content: bytes) -> None:
        if self._field is None:
            self._sink.take(content)
            return
        self._content += content
        if len(self._content) > _FIELD_BYTES:
            raise BadRequest(f"field {self._field[:64]} has more than {_FIELD_BYTES} bytes")

    def _end(self) -> None:
        if self._field is None:
            return
        if self._field in self.fields:
            raise BadRequest(f"field {self._field[:64]} is there twice")
        try:
            self.fields[self._field] = self._content.decode()
        except UnicodeDecodeError as err:
            raise BadRequest(f"field {self._field[:64]} is not UTF-8") from err

    def _finish(self) -> None:
        self.is_ended = True
