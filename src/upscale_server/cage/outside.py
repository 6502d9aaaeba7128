"""The outside of a caged process: starting the door, sending a request in, hearing what is said, ending what hangs.

What is said is checked for its form here, and given its meaning by `cage`.
"""

from __future__ import annotations

import pickle
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, TypeVar

from upscale_server.cage.door import KILL, OPEN
from upscale_server.cage.inmate import Request
from upscale_server.cage.jail import Locks, clean_environment
from upscale_server.cage.talk import fault_from, receive
from upscale_server.errors import UpscaleError
from upscale_server.records import UNREADABLE

_LOOK_SECONDS = 0.1
_END_SECONDS = 5.0
_STATUS_BYTES = 4
_START = "import sys; from upscale_server.cage.door import main; main(sys.argv[1:])"

Check = Callable[[], None]
Given = TypeVar("Given")
Made = TypeVar("Made")


class InmateDied(UpscaleError):
    """The process that opened the source died, or was killed because nothing went forward.

    Once it may be the machine's doing; what dies again the same way is the source's.
    """


class Door:
    """The process that forks inmates, from its start to its end; it starts while its starter goes on."""

    def __init__(self, modules: tuple[str, ...]) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-P", "-c", _START, str(theirs.fileno()), *modules],
                pass_fds=[theirs.fileno()],
                env=clean_environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        self.control = ours
        self._locks: Locks | None = None

    @property
    def locks(self) -> Locks:
        """Return which locks the kernel let it close; waits until it is ready.

        Raises:
            UpscaleError: it could not be started.
        """
        if self._locks is None:
            said = self.control.recv(2)
            if len(said) < 2:
                raise UpscaleError(
                    "the process that opens sources could not be started", hint="the server's log says why"
                )
            self._locks = Locks(bool(said[0]), bool(said[1]))
        return self._locks

    @property
    def is_there(self) -> bool:
        """Tell whether it still runs."""
        return self.process.poll() is None

    def close(self) -> None:
        """End it, and whoever is inside."""
        self.control.close()
        try:
            self.process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Inmate:
    """One request inside."""

    def __init__(self, door: Door, request: Request, block: int | None, silent_seconds: float) -> None:
        self._door = door
        self._silent_seconds = silent_seconds
        door.locks  # noqa: B018 - waits until it is ready
        self._pipe, theirs = socket.socketpair()
        self._ended = False
        with theirs:
            handles = [theirs.fileno()] + ([] if block is None else [block])
            with suppress(OSError):  # a door that is gone is noticed by its silence
                socket.send_fds(door.control, [OPEN], handles)
        body = pickle.dumps(request)
        self._pipe.settimeout(silent_seconds)
        with suppress(OSError):
            self._pipe.sendall(len(body).to_bytes(8, "big") + body)

    def messages(self, check: Check) -> Iterator[dict[str, Any]]:
        """Yield what the inmate says of its request; raise what it ended with."""
        while True:
            self._wait(check)
            message = self._next()
            if "fault" in message:
                raise read(fault_from, message)
            if "defect" in message:
                raise UpscaleError(f"a defect while the source was read:\n{message['defect']}")
            if "beat" not in message:
                yield message

    def _next(self) -> dict[str, Any]:
        try:
            message = read(receive, self._pipe)
        except (TimeoutError, ConnectionError):
            message = None
        if message is None:
            raise InmateDied(f"the process that opened the source died: {self._end()}")
        return message

    def free_slot(self) -> None:
        """Say that a frame was copied out."""
        with suppress(OSError):  # an inmate that is gone is noticed by what it no longer says
            self._pipe.send(b".")

    def close(self) -> None:
        """End the inmate, whatever it does."""
        self._end()
        self._pipe.close()

    def _wait(self, check: Check) -> None:
        until = time.monotonic() + self._silent_seconds
        while not select.select([self._pipe], [], [], _LOOK_SECONDS)[0]:
            check()
            if time.monotonic() > until:
                self._end()
                raise InmateDied(
                    f"reading the source went no packet further for {self._silent_seconds:g} s and was ended",
                    hint="the source may be made to keep a decoder busy; try it in a player",
                )

    def _end(self) -> str:
        """Kill what still runs and return how it ended, for people."""
        if self._ended:
            return "it was ended"
        self._ended = True
        with suppress(OSError):
            self._door.control.send(KILL)
        status = self._door.control.recv(_STATUS_BYTES)
        if len(status) < _STATUS_BYTES:
            return "its door is gone"
        code = int.from_bytes(status, "big", signed=True)
        return f"signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"exit code {code}"


def read(reader: Callable[[Given], Made], said: Given) -> Made:
    """Return what a reader makes of something an inmate said; what cannot be said is as good as a death.

    Raises:
        InmateDied: it is none of what could be expected.
    """
    try:
        return reader(said)
    except UNREADABLE as err:
        raise InmateDied(f"the process that opened the source said what cannot be: {err}") from err
