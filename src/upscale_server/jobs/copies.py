"""The folder of one job's copies for watching: in the state folder, because they outlive the unfinished work.

It knows names and sizes; what a copy is, is `proxies`' business, and when they go the runner's and the janitor's.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path


class Copies:
    """The copies of one job, those of each plan in a place of their own; nothing is made before the first is written.

    Args:
        root: where the copies of all jobs are.
        job_id: the job's name.
    """

    def __init__(self, root: Path, job_id: str) -> None:
        self.path = (root / job_id).absolute()

    def of(self, plan_digest: str) -> Path:
        """Return where the copies of a plan's segments go; those of another plan show another result."""
        return self.path / plan_digest

    def keep_only(self, plan_digest: str) -> None:
        """Remove what shows the results of other plans, which the job went on from."""
        if self.path.is_dir():
            for other in set(self.path.iterdir()) - {self.of(plan_digest)}:
                shutil.rmtree(other, ignore_errors=True)

    def remove(self) -> None:
        """Remove them all; nothing happens where nothing is."""
        shutil.rmtree(self.path, ignore_errors=True)

    def remove_unfinished(self) -> bool:
        """Remove what a writer that was killed left half written, and say whether there was any."""
        parts = list(self.path.rglob("*.part.*"))
        for part in parts:
            part.unlink(missing_ok=True)
        return bool(parts)

    @property
    def byte_count(self) -> int:
        """Return the size of all files; one that goes meanwhile counts nothing."""
        total = 0
        for folder, _, names in os.walk(self.path):
            for name in names:
                try:
                    total += (Path(folder) / name).stat().st_size
                except FileNotFoundError:
                    continue
        return total
