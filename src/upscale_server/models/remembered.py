"""A small JSON file of what was found out on this machine, so that it is found out once.

A file that cannot be read is as good as none: what it held is found out again. One that cannot be written costs time
and no result. What the records mean is known by whoever keeps them.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_LEAST, _MOST = 1e-9, 1e15
"""Seconds, bytes and pixels lie between; what does not is a damaged file, and would make sums that cannot be held."""


def is_figure(value: object) -> bool:
    """Tell whether a remembered value is a number that can be reckoned with: zero, or within all that is measured."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return value == 0 or _LEAST <= value <= _MOST


def is_count(value: object) -> bool:
    """Tell whether a remembered value is a whole number that can be reckoned with."""
    return isinstance(value, int) and is_figure(value)


class Remembered:
    """Records by key in one file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def get(self, key: str) -> dict[str, Any]:  # JSON values of many types
        """Return the record of a key; an empty one where nothing readable is remembered."""
        found = self._all().get(key)
        return found if isinstance(found, dict) else {}

    def put(self, key: str, record: dict[str, Any]) -> None:  # JSON values of many types
        """Keep a record. Two processes that write at once leave one of the two files, whole."""
        self._write({**self._all(), key: record}, sort_keys=True)

    def _write(self, records: dict[str, Any], *, sort_keys: bool) -> None:  # JSON values of many types
        text = json.dumps(records, indent=1, sort_keys=sort_keys)
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile("w", dir=self._path.parent, delete=False, encoding="utf-8") as part:
                try:
                    part.write(text)
                    part.flush()
                    os.replace(part.name, self._path)  # noqa: PTH105 - the temporary file's name is a text
                except OSError:  # a full disk: not even this may stay
                    Path(part.name).unlink(missing_ok=True)

    def all(self) -> dict[str, Any]:  # JSON values of many types
        """Return all records by key; none where the file cannot be read."""
        return {key: found for key, found in self._all().items() if isinstance(found, dict)}

    def put_newest(self, key: str, record: dict[str, Any], most: int) -> None:  # JSON values of many types
        """Keep a record as the newest, and of all whose key begins like it, up to a colon, only so many newest.

        The file keeps its order, and who writes at the same time waits: nothing is lost.
        """
        kind = key.partition(":")[0]
        with self.alone():
            kept = {name: value for name, value in self._all().items() if name != key} | {key: record}
            same = [name for name in kept if name.partition(":")[0] == kind]
            for name in same[: max(0, len(same) - most)]:
                del kept[name]
            self._write(kept, sort_keys=False)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes and threads out that find the same out: who waited finds the record.

        Where no lock can be had, nobody is kept out.
        """
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(OSError):
                self._path.parent.mkdir(parents=True, exist_ok=True)
                lock = stack.enter_context(self._path.with_name(f"{self._path.name}.lock").open("a"))
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _all(self) -> dict[str, Any]:
        try:
            found = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}
