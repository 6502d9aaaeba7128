"""What a caged process does that was taken over by the file it opened; each function is one attack.

It is imported behind the cage's door, as that file's code would come to be there; nothing here is a test.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import resource
import signal
import socket
import stat
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

_HANDLES = 64


def attempt(what: str, *more: str) -> str:
    """Do something forbidden and return the name of what it ended with, empty where it went through."""
    try:
        _ATTACKS[what](*more)
    except OSError as err:
        return type(err).__name__
    return ""


def _read(path: str) -> None:
    Path(path).read_bytes()


def _signals(pid: str) -> None:
    os.kill(int(pid), 0)


def _signals_a_handle(pid: str) -> None:
    signal.pidfd_send_signal(os.pidfd_open(int(pid)), 0)


def _signals_by_the_kernel(pid: str) -> None:
    fcntl.fcntl(_pipe(), fcntl.F_SETOWN, int(pid))


def _forks() -> None:
    if os.fork() == 0:
        os._exit(0)


def _runs() -> None:
    subprocess.run([sys.executable, "-c", ""], check=False)


def _limits(pid: str) -> None:
    resource.prlimit(int(pid), resource.RLIMIT_NOFILE)


def _outlives() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(1, 0, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def _overwrites(path: str) -> None:
    os.close(os.open(path, os.O_WRONLY))


def _shared_memory() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.shmget(0, ctypes.c_size_t(4096), 0o600) < 0:
        raise OSError(ctypes.get_errno(), "shmget")


_ATTACKS: dict[str, Callable[..., object]] = {
    "read": _read,
    "list": lambda path: list(Path(path).iterdir()),
    "overwrite": _overwrites,
    "truncate": lambda path: os.truncate(path, 0),
    "remove": lambda path: Path(path).unlink(),
    "create": lambda path: Path(path).touch(),
    "link": lambda path, to: Path(to).hardlink_to(path),
    "symlink": lambda path, to: Path(to).symlink_to(path),
    "chmod": lambda path: Path(path).chmod(0o600),
    "times": lambda path: os.utime(path, (0, 0)),
    "signal": _signals,
    "signal by handle": _signals_a_handle,
    "signal by the kernel": _signals_by_the_kernel,
    "fork": _forks,
    "run": _runs,
    "limits of others": _limits,
    "outlive the door": _outlives,
    "terminal": lambda: _overwrites("/dev/tty"),
    "shared memory": _shared_memory,
}


def rights() -> str:
    """Return the capabilities of this process, in the form of capget(2)."""
    libc = ctypes.CDLL(None, use_errno=True)
    held = ctypes.create_string_buffer(24)
    libc.capget(struct.pack("=Ii", 0x20080522, 0), held)
    return held.raw.hex()


def shrinks() -> tuple[str, list[Any]]:
    """Take the shared block away from under who reads it, and say that an array is there."""
    kept = ""
    for handle in range(3, _HANDLES):
        try:
            if stat.S_ISREG(os.fstat(handle).st_mode):
                os.ftruncate(handle, 0)
        except PermissionError as err:
            kept = type(err).__name__
        except OSError:
            continue
    return kept, [np.zeros((1, 1), np.uint8)]


def says(body: bytes, pause_seconds: float, path: str = "") -> None:
    """Say something that is none of ours, byte by byte with pauses, and stay; a file tells that it has begun."""
    pipe = _pipe()
    if path:
        Path(path).touch()
    for one in body:
        os.write(pipe, bytes([one]))
        time.sleep(pause_seconds)
    time.sleep(600)


def beats_for_ever(path: str = "") -> None:
    """Pretend to go forward."""
    body = b'{"beat": 1}'
    if path:
        Path(path).touch()
    while True:
        os.write(_pipe(), struct.pack("!I", len(body)) + body)
        time.sleep(0.001)


def dies_by(number: int) -> None:
    """Die by a signal."""
    os.kill(os.getpid(), number)
    time.sleep(600)


def leaves_somebody(path: Path) -> str:
    """Leave a process behind, in a session of its own, and tell its number in a file."""
    child = os.fork()
    if child:
        return str(child)
    os.setsid()
    for handle in range(_HANDLES):
        with suppress(OSError):
            os.close(handle)
    del path
    time.sleep(600)
    os._exit(0)


def writes_to_the_log() -> None:
    """Say something where the server's log is."""
    os.write(2, b"forged line\n")


def _pipe() -> int:
    """Return the handle of the pipe to the outside."""
    return next(handle for handle in range(3, _HANDLES) if _is_socket(handle))


def _is_socket(handle: int) -> bool:
    try:
        return stat.S_ISSOCK(os.fstat(handle).st_mode)
    except OSError:
        return False


def makes_sockets() -> str:
    """Try every family of sockets and return those that could be made."""
    made = []
    for family in range(46):
        with suppress(OSError), socket.socket(family, socket.SOCK_STREAM):
            made.append(str(family))
    return " ".join(made)


def shrinks_unread() -> tuple[str, list[Any]]:
    """Take the shared block away, and name no array: who reads behind its end dies."""
    return shrinks()[0], []


def takes(count: int) -> str:
    """Take memory."""
    return str(len(bytearray(count)))
