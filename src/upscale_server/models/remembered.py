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
        text = json.dumps({**self._all(), key: record}, indent=1, sort_keys=True)
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile("w", dir=self._path.parent, delete=False, encoding="utf-8") as part:
                try:
                    part.write(text)
                    part.flush()
                    os.replace(part.name, self._path)  # noqa: PTH105 - the temporary file's name is a text
                except OSError:  # a full disk: not even this may stay
                    Path(part.name).unlink(missing_ok=True)

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
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}
