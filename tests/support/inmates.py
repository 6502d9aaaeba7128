"""What a caged process does in tests: work, forbidden things, and nothing at all.

It is imported behind the cage's door; nothing here is a test.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import socket
import time
from pathlib import Path

from upscale_server.errors import OutputTooLarge
from upscale_server.events import FramesDone, Observer
from upscale_server.media.pulse import beat

_MOST_HANDLES = 1024


def fails_with_figures() -> None:
    """Raise a failure that keeps figures."""
    raise OutputTooLarge.reached(12, 10)


def has_a_defect() -> None:
    """Raise what nobody named."""
    raise ZeroDivisionError


def tells(count: int, observer: Observer) -> None:
    """Tell of so many frames."""
    for _ in range(count):
        observer(FramesDone(1))


def tells_and_stays(path: Path, observer: Observer) -> None:
    """Say who this is, tell of a frame, and stay."""
    path.write_text(str(os.getpid()), encoding="ascii")
    observer(FramesDone(1))
    time.sleep(600)


def stays(path: Path) -> None:
    """Say who this is, and stay."""
    part = path.with_name("part")
    part.write_text(str(os.getpid()), encoding="ascii")
    part.rename(path)
    time.sleep(600)


def kind_of_fault(what: str, path: str = "") -> str:
    """Try something that is forbidden, and return the name of what it ended with."""
    try:
        if what == "socket":
            socket.socket(socket.AF_INET)
        elif what == "write":
            Path(path).write_bytes(b"x" * 5000)
        elif what == "handles":
            _ = [os.open("/dev/null", os.O_RDONLY) for _ in range(100)]
        elif what == "ptrace":
            libc = ctypes.CDLL(None, use_errno=True)
            libc.ptrace(16, os.getppid(), 0, 0)  # PTRACE_ATTACH
            return type(OSError(ctypes.get_errno(), "ptrace")).__name__
    except OSError as err:
        return type(err).__name__
    return ""


def environment() -> str:
    """Return what is known of the environment."""
    return repr(dict(os.environ))


def open_handles() -> int:
    """Return how many handles are open."""
    return sum(1 for handle in range(_MOST_HANDLES) if _is_open(handle))


def _is_open(handle: int) -> bool:
    try:
        os.fstat(handle)
    except OSError:
        return False
    return True


def hangs(how: str) -> None:
    """Show no sign of life for ever."""
    if how == "stopped":
        os.kill(os.getpid(), signal.SIGSTOP)
    while True:
        time.sleep(0.01)


def goes_on(seconds: float) -> str:
    """Show signs of life for so many seconds."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        beat()
        time.sleep(0.05)
    return "done"


def network() -> str:
    """Return the name of this process's network namespace."""
    return str(Path("/proc/self/ns/net").readlink())


def bounds() -> tuple[int, int]:
    """Return how many bytes of addresses and of memory may be taken."""
    return resource.getrlimit(resource.RLIMIT_AS)[0], resource.getrlimit(resource.RLIMIT_DATA)[0]
