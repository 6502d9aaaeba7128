"""What was measured to be fastest here, kept in a file, so that it is measured once.

It remembers; measuring and choosing belong to `select`. A file that cannot be read is as good as none: what it held is
measured again. One that cannot be written costs time and no result.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to run a network: the names that `load` takes."""

    engine: str
    precision: str


class Choices:
    """The remembered choices of one state folder."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def recall(self, key: str) -> Candidate | None:
        """Return what was chosen under a key, or None where nothing readable is remembered."""
        found = self._all().get(key)
        if not isinstance(found, dict):
            return None
        engine, precision = found.get("engine"), found.get("precision")
        return Candidate(engine, precision) if isinstance(engine, str) and isinstance(precision, str) else None

    def remember(self, key: str, chosen: Candidate, facts: dict[str, Any]) -> None:  # JSON values of many types
        """Keep a choice, and beside it the facts it was made from, for the person who reads the file.

        Two processes that write at once leave one of the two files, whole.
        """
        record = {"engine": chosen.engine, "precision": chosen.precision, **facts}
        text = json.dumps({**self._all(), key: record}, indent=1, sort_keys=True)
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile("w", dir=self._path.parent, delete=False, encoding="utf-8") as part:
                part.write(text)
            os.replace(part.name, self._path)  # noqa: PTH105 - the temporary file's name is a text

    def _all(self) -> dict[str, Any]:
        try:
            found = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}
