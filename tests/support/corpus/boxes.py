"""MP4 files taken apart and bent: where a box lies, and the same file with other bytes there.

It knows nothing of what the bytes mean.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

_WITH_CHILDREN = {
    b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"udta", b"moof", b"traf", b"dinf", b"mvex",
}  # fmt: skip
_SIZED_64_BITS, _TO_THE_END = 1, 0


@dataclass(frozen=True, slots=True)
class Box:
    """A box: the names on the way to it, where it begins, and how long its head and all of it are."""

    path: tuple[bytes, ...]
    offset: int
    head: int
    size: int

    @property
    def body(self) -> int:
        """Return where its body begins."""
        return self.offset + self.head


def boxes(content: bytes, start: int = 0, stop: int | None = None, path: tuple[bytes, ...] = ()) -> Iterator[Box]:
    """Yield the boxes of a file, each before those inside it."""
    stop = len(content) if stop is None else stop
    while start + 8 <= stop:
        size, kind = struct.unpack_from(">I4s", content, start)
        head = 8
        if size == _SIZED_64_BITS:
            (size,) = struct.unpack_from(">Q", content, start + 8)
            head = 16
        if size == _TO_THE_END:
            size = stop - start
        if size < head or start + size > stop:
            return
        box = Box((*path, kind), start, head, size)
        yield box
        if kind in _WITH_CHILDREN:
            yield from boxes(content, box.body, start + size, box.path)
        start += size


def first_box(content: bytes, kind: bytes) -> Box:
    """Return the first box of a kind."""
    return next(box for box in boxes(content) if box.path[-1] == kind)


def has_box(content: bytes, kind: bytes) -> bool:
    """Tell whether there is a box of a kind."""
    return any(box.path[-1] == kind for box in boxes(content))


def patched(content: bytes, offset: int, new: bytes) -> bytes:
    """Return the file with other bytes at a place."""
    return content[:offset] + new + content[offset + len(new) :]


def patched_box(content: bytes, kind: bytes, offset: int, new: bytes) -> bytes:
    """Return the file with other bytes in the body of the first box of a kind."""
    return patched(content, first_box(content, kind).body + offset, new)


def only(content: bytes, *kinds: bytes) -> bytes:
    """Return the outermost boxes of these kinds."""
    return b"".join(
        content[box.offset : box.offset + box.size]
        for box in boxes(content)
        if len(box.path) == 1 and box.path[0] in kinds
    )
