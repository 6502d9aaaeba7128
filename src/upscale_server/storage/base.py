"""What a place for results must offer, so that a folder and an object store are one thing to the rest.

It names the promise and keeps no bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class About:
    """What is said of an object when it is stored and when it is downloaded; the name is any text."""

    content_type: str = "video/mp4"
    file_name: str = "upscaled.mp4"


@dataclass(frozen=True, slots=True)
class Stored:
    """An object that is there; `modified` in seconds since the epoch, `etag` without quotes."""

    key: str
    byte_count: int
    modified: float
    etag: str


@dataclass(frozen=True, slots=True)
class Unfinished:
    """An upload in parts that is neither finished nor given up; `began` in seconds since the epoch."""

    key: str
    upload_id: str
    began: float


def go_on() -> None:
    """Find no reason to stop."""


@dataclass(frozen=True, slots=True)
class UploadMemory:
    """Remembers a multipart upload outside this process, so that one that died can be aborted or gone on with.

    `upload_id` is the one an earlier attempt left, None at first; `remember` is called before every try, and with None
    when the upload is over. `check` is called between parts, and often while a store that is away is waited for. What
    either raises ends the upload.
    """

    upload_id: str | None
    remember: Callable[[str | None], None]
    check: Callable[[], None] = go_on


class ObjectStore(Protocol):
    """Keeps finished files under keys of ours (`results/<job id>.mp4`); safe to call from several threads."""

    def put(self, path: Path, key: str, about: About, upload: UploadMemory) -> Stored:
        """Store a file; storing the same key again replaces it, a reader never sees a half.

        Raises:
            StorageError: the store did not take it in `retry_seconds`, or refuses us (not tried again).
            DiskFull: the folder's disk is full.
        """

    def head(self, key: str) -> Stored | None:
        """Return what is known of an object, or None where there is none."""

    def get(self, key: str, path: Path, check: Callable[[], None] = go_on) -> None:
        """Write an object to a file, which is there only when it is whole; a broken transfer goes on where it was.

        `check` is called often, also while a store that is away is waited for; what it raises ends that.

        Raises:
            StorageError: there is no such object, or the store did not give it in `retry_seconds`.
            DiskFull: the file's disk is full.
        """

    def link(self, key: str, about: About, seconds: int) -> str:
        """Return an address that gives the object to anyone for `seconds` (60 to 604 800, else clamped).

        A local store gives a path that begins with a slash; the caller puts its own address before it.
        """

    def delete(self, key: str) -> None:
        """Remove an object; nothing happens where there is none."""

    def abort(self, key: str, upload_id: str) -> None:
        """Give up a multipart upload that an attempt left; nothing happens where there is none."""

    def listed(self, prefix: str = "") -> Iterator[Stored]:
        """Yield the objects whose keys begin with `prefix`."""

    def uploads(self, prefix: str) -> Iterator[Unfinished]:
        """Yield the uploads of ours whose keys begin with `prefix`; a store without parts has none."""

    def sweep(self, older_than_seconds: float) -> int:
        """Abort uploads and remove part files that nobody has touched for so long; return how many."""

    def check(self) -> None:
        """Write, read and remove a small object.

        Raises:
            StorageError: with what the store answered and which setting is likely wrong.
        """
