"""Keeps the image server's processes alive on one port: starts them, starts dead ones again, and ends them all.

It opens no picture and answers no request: what brings a process down does not bring the server down.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

from upscale_server.errors import ModelsNotLoaded, UpscaleError
from upscale_server.logs import get_logger
from upscale_server.settings import Settings
from upscale_server.web.family import Family, family_doors
from upscale_server.web.image_told import Told

_LOOK_SECONDS = 0.2
"""How soon a signal is noticed; a death or a message is noticed at once."""
_MOST_DEATHS = 3
"""Deaths in a row of processes that never were ready, before any was: then it is no accident."""
_LONGEST_PAUSE_SECONDS = 30.0
_SPARE_SECONDS = 25.0
"""Beyond what draining may take, before a process is killed: last answers are read, models released."""


@dataclass(slots=True)
class _Seat:
    """The place of one process."""

    index: int
    process: SpawnProcess
    pipe: Connection
    is_ready: bool = False
    is_heard: bool = False


@dataclass(slots=True)
class _Fate:
    """What has become of a place's processes so far."""

    deaths: int = 0
    start_at: float = 0.0


@dataclass(slots=True)
class Parent:
    """The image server as a whole.

    Args:
        settings: all of them; `settings.image.workers` is how many processes there are.
        door: a listening socket; it is closed at the end.
        ready: called once, when all processes are ready for the first time.
    """

    settings: Settings
    door: socket.socket
    ready: Callable[[Told], None]
    _seats: dict[int, _Seat] = field(default_factory=dict)
    _fates: dict[int, _Fate] = field(default_factory=dict)
    _doors: tuple[socket.socket, ...] = ()
    _was_ready: bool = False
    _signals: list[int] = field(default_factory=list)
    _fault: UpscaleError | None = None

    def run(self) -> None:
        """Serve until SIGTERM or Ctrl-C, then drain; a second signal ends everything at once.

        Raises:
            UpscaleError: the models could not be loaded.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, _: self._signals.append(number))
        self._fates = {index: _Fate() for index in range(self.settings.image.workers)}
        self._doors = family_doors(len(self._fates))
        try:
            while not self._signals and self._fault is None:
                self._start_missing()
                self._look()
        finally:
            self._end()
        if self._fault is not None:
            raise self._fault

    def _start_missing(self) -> None:
        for index, fate in self._fates.items():
            if index not in self._seats and time.monotonic() >= fate.start_at:
                self._seats[index] = self._started(index)

    def _started(self, index: int) -> _Seat:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        family = Family(index, self._doors[index], tuple(door.getsockname() for door in self._doors))
        given = (self.settings, self.door, theirs, family)
        process = context.Process(target=_child, args=given, name=f"image-{index}", daemon=True)
        process.start()
        theirs.close()
        get_logger().info("process_started", index=index, process=process.pid)
        return _Seat(index, process, ours)

    def _look(self) -> None:
        """Wait a moment for something to happen, and see to it."""
        by_pipe = {seat.pipe: seat for seat in self._seats.values() if not seat.is_heard}
        by_end = {seat.process.sentinel: seat for seat in self._seats.values()}
        for found in wait([*by_pipe, *by_end], _LOOK_SECONDS):
            if isinstance(found, Connection):
                self._hear(by_pipe[found])
            elif isinstance(found, int):
                self._bury(by_end[found])

    def _hear(self, seat: _Seat) -> None:
        seat.is_heard = True  # it says one thing in its life; from then on only its end counts
        try:
            told = seat.pipe.recv()
        except (EOFError, OSError):
            return
        if told.fault is not None:
            get_logger().error("models_not_loaded", index=seat.index, detail=told.fault.detail, hint=told.fault.hint)
            if not self._was_ready:
                self._fault = told.fault
            else:
                seat.process.terminate()  # started again after a pause: memory may be free by then
            return
        seat.is_ready = True
        if (
            not self._was_ready
            and len(self._seats) == len(self._fates)
            and all(one.is_ready for one in self._seats.values())
        ):
            self._was_ready = True
            self.ready(told)

    def _bury(self, seat: _Seat) -> None:
        """Note the end of a process that nobody asked to end."""
        del self._seats[seat.index]
        seat.process.join()  # only then is there an exit code
        code = seat.process.exitcode
        seat.pipe.close()
        fate = self._fates[seat.index]
        fate.deaths = 1 if seat.is_ready else fate.deaths + 1
        pause = 0.0 if seat.is_ready else min(_LONGEST_PAUSE_SECONDS, 2.0 ** (fate.deaths - 1))
        fate.start_at = time.monotonic() + pause
        get_logger().error("process_died", index=seat.index, exit_code=code, again_in_seconds=pause)
        if not self._was_ready and fate.deaths >= _MOST_DEATHS:
            self._fault = ModelsNotLoaded(
                f"the process died {fate.deaths} times before its models were loaded; its last exit code is {code}"
            )

    def _end(self) -> None:
        """Close the door, let the processes drain, and kill what does not end."""
        self.door.close()
        patience = self.settings.image.drain_seconds + _SPARE_SECONDS
        until = time.monotonic() + (patience if self._fault is None else _SPARE_SECONDS)
        for seat in self._seats.values():
            with suppress(ProcessLookupError):
                seat.process.terminate()
        while len(self._signals) < 2 and time.monotonic() < until:
            alive = [seat.process.sentinel for seat in self._seats.values() if seat.process.is_alive()]
            if not alive:
                break
            wait(alive, _LOOK_SECONDS)
        for seat in self._seats.values():
            if seat.process.is_alive():
                get_logger().warning("process_killed", index=seat.index, process=seat.process.pid)
                seat.process.kill()
            seat.process.join()
        for door in self._doors:
            door.close()
        if len(self._signals) > 1:
            os._exit(128 + self._signals[1])


def _child(settings: Settings, door: socket.socket, pipe: Connection, family: Family) -> None:
    """Run in the new process, which alone imports what serves and enlarges."""
    from upscale_server.web.image_child import serve  # noqa: PLC0415 - see above

    serve(settings, door, pipe, family)
