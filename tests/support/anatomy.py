"""Which of a video server's processes is which, read from /proc, and what a run of jobs left on its disk.

It starts and ends nothing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from tests.support.processes import command_line, descendants, parent_of

KINDS = ("server", "lane", "desk", "door", "inmate")
"""The server itself; what holds networks; what opens files for it; the two layers of the cages of both."""

RESULT = re.compile(r"results/[0-9a-f]{32}\.mp4")


def anatomy(server: int) -> dict[str, list[int]]:
    """Return the processes of a running server by what they are; one that comes or goes meanwhile may be missing."""
    everyone = descendants(server)
    found: dict[str, list[int]] = {kind: [] for kind in KINDS}
    found["server"] = [server]
    doors = {pid: line for pid in everyone if b"cage.door" in (line := command_line(pid))}
    for door, line in doors.items():
        inmates = descendants(door)
        found["inmate"] += inmates
        found["door"] += [] if door in found["inmate"] else [door]
        worker = parent_of(door)
        if worker in everyone and door not in found["inmate"]:
            found["desk" if b"workers.caged" in line else "lane"].append(worker)
    found["door"] = [door for door in found["door"] if door not in found["inmate"]]
    return found


def leftovers(state: Path, jobs: frozenset[str]) -> list[str]:
    """Return what finished jobs should not have left under a video server's state folder.

    Args:
        state: the state folder.
        jobs: the ids of all jobs there were.
    """
    return sorted(_odd(state / "video", jobs))


def _odd(video: Path, jobs: frozenset[str]) -> Iterator[str]:
    for name in ("jobs", "uploads", "sources"):
        yield from (str(path.relative_to(video)) for path in _inside(video / "temp" / name))
    for path in _files(video / "output"):
        key = str(path.relative_to(video / "output"))
        if not (RESULT.fullmatch(key) and path.stem in jobs):
            yield f"output/{key}"
    for path in _files(video / "proxies"):
        key = path.relative_to(video / "proxies")
        if key.parts[0] not in jobs or ".part" in path.name:
            yield f"proxies/{key}"


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder; what goes meanwhile is none."""
    for path, _, names in os.walk(folder):
        yield from (Path(path) / name for name in names)


def _inside(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []
