"""What a server and all its processes hold at rest, and what of it is more than at an earlier rest.

Read from /proc and the folders, so that nothing of ours has to be believed; what a difference means is the test's.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from tests.support.processes import command_line, descendants

_NUMBER = re.compile(r"\[\d+\]")

ALLOWED_BYTES = 20_000_000
"""Growth of memory that is none: caches of the allocator and of SQLite fill up to their bounds."""

_MOST_OF_DATABASE = 45
"""A server's pool of connections takes up to 15, each with the database and its log; SQLite keeps a closed one's handle
for the next while another connection holds a lock. How many there were at once is chance, more than that are a leak."""

ALLOWED_THREADS = 40
"""A server's pool of threads (anyio's) grows to 40 and shrinks as requests come; how many wait at a moment is chance.
A thread that stays with each job, of which there are hundreds, is far more."""

_STILL_SECONDS = 1.0
"""How long nothing may change before it counts as rest: ten looks, each longer than threads take to end."""
_LOOK_SECONDS = 0.1
_REST_SECONDS = 60.0
"""For what ends a little later: threads that wait for work, connections, deleted files; a limit and no expectation."""
_BREATH_BYTES = 5_000_000
"""What memory at rest moves by: a shared page counts for less while others on the machine have it, too."""


@dataclass(frozen=True, slots=True)
class Holdings:
    """Memory of a family of processes together, their handles and threads, how many they are, and files in folders.

    Handles of the jobs' database count where they are more than its pool of connections can hold.

    Memory is PSS, the proportional share: processes that were forked of one share most pages, which RSS counts each
    time. Where the kernel does not tell it of a process, its RSS counts.
    """

    memory_bytes: int
    handles: int
    threads: int
    processes: int
    files: int


def at_rest(server: int, folders: Sequence[Path]) -> Holdings:
    """Look at a server and its processes until all looks of a while are the same, and return the last.

    Raises:
        TimeoutError: it does not come to rest.
    """
    until = time.monotonic() + _REST_SECONDS
    first, since = holdings_of(server, folders), time.monotonic()
    while time.monotonic() < until:
        time.sleep(_LOOK_SECONDS)
        found = holdings_of(server, folders)
        if not _are_alike(first, found):
            first, since = found, time.monotonic()
        elif time.monotonic() - since >= _STILL_SECONDS:
            return found
    raise TimeoutError(f"the server did not come to rest within {_REST_SECONDS:g} s; it holds {first}")


def _are_alike(one: Holdings, other: Holdings) -> bool:
    memory = abs(one.memory_bytes - other.memory_bytes)
    return memory <= _BREATH_BYTES and one == replace(other, memory_bytes=one.memory_bytes)


def holdings_of(server: int, folders: Sequence[Path]) -> Holdings:
    """Look at a server and its processes as they are."""
    family = [server, *descendants(server)]
    return Holdings(
        memory_bytes=sum(map(_memory, family)),
        handles=sum(map(_handles, family)),
        threads=sum(map(_threads, family)),
        processes=len(family),
        files=sum(1 for folder in folders for path in folder.rglob("*") if path.is_file()),
    )


def more_than(before: Holdings, now: Holdings) -> dict[str, int]:
    """Return by name what is more than before: memory and threads beyond what is allowed, all else by one and up."""
    old, new = asdict(before), asdict(now)
    allowed = {"memory_bytes": ALLOWED_BYTES, "threads": ALLOWED_THREADS}
    return {name: new[name] - old[name] for name in old if new[name] - old[name] > allowed.get(name, 0)}


def who_holds(server: int) -> list[str]:
    """Return a line for each process of a family, for a test that fails."""
    return [
        f"{pid}: {_memory(pid) >> 10} kB, {_handles(pid)} handles, {_threads(pid)} threads, "
        f"{command_line(pid)[:120].replace(bytes(1), b' ').decode(errors='replace')}"
        for pid in (server, *descendants(server))
    ]


def handles_of(server: int) -> Counter[str]:
    """Return what the handles of a family lead to, for a test that fails."""
    found: Counter[str] = Counter()
    for pid in (server, *descendants(server)):
        for path in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                found[f"{pid} {_NUMBER.sub('N', str(path.readlink()))}"] += 1
    return found


def _memory(pid: int) -> int:
    with suppress(OSError, StopIteration):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return 1024 * _of_status(pid, "VmRSS:")


def _threads(pid: int) -> int:
    return _of_status(pid, "Threads:")


def _handles(pid: int) -> int:
    ends = []
    with suppress(OSError):
        for path in Path(f"/proc/{pid}/fd").iterdir():
            ends.append("")
            with suppress(OSError):
                ends[-1] = path.readlink().name
    of_database = sum(end.startswith("jobs.db") for end in ends)
    return len(ends) - min(of_database, _MOST_OF_DATABASE)


def _of_status(pid: int, name: str) -> int:
    with suppress(OSError):
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
        return next((int(line.split()[1]) for line in lines if line.startswith(name)), 0)
    return 0
