"""Receives pictures of a form into files without a name: whatever happens to the request, nothing is left behind.

What a picture is comes out when it is read; nothing here looks into it.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from anyio import CancelScope
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from upscale_server.errors import BadRequest, RequestTooSlow, SourceTooLarge
from upscale_server.image_settings import ImageSettings
from upscale_server.web.form import MOST_FIELDS, Form, boundary_of, frame_bytes, read_form
from upscale_server.web.spool import MEMORY_BYTES, Spool
from upscale_server.web.uploads import check_room

BODY_SECONDS = 1800.0
"""Longest time that a body may take, for it holds a place: a GiB, the most of a batch, comes at 5 Mbit/s in that."""
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
    """A picture's file among the others of its form. One that is too large is named, and the rest of it let go."""

    def __init__(self, name: str, spool: Spool, most_bytes: int) -> None:
        self.name = shown(name)
        self.file_name = name
        self.byte_count = 0
        self._most_bytes = most_bytes
        self._spool = spool
        self._start = spool.byte_count

    @property
    def is_too_large(self) -> bool:
        """Tell whether it has more bytes than allowed."""
        return self.byte_count > self._most_bytes

    def take(self, content: bytes) -> None:
        """Keep bytes for the next write."""
        self.byte_count += len(content)
        if not self.is_too_large:
            self._spool.take(content)

    def read(self) -> bytes:
        """Return all of it.

        Raises:
            SourceTooLarge: it had more bytes than allowed.
        """
        if self.is_too_large:
            raise SourceTooLarge(
                f"source {self.name} has more than {self._most_bytes} bytes; see UPSCALE_IMAGE__MAX_BYTES"
            )
        return self._spool.read(self._start, self.byte_count)

    def close(self) -> None:
        """Do nothing: all files of a form are let go at once, with the request."""


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
        RequestTooSlow: it takes too long to come.
        DiskFull, StorageError: a picture cannot be written.
    """
    announced = _announced(request, bounds)
    if announced > MEMORY_BYTES:
        await run_in_threadpool(check_room, folder, announced)
    files, spool, until = list[Arrived](), Spool(folder), time.monotonic() + BODY_SECONDS
    form = Form(lambda field, name: _next(files, field, name, (spool, bounds)), MOST_FIELDS + bounds.most_files)

    async def write() -> None:
        if form.file_bytes > bounds.most_bytes:
            raise _too_much(form.file_bytes, bounds)
        if time.monotonic() > until:
            raise RequestTooSlow(f"the request's body took more than {BODY_SECONDS:.0f} s; send less at once")
        if spool.is_full:
            await run_in_threadpool(spool.write)

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
        with CancelScope(shield=True):  # gigabytes are not let go in an instant
            await run_in_threadpool(spool.close)


def shown(name: str) -> str:
    """Return a file's name as a message may show it: its last part, of a bounded length, on one line."""
    last = name.replace("\\", "/").rpartition("/")[2]
    kept = "".join(letter if letter.isprintable() else "?" for letter in last)[:_LONGEST_NAME]
    return kept or "(without a name)"


def _next(files: list[Arrived], field: str, name: str, where: tuple[Spool, Bounds]) -> Arrived:
    spool, bounds = where
    if field != bounds.field or len(files) >= bounds.most_files:
        many = "one" if bounds.most_files == 1 else f"at most {bounds.most_files} (UPSCALE_IMAGE__BATCH_FILES)"
        raise BadRequest(
            f"the form's file {len(files) + 1} is in field {field[:64]!r}; expected {many}, in `{bounds.field}`"
        )
    files.append(Arrived(name, spool, bounds.most_bytes_each))
    return files[-1]


def _announced(request: Request, bounds: Bounds) -> int:
    """Return how much is said to come, 0 where nothing is said; what is too large is refused."""
    announced = request.headers.get("content-length", "")
    if not announced.isdigit():
        return 0
    if int(announced) > bounds.most_bytes + frame_bytes(MOST_FIELDS + bounds.most_files):
        raise _too_much(int(announced), bounds)
    return int(announced)


def _too_much(byte_count: int, bounds: Bounds) -> SourceTooLarge:
    setting = "UPSCALE_IMAGE__MAX_BYTES" if bounds.most_files == 1 else "UPSCALE_IMAGE__BATCH_BYTES"
    return SourceTooLarge(f"the upload has {byte_count} bytes or more; the limit is {bounds.most_bytes}, see {setting}")
