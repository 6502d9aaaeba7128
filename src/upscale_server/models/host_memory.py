"""How much of the machine's memory is free for this process, so that what would not fit is refused and not killed.

It reads what the system and the container say; a GPU's memory is torch's and the engines' business.
"""

from __future__ import annotations

from pathlib import Path

_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")


def free_bytes() -> int | None:
    """Return what this process could still take, by the system and by its container; None where neither says."""
    said = [one for one in (_free_on_machine(), _free_in_container()) if one is not None]
    return min(said) if said else None


def _free_on_machine() -> int | None:
    try:
        lines = _MEMINFO.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def _free_in_container() -> int | None:
    """Return the container's limit less what is used and cannot be dropped (cgroup v2)."""
    try:
        limit = (_CGROUP / "memory.max").read_text(encoding="ascii").strip()
        used = int((_CGROUP / "memory.current").read_text(encoding="ascii"))
        rows = (_CGROUP / "memory.stat").read_text(encoding="ascii").splitlines()
        cached = sum(int(row.split()[1]) for row in rows if row.startswith(("inactive_file ", "active_file ")))
        return None if limit == "max" else int(limit) - used + cached
    except (OSError, ValueError, IndexError):
        return None
