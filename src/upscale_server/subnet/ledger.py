"""Which of our jobs answer a validator's job: one small file each, so that a restarted miner still knows.

It keeps names only; states and results are asked of the service.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from pathlib import Path

from upscale_server.disk import naming_write_faults

_KEPT_SECONDS = 172_800.0
"""Two days: validators ask for minutes, and links to results work for one day."""


class Ledger:
    """The folder of the files; safe to use from several threads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with naming_write_faults(folder):
            folder.mkdir(parents=True, exist_ok=True)

    def keep(self, their_id: str, our_ids: list[str]) -> None:
        """Record the jobs of ours that a validator's job became; what is old is removed."""
        self._sweep()
        path = self._path(their_id)
        part = path.with_suffix(f".{secrets.token_hex(8)}.part")
        with naming_write_faults(path):
            part.write_text(json.dumps(our_ids), encoding="utf-8")
            part.replace(path)

    def find(self, their_id: str) -> list[str] | None:
        """Return our jobs in the order of the request, or None for a job that is not known."""
        try:
            found = json.loads(self._path(their_id).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None
        return [str(one) for one in found]

    def _path(self, their_id: str) -> Path:
        return self._folder / f"{hashlib.sha256(their_id.encode()).hexdigest()}.json"  # an id may be any text

    def _sweep(self) -> None:
        oldest = time.time() - _KEPT_SECONDS
        for path in self._folder.iterdir():
            try:
                if path.stat().st_mtime < oldest:
                    path.unlink()
            except FileNotFoundError:
                continue  # another thread was faster
