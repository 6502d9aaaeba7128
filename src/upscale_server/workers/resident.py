"""The server's side of one worker process, from its start to its end: orders go in, answers come out.

It starts one process (pebble, spawned, never forked) and tells how it ended; another one in its place is `crew`'s.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import struct
import threading
import time
from concurrent.futures import CancelledError
from concurrent.futures import TimeoutError as NoEndYet
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from multiprocessing.connection import Connection
from typing import Any

from pebble import ProcessExpired, ProcessFuture
from pebble.concurrent import process

from upscale_server.errors import Canceled
from upscale_server.events import Observer
from upscale_server.logs import bound_facts
from upscale_server.stopping import Stop as Stopping
from upscale_server.stopping import only_parks
from upscale_server.workers.messages import Answer, Heard, Hello, Numbered, Order, Setup, Stop
from upscale_server.workers.worker import serve

_LOOK_SECONDS = 0.1
"""How often a running order is asked whether it should stop; a message or a death is noticed at once."""

_END_SECONDS = 5.0
"""How long a process that closed its pipe may take to be reaped before its exit code counts as unknown."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a process may take to let go of a stopped order, and how long it may say nothing."""

    release_seconds: float
    silent_seconds: float


class Died(Exception):
    """The process ended, or had to be ended, in the middle of an order; the text says how."""


class Resident:
    """One worker process; one caller at a time."""

    def __init__(self, setup: Setup, patience: Patience) -> None:
        self._patience = patience
        self._numbers = count(1)
        self._ended = threading.Event()
        self._is_lost = False
        self._killed_because = ""
        self.pid: int | None = None
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        self._pipe: Connection = ours
        self._socket = _with_time_limit(ours, patience.silent_seconds)
        # pebble reads `context`, its types say `mp_context`; with the wrong name it forks without a word.
        start = process(name=f"{setup.role}-{setup.index}", daemon=True, context=context)(serve)  # type: ignore[call-overload]
        self._life: ProcessFuture[None] = start(theirs, setup)
        theirs.close()  # only then does the child's death close the pipe
        self._life.add_done_callback(self._note_end)

    @property
    def is_fit(self) -> bool:
        """Tell whether the process takes orders: it is not gone and was not killed."""
        # A closed pipe is noticed before the end is: without `_is_lost` the dead one would be lent for the retry, too.
        return not (self._ended.is_set() or self._is_lost or self._killed_because)

    def wait_for_end(self, timeout_seconds: float | None = None) -> bool:
        """Wait until the process is gone."""
        return self._ended.wait(timeout_seconds)

    def ask(self, order: Order, observer: Observer, stop: Stopping) -> Any:  # noqa: ANN401 - see `messages.Order`
        """Have an order done and return its answer; events come to `observer` in this thread.

        Raises:
            Canceled: `stop` gave a reason; the order was stopped, or the process killed.
            Died: the process ended, or was silent for too long and was killed.
            UpscaleError: the order failed.
            Exception: `observer` or `stop` raised it; the order was stopped first.
        """
        asking = _Asking(next(self._numbers), stop, self._patience)
        try:
            self._send(Numbered(asking.number, order, bound_facts()))
            while True:
                message = self._receive()
                if isinstance(message, Answer) and message.number == asking.number:
                    return asking.value_of(message)
                asking.hear(message, observer)
                if asking.is_stopped_now():
                    self._send(Stop(asking.number))
                fault = asking.lost_patience()
                if fault:
                    self.kill(fault)
                    raise Died(fault)  # noqa: TRY301 - caught below, where a stopped order makes it a cancel
        except Died as err:
            if asking.reason:  # nobody waits for it any more
                raise asking.ending() from err
            raise

    def kill(self, why: str) -> None:
        """End the process and the one that opens files for it at once, whatever they do."""
        self._killed_because = self._killed_because or why
        if self.pid is None:
            self._life.cancel()  # type: ignore[no-untyped-call]  # pebble types its results, not this
        elif not self._ended.is_set():
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    def close(self, timeout_seconds: float = 1.0) -> None:
        """Let the process end, by ending its pipe; kill it when it does not. Safe to call twice."""
        self._is_lost = True
        # Not closed: another thread may be reading, and its descriptor's number may be somebody else's by then.
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        if not self.wait_for_end(timeout_seconds):
            self.kill("it did not end by itself")
            self.wait_for_end(_END_SECONDS)

    def how_it_ended(self) -> str:
        """Return how the process ended, for people."""
        if self._killed_because:
            return self._killed_because
        try:
            error = self._life.exception(_END_SECONDS)
        except (NoEndYet, CancelledError):
            error = None
        code = getattr(error, "exitcode", None) if isinstance(error, ProcessExpired) else None
        if code is None:
            return f"it ended without an exit code ({error})" if error else "it ended without an exit code"
        if code < 0:
            return f"it was ended by signal {-code} ({signal.Signals(-code).name})"
        return f"it ended with exit code {code}"

    def _note_end(self, _life: object) -> None:
        self._ended.set()
        self._socket.close()  # the second descriptor alone: a reader of the first sees the end by itself

    def _send(self, message: Numbered | Stop) -> None:
        try:
            self._pipe.send(message)
        except OSError as err:
            raise self._lost(err) from err

    def _receive(self) -> Hello | Heard | Answer | None:
        """Return the next message; None when none came within a moment."""
        try:
            if not self._pipe.poll(_LOOK_SECONDS):
                return None
            message: Hello | Heard | Answer = self._pipe.recv()
        except (EOFError, OSError) as err:
            raise self._lost(err) from err
        if isinstance(message, Hello):
            self.pid = message.pid
        return message

    def _lost(self, err: Exception) -> Died:
        """Return how the process was lost, of which the pipe told."""
        self._is_lost = True
        if isinstance(err, BlockingIOError):  # the time limit: half a message has passed
            self.kill(f"it was silent for {self._patience.silent_seconds:g} s and was killed")
        return Died(self.how_it_ended())


def _with_time_limit(pipe: Connection, seconds: float) -> socket.socket:
    """Give a pipe's reads and writes a limit, for a process that is stopped in the middle of a message.

    Returns:
        The same connection as a socket of its own, with which it can be ended.
    """
    end = socket.socket(fileno=os.dup(pipe.fileno()))
    limit = struct.pack("ll", int(seconds), int(seconds % 1 * 1e6))  # struct timeval, see socket(7)
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        end.setsockopt(socket.SOL_SOCKET, option, limit)
    return end


class _Asking:
    """One order on its way: when it was last heard of, and why it is to stop, if it is."""

    def __init__(self, number: int, stop: Stopping, patience: Patience) -> None:
        self.number = number
        self.reason = ""
        self._stop = stop
        self._patience = patience
        self._failed: Exception | None = None
        self._heard = time.monotonic()
        self._let_go_by = 0.0

    def hear(self, message: Hello | Heard | Answer | None, observer: Observer) -> None:
        """Tell what happened; of a stopped order nobody wants to know."""
        if message is None:
            return
        self._heard = time.monotonic()
        if isinstance(message, Heard) and not self.reason and self._failed is None:
            try:
                for event in message.events:
                    observer(event)
            except Exception as err:  # noqa: BLE001 - raised again when the process has let go, which comes first
                self._failed = err

    def is_stopped_now(self) -> bool:
        """Tell, once, that the order is to stop."""
        if self.reason:
            return False
        reason = self._why_stop()
        if not reason or only_parks(reason):
            return False
        self.reason = reason
        self._let_go_by = time.monotonic() + self._patience.release_seconds
        return True

    def _why_stop(self) -> str:
        if self._failed is None:
            try:
                return self._stop()
            except Exception as err:  # noqa: BLE001 - as an observer's
                self._failed = err
        return "whoever watched it failed"

    def ending(self) -> Exception:
        """Return what a stopped order ends with."""
        return self._failed or Canceled(self.reason)

    def lost_patience(self) -> str:
        """Return why the process must be killed; empty where it need not."""
        now = time.monotonic()
        if self.reason and now > self._let_go_by:
            return f"it did not let go of a stopped order within {self._patience.release_seconds:g} s and was killed"
        if now - self._heard > self._patience.silent_seconds:
            return f"it was silent for {self._patience.silent_seconds:g} s and was killed"
        return ""

    def value_of(self, answer: Answer) -> object:
        """Return what the order was answered with, or raise what it ended with."""
        if self.reason:
            raise self.ending()
        if self._failed is not None:
            raise self._failed
        if answer.fault is not None:
            raise answer.fault
        return answer.value
