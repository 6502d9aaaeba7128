"""The process behind a cage, seen from the one that started it: it is started, told, waited for, and ended.

It never waits for ever: a door that does not answer is killed, and with it whoever is inside.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from contextlib import suppress

from upscale_server.cage.door import KILL, OPEN
from upscale_server.cage.jail import Locks, clean_environment
from upscale_server.errors import UpscaleError

_START_SECONDS = 240.0
"""Longest start: interpreter and imports on a busy machine; a limit and no expectation."""
_ANSWER_SECONDS = 20.0
"""To kill a process and say so takes milliseconds, unless the machine is busy or the door frozen."""
_END_SECONDS = 5.0
_STATUS_BYTES = 4
_START = "import sys; from upscale_server.cage.door import main; main(sys.argv[1:])"


class Door:
    """The process that forks inmates, from its start to its end; it starts while its starter goes on.

    Args:
        modules: what it imports beforehand.
    """

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
        self._control = ours
        self._control.settimeout(_START_SECONDS)
        self._locks: Locks | None = None

    @property
    def locks(self) -> Locks:
        """Return which locks the kernel let it close; waits until it is ready.

        Raises:
            UpscaleError: it could not be started.
        """
        if self._locks is None:
            said = self._heard(3)
            if len(said) < 3:
                raise UpscaleError(
                    "the process that opens sources could not be started", hint="the server's log says why"
                )
            self._locks = Locks(*map(bool, said))
            self._control.settimeout(_ANSWER_SECONDS)
        return self._locks

    @property
    def is_there(self) -> bool:
        """Tell whether it still runs."""
        return self.process.poll() is None

    def let_in(self, handles: list[int]) -> None:
        """Have it fork an inmate that is given these handles.

        Raises:
            UpscaleError: it could not be started.
        """
        self.locks  # noqa: B018 - waits until it is ready
        with suppress(OSError):  # a door that is gone is noticed by its silence
            socket.send_fds(self._control, [OPEN], handles)

    def end(self) -> str:
        """End the inmate, whatever it does, and return how it ended, for people."""
        with suppress(OSError):
            self._control.send(KILL)
        status = self._heard(_STATUS_BYTES)
        if len(status) < _STATUS_BYTES:
            self._kill()
            return "its door is gone, or did not answer"
        code = int.from_bytes(status, "big", signed=True)
        return f"signal {-code} ({_name_of(-code)})" if code < 0 else f"exit code {code}"

    def close(self) -> None:
        """End it, and whoever is inside. Safe to call twice, and while another thread waits for it."""
        with suppress(OSError):
            self._control.shutdown(socket.SHUT_RDWR)  # not closed yet: its number may be somebody else's by then
        try:
            self.process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._kill()
        self._control.close()

    def _heard(self, count: int) -> bytes:
        """Return so many bytes, or fewer where it does not say them."""
        said = b""
        with suppress(OSError):
            while len(said) < count and (part := self._control.recv(count - len(said))):
                said += part
        return said

    def _kill(self) -> None:
        self.process.kill()
        self.process.wait()


def _name_of(number: int) -> str:
    """Return a signal's name; those of real time have none."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return "of real time"
