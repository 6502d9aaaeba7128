"""Refuses a picture that the machine's memory would not hold, before the system ends the process for it.

It predicts from sizes and asks the system what is free; a GPU's memory is the model's own business.
"""

from __future__ import annotations

from pathlib import Path

from upscale_server.errors import OutOfMemory
from upscale_server.media.types import Size

BYTES_A_PIXEL = 28
"""Of the result, at 8 bits without alpha: 18.7 to 24.3 measured from 4 to 64 MP (benchmarks/bench_image.py)."""
BYTES_A_DEEP_PIXEL = 50
"""The same at 16 bits or with alpha: 45.9 measured with both."""
BASE_BYTES = 160 << 20
"""Beside them, whatever the size: 145 MB measured at 4 MP, most of it the network's tile."""

_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")


def check_memory(larger: Size, *, deep: bool) -> None:
    """Return where a result of this size can be made.

    Raises:
        OutOfMemory: with what is needed and what is free; retryable, because other pictures free theirs.
    """
    needed = BASE_BYTES + larger.pixels * (BYTES_A_DEEP_PIXEL if deep else BYTES_A_PIXEL)
    free = free_bytes()
    if free is not None and needed > free:
        raise OutOfMemory(
            f"the result of {larger} needs about {needed / 2**30:.1f} GiB of memory; {free / 2**30:.1f} are free",
            hint="send it again when less is under way, or send a smaller picture",
        )


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
