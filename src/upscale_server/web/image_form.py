"""Receives pictures of a form into files without a name: whatever happens to the request, nothing is left behind.

What a picture is comes out when it is read; nothing here looks into it.
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from anyio import CancelScope
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from upscale_server.disk import naming_write_faults
from upscale_server.errors import BadRequest, SourceTooLarge
from upscale_server.image_settings import ImageSettings
from upscale_server.web.form import MOST_FIELDS, Form, boundary_of, frame_bytes, read_form

_WRITE_BYTES = 1 << 20
"""Bytes that are kept in memory; a larger picture goes to the disk, so that those who wait cost no memory."""
_LONGEST_NAME = 200


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a form may bring: files of one field, how many, and how many bytes each and together."""

    field: str
    most_files: int
    most_bytes_each: int
    most_bytes: int

    @classmethod
    def of_one(cls, settings: ImageSettings) -> Bounds:
        """Return those of a single picture."""
        return cls("file", 1, settings.max_bytes, settings.max_bytes)

    @classmethod
    def of_batch(cls, settings: ImageSettings) -> Bounds:
        """Return those of a batch."""
        return cls("files", settings.batch_files, settings.max_bytes, settings.batch_bytes)


class Arrived:
    """A picture's file; small ones stay in memory. One that is too large is named, and its bytes are let go."""

    def __init__(self, name: str, folder: Path, most_bytes: int) -> None:
        self.name = shown(name)
        self.file_name = name
        self.byte_count = 0
        self._most_bytes = most_bytes
        self._folder = folder
        self._waiting = bytearray()
        self._file: IO[bytes] | None = None

    @property
    def is_too_large(self) -> bool:
        """Tell whether it has more bytes than allowed."""
        return self.byte_count > self._most_bytes

    def take(self, content: bytes) -> None:
        """Keep bytes for the next write."""
        self.byte_count += len(content)
        if self.is_too_large:
            self.close()
        else:
            self._waiting += content

    @property
    def is_full(self) -> bool:
        """Tell whether so much has gathered that it should go to the disk."""
        return len(self._waiting) >= _WRITE_BYTES

    def write(self) -> None:
        """Write what has gathered.

        Raises:
            DiskFull, StorageError: it cannot be written.
        """
        with naming_write_faults(self._folder):
            if self._file is None:
                # It has no name from the start (O_TMPFILE): a killed process leaves nothing of it.
                self._file = tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115 - closed by `close`
            content, self._waiting = self._waiting, bytearray()
            while content:
                del content[: self._file.write(content)]

    def read(self) -> bytes:
        """Return all of it.

        Raises:
            SourceTooLarge: it had more bytes than allowed.
        """
        if self.is_too_large:
            raise SourceTooLarge(
                f"source {self.name} has more than {self._most_bytes} bytes; see UPSCALE_IMAGE__MAX_BYTES"
            )
        if self._file is None:
            return bytes(self._waiting)
        self._file.seek(0)
        return self._file.read() + bytes(self._waiting)

    def close(self) -> None:
        """Let it go; safe to call twice."""
        self._waiting = bytearray()
        if self._file is not None:
            self._file.close()
            self._file = None


@dataclass(frozen=True, slots=True)
class Pictures:
    """What a form brought."""

    files: tuple[Arrived, ...]
    fields: dict[str, str]


@asynccontextmanager
async def pictures_in(
    request: Request, folder: Path, bounds: Bounds, count: Callable[[int], None]
) -> AsyncIterator[Pictures]:
    """Give the pictures of a request; they are let go when the block ends.

    Args:
        request: whose body is not read yet.
        folder: where what is too much for memory is written.
        bounds: what may come.
        count: is given the bytes that came, before the block and also where it is not reached; called in a thread.

    Raises:
        BadRequest: the request is no form, or a malformed one, or has no picture or too many.
        SourceTooLarge: there is more than allowed.
        DiskFull, StorageError: a picture cannot be written.
    """
    _check_announced(request, bounds)
    files: list[Arrived] = []
    form = Form(lambda field, name: _next(files, field, name, (folder, bounds)), MOST_FIELDS + bounds.most_files)

    async def write() -> None:
        if form.file_bytes > bounds.most_bytes:
            raise _too_much(form.file_bytes, bounds)
        for one in files[-1:]:
            if one.is_full:
                await run_in_threadpool(one.write)

    try:
        if not boundary_of(request):
            raise BadRequest(
                f"the body is no form; send the picture as its field `{bounds.field}`",
                hint=f"curl -F '{bounds.field}=@input.png'; /docs has the whole call",
            )
        try:
            await read_form(request, form, write)
        finally:
            with CancelScope(shield=True):
                await run_in_threadpool(count, form.file_bytes)
        if not files:
            raise BadRequest(f"field {bounds.field} is missing: send the picture there, as a file")
        yield Pictures(tuple(files), form.fields)
    finally:
        for one in files:
            one.close()


def shown(name: str) -> str:
    """Return a file's name as a message may show it: its last part, of a bounded length, on one line."""
    last = name.replace("\\", "/").rpartition("/")[2]
    kept = "".join(letter if letter.isprintable() else "?" for letter in last)[:_LONGEST_NAME]
    return kept or "(without a name)"


def _next(files: list[Arrived], field: str, name: str, where: tuple[Path, Bounds]) -> Arrived:
    folder, bounds = where
    if field != bounds.field or len(files) >= bounds.most_files:
        many = "one" if bounds.most_files == 1 else f"at most {bounds.most_files} (UPSCALE_IMAGE__BATCH_FILES)"
        raise BadRequest(
            f"the form's file {len(files) + 1} is in field {field[:64]!r}; expected {many}, in `{bounds.field}`"
        )
    files.append(Arrived(name, folder, bounds.most_bytes_each))
    return files[-1]


def _check_announced(request: Request, bounds: Bounds) -> None:
    announced = request.headers.get("content-length", "")
    most = bounds.most_bytes + frame_bytes(MOST_FIELDS + bounds.most_files)
    if announced.isdigit() and int(announced) > most:
        raise _too_much(int(announced), bounds)


def _too_much(byte_count: int, bounds: Bounds) -> SourceTooLarge:
    setting = "UPSCALE_IMAGE__MAX_BYTES" if bounds.most_files == 1 else "UPSCALE_IMAGE__BATCH_BYTES"
    return SourceTooLarge(f"the upload has {byte_count} bytes or more; the limit is {bounds.most_bytes}, see {setting}")
