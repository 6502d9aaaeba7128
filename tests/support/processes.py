"""Who a server's processes are, and killing them: read from /proc, so that nothing of ours has to be believed.

It starts nothing.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path


def descendants(pid: int) -> list[int]:
    """Return the children of a process, their children and so on, oldest first."""
    parents: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            after_name = path.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if after_name[0] != "Z":
            parents.setdefault(int(after_name[1]), []).append(int(path.parent.name))
    found, ahead = [], [pid]
    while ahead:
        children = sorted(parents.get(ahead.pop(0), []))
        found += children
        ahead += children
    return found


def parent_of(pid: int) -> int:
    """Return the parent of a process, 0 where it is gone."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0


def workers_of(server: int) -> list[int]:
    """Return the processes that do a server's work; Python's own bookkeeper of shared resources is none."""
    return [pid for pid in descendants(server) if b"resource_tracker" not in command_line(pid)]


def command_line(pid: int) -> bytes:
    """Return what a process was started with, empty where it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def is_alive(pid: int) -> bool:
    """Tell whether a process is there and has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def kill(pid: int) -> None:
    """End a process as a power cut would; one that is gone is what was wanted."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
