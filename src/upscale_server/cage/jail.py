"""What is taken away from a process that opens untrusted bytes: network, memory without end, files, other processes.

It locks the calling process and cannot be undone; whether a request was harmless is not judged here.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from upscale_server.cage.seccomp import refuse_calls

_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000
_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38
_MOST_HANDLES = 64

_KEPT = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TMPDIR", "TZ", "IMAGEIO_FFMPEG_EXE")


@dataclass(frozen=True, slots=True)
class Bounds:
    """What an inmate may take: address space, the largest file it writes (0: none), both in bytes."""

    memory_bytes: int = 8 << 30
    file_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Locks:
    """Which locks this machine's kernel let us close: an own network without a way out, and refused system calls."""

    own_network: bool
    calls_refused: bool


def clean_environment() -> dict[str, str]:
    """Return what an inmate may know of the environment: where its libraries are, and no secret.

    One arena and one thread each: both would otherwise take address space by the number of cores.
    """
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    kept["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    return kept | {"MALLOC_ARENA_MAX": "2", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


def lock_network() -> Locks:
    """Close the network and other processes to this process and those that it forks; to be called before any thread."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    return Locks(_own_network(libc), refuse_calls(libc))


def lock_resources(bounds: Bounds) -> None:
    """Bound this process; it ends with the one that forked it, and leaves no core dump with a stranger's pictures."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    wanted = (
        (resource.RLIMIT_AS, bounds.memory_bytes),
        (resource.RLIMIT_FSIZE, bounds.file_bytes),
        (resource.RLIMIT_NOFILE, _MOST_HANDLES),
        (resource.RLIMIT_CORE, 0),
    )
    for kind, most in wanted:
        hard = resource.getrlimit(kind)[1]
        bound = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (bound, bound))


def _own_network(libc: ctypes.CDLL) -> bool:
    """Move into a network namespace with nothing in it, where needed in a user namespace of our own."""
    if libc.unshare(_CLONE_NEWNET) == 0:
        return True
    user, group = os.getuid(), os.getgid()
    if libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) != 0:
        return False
    with suppress(OSError):  # without a map, nothing but the creation of files would fail, and is then named
        Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1", encoding="ascii")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1", encoding="ascii")
    return True
