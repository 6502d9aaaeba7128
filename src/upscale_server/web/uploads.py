"""Receives a file from a caller straight to disk: as the whole body or as the one file of a form, never in memory.

What the file is comes out later, in a worker; nothing here looks into it.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anyio import CancelScope
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from upscale_server.disk import SPARE_BYTES, naming_write_faults
from upscale_server.errors import BadRequest, DiskFull, SourceTooLarge
from upscale_server.web.form import MOST_FIELDS, Form, boundary_of, frame_bytes, read_form

_WRITE_BYTES = 1 << 20
"""Bytes that are gathered before a thread writes them."""


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

    def _write(self, content: bytes) -> None:
        check_room(self.path.parent, len(content))
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
async def received(
    request: Request, folder: Path, max_bytes: int, count: Callable[[int], None]
) -> AsyncIterator[Received]:
    """Give the file that a request carries; it is removed again where the block fails.

    Args:
        request: whose body is not read yet.
        folder: where the file is written.
        max_bytes: most bytes of the file.
        count: is given the bytes that came, at the end and whatever became of them; called in a thread.

    Raises:
        SourceTooLarge: it is larger than allowed.
        BadRequest: the form is malformed or carries no file, or more than one.
        DiskFull, StorageError: it cannot be written.
    """
    announced = _announced(request, max_bytes)
    sink = _Sink(folder / secrets.token_hex(16), max_bytes)
    await run_in_threadpool(check_room, folder, announced)
    try:
        file_name, fields = await (_form(request, sink) if boundary_of(request) else _whole(request, sink))
        digest = await _settled(sink)
        yield Received(sink.path, sink.byte_count, digest, file_name, fields)
    except BaseException:
        with CancelScope(shield=True):  # gigabytes are not removed in an instant, and not left behind either
            await run_in_threadpool(sink.discard)
        raise
    finally:
        sink.close()
        with CancelScope(shield=True):
            await run_in_threadpool(count, sink.byte_count)


def check_room(folder: Path, byte_count: int) -> None:
    """Refuse before the disk is full, not when it is: the jobs' database lies on it, too.

    Raises:
        DiskFull: with what is needed and what is free.
    """
    needed, free = byte_count + SPARE_BYTES, _free(folder)
    if free < needed:
        raise DiskFull(
            f"the upload needs {needed} bytes; {free} are free",
            hint="free some space, or set UPSCALE_TEMP_DIR to a folder on a larger disk",
        )


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
    if int(announced) > max_bytes + frame_bytes(MOST_FIELDS):
        raise SourceTooLarge(f"the upload has {announced} bytes; the limit is {max_bytes}, UPSCALE_FETCH__MAX_BYTES")
    return int(announced)


async def _whole(request: Request, sink: _Sink) -> tuple[str, dict[str, str]]:
    async for chunk in request.stream():
        sink.take(chunk)
        await sink.write()
    return "", {}


async def _form(request: Request, sink: _Sink) -> tuple[str, dict[str, str]]:
    names: list[str] = []

    def one_file(field_name: str, file_name: str) -> _Sink:
        names.append(file_name)
        if field_name != "file" or len(names) > 1:
            raise BadRequest(f"the form's file {len(names)} is in field {field_name[:64]!r}; expected one, in `file`")
        return sink

    form = Form(one_file)
    await read_form(request, form, sink.write)
    return "".join(names), form.fields
