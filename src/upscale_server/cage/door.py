"""The small process behind a cage: it forks an inmate for each request, kills it when told, and tells how it ended.

It has imported what inmates need, has one thread, and never opens a file itself; so a fork is safe and takes
milliseconds. It ends with the process that started it, and nobody whom it let in outlives a request.
"""

from __future__ import annotations

import importlib
import os
import select
import signal
import socket
from contextlib import suppress
from pathlib import Path

from upscale_server.cage.inmate import serve
from upscale_server.cage.jail import bind_to_parent, lock_door

OPEN, KILL = b"O", b"K"
_STATUS_BYTES = 4


def main(arguments: list[str]) -> None:
    """Serve requests until the control pipe is closed.

    Args:
        arguments: the number of the control pipe's descriptor, then the modules to import beforehand.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # a whole group is signalled; who started this one decides
    control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, int(arguments[0]))
    for name in arguments[1:]:
        importlib.import_module(name)
    locks = lock_door()
    with suppress(ConnectionError):  # who started it is gone
        control.sendall(bytes([locks.own_network, locks.calls_refused, locks.files_closed]))
        while _one(control):
            pass


def _one(control: socket.socket) -> bool:
    """See to one request from its coming to its inmate's end; tell whether there may be another."""
    said, handles, _, _ = socket.recv_fds(control, 1, 2)
    if not said:
        return False
    if said != OPEN:  # a kill that came after its inmate's end
        return True
    door, inmate = os.getpid(), os.fork()
    if inmate == 0:
        try:
            _be_inmate(control, door, handles)
        finally:
            os._exit(0)  # not a return: nothing of the process that forked it is to be cleaned up twice
    for handle in handles:
        os.close(handle)
    there = _watch(control, inmate)
    _, status = os.waitpid(inmate, 0)
    _sweep()
    if there:
        control.sendall(os.waitstatus_to_exitcode(status).to_bytes(_STATUS_BYTES, "big", signed=True))
    return there


def _be_inmate(control: socket.socket, door: int, handles: list[int]) -> None:
    bind_to_parent(door)
    control.close()
    serve(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, handles[0]), handles[1] if len(handles) > 1 else -1)


def _watch(control: socket.socket, inmate: int) -> bool:
    """Wait for the inmate's end; kill it when told, and when nobody is there any more, which is answered with False."""
    life, waiting = os.pidfd_open(inmate), select.poll()  # not `select`, which knows no number above 1023
    for handle in (life, control.fileno()):
        waiting.register(handle, select.POLLIN)
    try:
        while True:
            ready = [handle for handle, _ in waiting.poll()]
            if life in ready:
                return True
            said = control.recv(1)
            if said != OPEN:
                os.kill(inmate, signal.SIGKILL)
            if not said:
                return False
    finally:
        os.close(life)


def _sweep() -> None:
    """End what an inmate started and left behind: as its subreaper, this process is the parent of that by now."""
    here = Path(f"/proc/self/task/{os.getpid()}/children")
    with suppress(ChildProcessError, FileNotFoundError):  # none is left; a kernel that does not tell of them
        while True:
            for child in here.read_text(encoding="ascii").split():
                os.kill(int(child), signal.SIGKILL)
            os.waitpid(-1, 0)
