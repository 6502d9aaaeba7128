"""What is taken away from a process that opens untrusted bytes: network, memory without end, files, other processes.

It locks the calling process and cannot be undone; whether a request was harmless is not judged here.
"""

from __future__ import annotations

import ctypes
import math
import os
import resource
import signal
import struct
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from upscale_server.cage import files
from upscale_server.cage.seccomp import refuse_calls, refuse_processes

_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000
_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_CAPABILITIES_3 = 0x20080522
_MOST_HANDLES = 64
_STDERR = 2

_KEPT = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TMPDIR", "TZ", "IMAGEIO_FFMPEG_EXE")


@dataclass(frozen=True, slots=True)
class Bounds:
    """What an inmate may take.

    `memory_bytes` is its address space, `file_bytes` the largest file it writes (0: none). It may read the files
    `reads`, change what is in the folders `writes`, start `programs`, and use graphics cards as `devices`. After
    `seconds` it is ended from outside, whatever it shows of its work.
    """

    memory_bytes: int = 8 << 30
    file_bytes: int = 0
    reads: tuple[Path, ...] = ()
    writes: tuple[Path, ...] = ()
    programs: bool = False
    devices: bool = False
    seconds: float = math.inf


@dataclass(frozen=True, slots=True)
class Locks:
    """Which locks this machine's kernel let us close.

    They are an own network without a way out, refused system calls, and files out of reach.
    """

    own_network: bool
    calls_refused: bool
    files_closed: bool


def clean_environment() -> dict[str, str]:
    """Return what an inmate may know of the environment: where its libraries are, and no secret.

    One arena and one thread each: both would otherwise take address space by the number of cores.
    """
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    kept["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    return kept | {"MALLOC_ARENA_MAX": "2", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


def lock_door() -> Locks:
    """Close the network and other processes to this process and those that it forks; to be called before any thread.

    Whatever those leave behind becomes this process's child, which can end it.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    own_network = _own_network(libc)
    _give_up_capabilities(libc)
    return Locks(own_network, refuse_calls(libc), files.version(libc) > 0)


def bind_to_parent(parent: int) -> None:
    """End with the process that forked this one, have no terminal, and say nothing into the server's log.

    Raises:
        ProcessLookupError: it is gone already.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        raise ProcessLookupError("the door is gone")
    os.setsid()
    os.dup2(0, _STDERR)  # the null device, opened to be written, too


def lock_inmate(bounds: Bounds) -> None:
    """Bound this process; it leaves no core dump with a stranger's pictures.

    Raises:
        OSError: a lock that the kernel has does not close.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    # A graphics card's memory is mapped into the address space, all of it; there only what is really written counts.
    memory = resource.RLIMIT_DATA if bounds.devices else resource.RLIMIT_AS
    wanted = (
        (memory, bounds.memory_bytes),
        (resource.RLIMIT_FSIZE, bounds.file_bytes),
        (resource.RLIMIT_NOFILE, _MOST_HANDLES),
        (resource.RLIMIT_CORE, 0),
    )
    for kind, most in wanted:
        hard = resource.getrlimit(kind)[1]
        bound = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (bound, bound))
    files.leave(libc, bounds.reads, bounds.writes, programs=bounds.programs, devices=bounds.devices)
    if bounds.writes:
        tempfile.tempdir = str(bounds.writes[0])
    if not bounds.programs:
        refuse_processes(libc, os.getpid())


def _give_up_capabilities(libc: ctypes.CDLL) -> None:
    """Be root in name only, where it is root, or one in its own user namespace."""
    libc.capset(struct.pack("=Ii", _CAPABILITIES_3, 0), bytes(24))


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
