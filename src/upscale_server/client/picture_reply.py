"""Takes an answer's picture to a file and makes sure that it is one, and whole, before anyone sees it.

It decodes nothing: a picture's first and last bytes say what it is and whether its end is there.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import httpx

from upscale_server.disk import naming_write_faults
from upscale_server.errors import ServerUnreachable

_PNG_BEGIN, _PNG_END = b"\x89PNG\r\n\x1a\n", b"\x00\x00\x00\x00IEND\xae\x42\x60\x82"
_HEAD_BYTES = 24
"""Enough of a PNG for its width and height (W3C PNG, 11.2.1)."""
_TEXT_BYTES = 65_536
"""Most that is read of an answer that is no picture: enough for an error, not enough to be kept busy with."""


@dataclass(frozen=True, slots=True)
class Received:
    """What came: bytes on disk, the size as `WxH` where it is known, and the model that the server named."""

    bytes: int
    size: str
    model: str


def read_text(response: httpx.Response) -> httpx.Response:
    """Return the answer with its body read, cut to what an error needs."""
    body = b""
    for chunk in response.iter_bytes():
        body += chunk
        if len(body) >= _TEXT_BYTES:
            break
    headers = [(k, v) for k, v in response.headers.items() if k not in ("content-encoding", "content-length")]
    return httpx.Response(response.status_code, headers=headers, content=body[:_TEXT_BYTES], request=response.request)


def receive(response: httpx.Response, part: Path) -> Received:
    """Write the picture of a good answer to `part`, which is on the disk and whole when this returns.

    Raises:
        NoPicture: it is something else, or its end is missing.
        httpx.TransportError: the connection broke.
        DiskFull, StorageError: the file cannot be written.
    """
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if not kind.startswith("image/"):
        said = " ".join(read_text(response).text.split())[:200]
        raise NoPicture(
            f"{_place(response)} answered with {kind or 'something unnamed'} and not with a picture: {said!r}"
        )
    with naming_write_faults(part), part.open("w+b") as file:
        for chunk in response.iter_bytes():
            file.write(chunk)
        size = _size_of(file, response, response.headers.get("x-output-size", ""))
        length = file.tell()
        file.flush()
        os.fsync(file.fileno())
    return Received(length, size, response.headers.get("x-model", ""))


class NoPicture(ServerUnreachable):
    """The server's answer is no whole picture."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail, hint="something else than an image server may be listening there; see --info")


def _place(response: httpx.Response) -> str:
    return f"{response.url.scheme}://{response.url.netloc.decode('ascii', 'replace')}{response.url.path}"


def _size_of(file: BinaryIO, response: httpx.Response, said: str) -> str:
    """Return the picture's size; the file's position is at its end afterwards."""
    length = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(_HEAD_BYTES)
    file.seek(max(0, length - len(_PNG_END)))
    tail = file.read()
    if not _is_picture(head):
        raise NoPicture(f"{_place(response)} answered with {length} bytes that are no PNG, JPEG or WebP picture")
    if not _is_whole(head, tail, length):
        raise NoPicture(f"{_place(response)} answered with a picture whose end is missing, after {length} bytes")
    if head.startswith(_PNG_BEGIN):
        found = f"{int.from_bytes(head[16:20])}x{int.from_bytes(head[20:24])}"
        if said and said != found:
            raise NoPicture(f"{_place(response)} said X-Output-Size: {said} and sent a picture of {found}")
        return found
    return said


def _is_picture(head: bytes) -> bool:
    is_webp = head.startswith(b"RIFF") and head[8:12] == b"WEBP"
    return head.startswith((_PNG_BEGIN, b"\xff\xd8\xff")) or is_webp


def _is_whole(head: bytes, tail: bytes, length: int) -> bool:
    if head.startswith(_PNG_BEGIN):
        return tail == _PNG_END
    if head.startswith(b"RIFF"):
        return length >= 8 + int.from_bytes(head[4:8], "little")
    return tail.endswith(b"\xff\xd9")
