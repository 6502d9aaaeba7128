"""A file's outermost boxes: where QuickTime's header lies, and empty room at the end that makes a size one of a kind.

It reads and appends whole boxes; what is in them is FFmpeg's business.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from upscale_server.disk import naming_write_faults
from upscale_server.errors import UpscaleError

_HEADER = 8
_WIDE_HEADER = 16
_VOID = 0xEC  # Matroska's element for room that is skipped (RFC 9559)
_VOID_LENGTH = 0x01  # the first byte of a length that takes all eight bytes, so that any size fits (RFC 8794)
_VOID_HEADER = 9
LEAST_PADDING = 9
"""The smallest padding that both containers can write."""


@dataclass(frozen=True, slots=True)
class Box:
    """A box of an MP4 or QuickTime file: its type, where it starts, and its length with its header."""

    kind: str
    start: int
    length: int


def outer_boxes(path: Path) -> tuple[Box, ...]:
    """Return the outermost boxes of an MP4 file in order; what is no box ends the list."""
    boxes: list[Box] = []
    size, start = path.stat().st_size, 0
    with path.open("rb") as file:
        while start + _HEADER <= size:
            file.seek(start)
            length, kind = struct.unpack(">I4s", file.read(_HEADER))
            if length == 1:
                length = int.from_bytes(file.read(_WIDE_HEADER - _HEADER))
            length = length or size - start
            if length < _HEADER or start + length > size or not kind.isascii():
                break
            boxes.append(Box(kind.decode("ascii"), start, length))
            start += length
    return tuple(boxes)


def pad(path: Path, byte_count: int, container: str) -> None:
    """Append an empty box of `byte_count` bytes in all, which every reader skips; 0 appends nothing.

    Raises:
        UpscaleError: fewer bytes than a box has.
        DiskFull, StorageError: it cannot be written.
    """
    if byte_count == 0:
        return
    if byte_count < LEAST_PADDING:
        raise UpscaleError(f"padding is {byte_count} bytes; a box has {LEAST_PADDING} or more")
    if container in ("matroska", "webm"):
        rest = byte_count - _VOID_HEADER
        header = bytes([_VOID, _VOID_LENGTH]) + rest.to_bytes(7)
    else:
        header = struct.pack(">I4s", byte_count, b"free")
    with naming_write_faults(path), path.open("ab") as file:
        file.write(header + bytes(byte_count - len(header)))
