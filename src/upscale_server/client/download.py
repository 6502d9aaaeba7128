"""Brings a result here and goes on where it broke off, in this run or in a later one.

It asks for bytes and writes them; whose link it is, and which key goes with it, is the caller's business.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import httpx

from upscale_server.client.answers import error_of
from upscale_server.disk import naming_write_faults
from upscale_server.errors import ServerUnreachable

ATTEMPTS = 6
"""Tries in a row that bring nothing new; with their pauses they cover a server's restart of some ten seconds."""
_FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 8.0

Watch = Callable[[int, int | None], None]
"""Called with the bytes that are here and the bytes of the whole, None where the server does not say."""
Open = Callable[[dict[str, str]], AbstractContextManager[httpx.Response]]
"""Sends the request with these headers and gives the streamed answer."""


@dataclass(frozen=True, slots=True)
class _Part:
    """The unfinished file and the ETag of what it is a part of."""

    path: Path
    tag_path: Path

    @classmethod
    def of(cls, target: Path) -> _Part:
        return cls(target.with_name(f"{target.name}.part"), target.with_name(f"{target.name}.part.etag"))

    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def headers(self) -> dict[str, str]:
        """Ask for the rest, and for the whole should the object have become another."""
        tag = self.tag_path.read_text(encoding="utf-8") if self.tag_path.exists() else ""
        if not tag or not self.size():
            return {}
        return {"Range": f"bytes={self.size()}-", "If-Range": tag}

    def remember(self, response: httpx.Response) -> None:
        tag = response.headers.get("etag", "")
        if tag and not tag.startswith("W/"):  # RFC 9110, 13.1.5: a weak one does not say that bytes are equal
            self.tag_path.write_text(tag, encoding="utf-8")
        else:
            self.tag_path.unlink(missing_ok=True)

    def drop(self) -> None:
        self.path.unlink(missing_ok=True)
        self.tag_path.unlink(missing_ok=True)


def unwatched(here: int, total: int | None) -> None:
    """Watch nothing."""
    del here, total


def download(request: Open, target: Path, watch: Watch) -> Path:
    """Write an answer's body to `target`, which appears under its name only when it is whole.

    Raises:
        UpscaleError: what the server said (NotFound, Gone, Forbidden ...).
        ServerUnreachable: the connection broke again and again; the part stays and the next call goes on.
        DiskFull, StorageError: the file cannot be written.
    """
    part, tries = _Part.of(target), 0
    while True:
        before = part.size()
        try:
            with request(part.headers()) as response:
                if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE and before:
                    part.drop()  # there is no rest: what is here is of another object
                    continue
                _receive(response, part, watch)
            break
        except httpx.TransportError as err:
            tries = 1 if part.size() > before else tries + 1
            if tries >= ATTEMPTS:
                raise ServerUnreachable(f"the download of {target.name} broke {tries} times: {err}") from err
            time.sleep(min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2**tries))
    with naming_write_faults(target):
        part.path.replace(target)
        part.tag_path.unlink(missing_ok=True)
    return target


def _receive(response: httpx.Response, part: _Part, watch: Watch) -> None:
    if not response.is_success:
        response.read()
        raise error_of(response)
    begin = part.size() if response.status_code == httpx.codes.PARTIAL_CONTENT else 0
    length = response.headers.get("content-length")
    total = begin + int(length) if length else None
    if begin and not response.headers.get("content-range", "").startswith(f"bytes {begin}-"):
        part.drop()
        raise httpx.RemoteProtocolError(f"asked for the bytes from {begin} on and got others")
    if not begin:
        part.drop()
        part.remember(response)
    with naming_write_faults(part.path), part.path.open("ab" if begin else "wb") as file:
        here = begin
        for chunk in _chunks(response):
            file.write(chunk)
            here += len(chunk)
            watch(here, total)
        file.flush()
        os.fsync(file.fileno())


def _chunks(response: httpx.Response) -> Iterator[bytes]:
    """Yield the bytes as they came: a range counts them, so that nothing may unpack them on the way."""
    yield from response.iter_raw()  # with a chunk size, what is collected for the next chunk would be lost in a break
