"""The small process behind a cage: it forks an inmate for each request, kills it when told, and tells how it ended.

It has imported what inmates need, has one thread, and never opens a file itself; so a fork is safe and takes
milliseconds. It ends with the process that started it.
"""

from __future__ import annotations

import importlib
import os
import select
import signal
import socket

from upscale_server.cage.inmate import serve
from upscale_server.cage.jail import lock_network

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
    locks = lock_network()
    control.sendall(bytes([locks.own_network, locks.calls_refused]))
    while _one(control):
        pass


def _one(control: socket.socket) -> bool:
    """See to one request from its coming to its inmate's end; tell whether there may be another."""
    said, handles, _, _ = socket.recv_fds(control, 1, 2)
    if not said:
        return False
    if said != OPEN:  # a kill that came after its inmate's end
        return True
    inmate = os.fork()
    if inmate == 0:
        control.close()
        pipe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, handles[0])
        try:
            serve(pipe, handles[1] if len(handles) > 1 else -1)
        finally:
            os._exit(0)  # not a return: nothing of the process that forked it is to be cleaned up twice
    for handle in handles:
        os.close(handle)
    there = _watch(control, inmate)
    if there:
        _, status = os.waitpid(inmate, 0)
        control.sendall(os.waitstatus_to_exitcode(status).to_bytes(_STATUS_BYTES, "big", signed=True))
    return there


def _watch(control: socket.socket, inmate: int) -> bool:
    """Wait for the inmate's end; kill it when told, and when nobody is there any more, which is answered with False."""
    life = os.pidfd_open(inmate)
    try:
        while True:
            ready, _, _ = select.select([life, control.fileno()], [], [])
            if life in ready:
                return True
            said = control.recv(1)
            if said != OPEN:
                os.kill(inmate, signal.SIGKILL)
            if not said:
                return False
    finally:
        os.close(life)
