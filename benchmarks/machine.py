"""Describes the machine and the versions that a measurement was made with, since a number without them says nothing.

Beside that it tells what a piece of work took of the machine, and what others took meanwhile.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")


def usable_cores() -> int:
    """Return the cores that this process may run on, which is what a ratio must be made with."""
    return len(os.sched_getaffinity(0))


def describe() -> dict[str, Any]:  # JSON values of several types
    """Return processor, memory, system, versions, commit and how busy the machine is."""
    return {
        "processor": _cpu_fact("model name"),
        "cores": usable_cores(),
        "instructions": [flag for flag in _FLAGS if flag in _cpu_fact("flags").split()],
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("av", "numpy", "openvino")},
        "commit": _commit(),
        "load_average": [round(value, 2) for value in os.getloadavg()],
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def save(name: str, result: dict[str, Any]) -> Path:
    """Write a result with the machine's description to `results/NAME.json` and return the path."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"benchmark": name, **result, "machine": describe()}, indent=2) + "\n")
    return path


def publish(name: str, result: dict[str, Any]) -> None:
    """Print a result and save it as `save` does."""
    path = save(name, result)
    print(json.dumps(result, indent=2))
    print(f"written to {path}", file=sys.stderr)


def busy_seconds() -> float:
    """Return the processor seconds that all programs of this machine have used; 0 where the system does not say."""
    try:
        fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    except OSError:
        return 0.0
    user, nice, system, _idle, _waiting, interrupts, soft, stolen = (int(value) for value in fields[:8])
    return (user + nice + system + interrupts + soft + stolen) / os.sysconf("SC_CLK_TCK")


def syncs_per_second(folder: Path, seconds: float = 1.0) -> int:
    """Return how many blocks of 4 KiB one after the other can be written for good in a folder, a second."""
    done, began = 0, time.monotonic()
    with tempfile.TemporaryFile(dir=folder) as file:
        while time.monotonic() - began < seconds:
            os.pwrite(file.fileno(), bytes(4096), 4096 * done)
            os.fsync(file.fileno())
            done += 1
    return round(done / seconds)


def stolen_seconds(core: int) -> float:
    """Return for how long a core of a virtual machine was given to others while it was wanted; 0 where nobody says.

    Linux counts it in the eighth column of /proc/stat (`man 5 proc_stat`).
    """
    try:
        lines = Path("/proc/stat").read_text().splitlines()
    except OSError:
        return 0.0
    fields = next(line.split() for line in lines if line.startswith(f"cpu{core} "))
    return int(fields[8]) / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Spent:
    """Wall and processor seconds of one piece of work, and the processor seconds of all other programs meanwhile."""

    wall: float
    processor: float
    others: float


def spent_on(work: Callable[[], object]) -> Spent:
    """Do a piece of work in this process and return what it took."""
    wall, processor, busy = time.perf_counter(), time.process_time(), busy_seconds()
    work()
    processor = time.process_time() - processor
    return Spent(time.perf_counter() - wall, processor, max(0.0, busy_seconds() - busy - processor))


def others_cores(runs: Sequence[Spent]) -> float:
    """Return how many cores other programs took on average."""
    return round(sum(one.others for one in runs) / sum(one.wall for one in runs), 2)


def _cpu_fact(key: str) -> str:
    """Return the first value of a key in /proc/cpuinfo; empty where the system has no such file."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")


def _commit() -> str:
    """Return the commit, with `-dirty` when files differ; empty outside a repository."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    found = subprocess.run(command, cwd=RESULTS.parent, capture_output=True, text=True, check=False)
    return found.stdout.strip()
