"""The outside of a caged process: sending a request in, hearing what is said, ending what hangs.

What is said is checked for its form here, and given its meaning by `cage`; `door_keeper` starts the process that forks.
"""

from __future__ import annotations

import pickle
import select
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from upscale_server.cage.door_keeper import Door
from upscale_server.cage.inmate import Request
from upscale_server.cage.talk import MOST_BYTES, Inbox, fault_from, words_from
from upscale_server.errors import SourceCorrupt, UpscaleError
from upscale_server.records import UNREADABLE

_LOOK_SECONDS = 0.1

Check = Callable[[], None]
Given = TypeVar("Given")
Made = TypeVar("Made")


class InmateDied(UpscaleError):
    """The process that opened the source died, or was killed because nothing went forward.

    Once it may be the machine's doing; what dies again the same way is the source's.
    """


@dataclass(frozen=True, slots=True)
class Hearing:
    """How long an inmate is listened to, and how much of it.

    It may say nothing for `silent_seconds`; of one that `may_beat`, signs of life count. One message of it may have
    `most_bytes`. `check` is called several times a second, whatever it says; what that raises ends the inmate.
    """

    silent_seconds: float
    check: Check
    may_beat: bool = True
    most_bytes: int = MOST_BYTES


class Inmate:
    """One request inside."""

    def __init__(self, door: Door, request: Request, block: int | None, hearing: Hearing) -> None:
        body = pickle.dumps(request)  # before the door is told: it answers once for each inmate, and must be heard
        self._door = door
        self._hearing = hearing
        self._seconds = request.bounds.seconds
        self._looked = time.monotonic()
        self._ends = self._looked + self._seconds
        self._pipe, theirs = socket.socketpair()
        self._inbox = Inbox(self._pipe, hearing.most_bytes)
        self._ended = False
        with theirs:
            door.let_in([theirs.fileno()] + ([] if block is None else [block]))
        self._pipe.settimeout(hearing.silent_seconds)
        with suppress(OSError):  # an inmate that is gone is noticed by its silence
            self._pipe.sendall(len(body).to_bytes(8, "big") + body)
        self._pipe.settimeout(0)

    def messages(self) -> Iterator[dict[str, Any]]:
        """Yield what the inmate says of its request; raise what it ended with.

        Raises:
            InmateDied: it died, was silent for too long, or said what cannot be.
            SourceCorrupt: its time was over; nothing is gained by a second try.
            UpscaleError: what it said that it failed with.
        """
        until = time.monotonic() + self._hearing.silent_seconds
        while True:
            message = self._next(until)
            if "fault" in message:
                raise read(fault_from, message)
            if "defect" in message:
                raise UpscaleError(f"a defect while the source was read:\n{read(words_from, message['defect'])}")
            if "beat" not in message:
                yield message
            if self._hearing.may_beat:
                until = time.monotonic() + self._hearing.silent_seconds

    def free_slot(self) -> None:
        """Say that a frame was copied out.

        Raises:
            InmateDied: it does not listen, though it may be ahead of nobody by more than the slots.
        """
        try:
            self._pipe.send(b".")
        except BlockingIOError as err:
            raise InmateDied("the process that opened the source does not listen") from err
        except OSError:
            return  # one that is gone is noticed by what it no longer says

    def close(self) -> None:
        """End the inmate, whatever it does."""
        self._end()
        self._pipe.close()

    def _next(self, until: float) -> dict[str, Any]:
        """Return the next message; it must have come whole by then, and before the request's own time is over."""
        while True:
            message = read(lambda inbox: inbox.message(), self._inbox)
            self._look()
            if time.monotonic() > self._ends:
                self._end()
                raise SourceCorrupt(
                    f"reading the source took more than the {self._seconds:.0f} s that its length allows; it was ended",
                    hint="it may be made to keep a decoder busy; else see UPSCALE_WORKERS__SOURCE_LOOK_SECONDS",
                )
            if message is not None:
                return message
            if time.monotonic() > until:
                self._end()
                raise InmateDied(
                    f"reading the source went no packet further for {self._hearing.silent_seconds:g} s and was ended",
                    hint="the source may be made to keep a decoder busy; try it in a player",
                )
            if self._has_come() and not self._inbox.fill():
                raise InmateDied(f"the process that opened the source died: {self._end()}")

    def _has_come(self) -> bool:
        waiting = select.poll()  # not `select`, which knows no number above 1023
        waiting.register(self._pipe, select.POLLIN)
        return bool(waiting.poll(_LOOK_SECONDS * 1000))

    def _look(self) -> None:
        """Ask from time to time whether it is to go on; one that talks without end must not keep that from us."""
        if time.monotonic() - self._looked >= _LOOK_SECONDS:
            self._hearing.check()
            self._looked = time.monotonic()

    def _end(self) -> str:
        """Kill what still runs and return how it ended, for people."""
        if self._ended:
            return "it was ended"
        self._ended = True
        return self._door.end()


def read(reader: Callable[[Given], Made], said: Given) -> Made:
    """Return what a reader makes of something an inmate said; what cannot be said is as good as a death.

    Raises:
        InmateDied: it is none of what could be expected.
    """
    try:
        return reader(said)
    except UNREADABLE as err:
        raise InmateDied(f"the process that opened the source said what cannot be: {err!s:.200}") from err
