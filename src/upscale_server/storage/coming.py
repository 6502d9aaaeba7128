"""An object on its way from a store to a file: what has come is kept when the connection breaks.

Trying again, and what a fault means, is the store's business.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from upscale_server.disk import check_room, naming_write_faults
from upscale_server.storage.multipart import Client

_READ_BYTES = 1 << 20


class Coming:
    """A context manager: the part file is gone when it ends, and the file is there when `go_on` has returned."""

    def __init__(self, client: Client, place: dict[str, str], path: Path) -> None:
        self._client = client
        self._place = place
        self._path = path
        self._part = path.with_name(f"{path.name}.part")
        self._come = 0
        self._etag = ""

    def go_on(self, check: Callable[[], None]) -> None:
        """Read on from where the last try ended; an object that was replaced since is read from its start.

        Raises:
            DiskFull, StorageError: the file cannot be written.
            Exception: boto3's own: what the store said, or nothing.
        """
        asked = {"Range": f"bytes={self._come}-", "IfMatch": self._etag} if self._come else {}
        try:
            found = self._client.get_object(**self._place, **asked)
        except Exception:
            self._come = 0  # the next try is a whole one: whatever was wrong with the rest, it is not with the start
            raise
        self._etag = found["ETag"]
        with naming_write_faults(self._path):
            check_room(self._path.parent, found["ContentLength"])
            with self._part.open("r+b" if self._come else "wb") as file:
                file.seek(self._come)
                for chunk in found["Body"].iter_chunks(_READ_BYTES):
                    check()
                    self._come += file.write(chunk)
            self._part.replace(self._path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with naming_write_faults(self._part):
            self._part.unlink(missing_ok=True)
