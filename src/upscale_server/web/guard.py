"""Bounds what one connection may cost, because uvicorn itself waits for slow clients for ever.

It knows bytes and seconds of the protocol; what a request may contain is checked where it is read.

Each connection looks at itself once a second: one that is slower than `Bounds` allows is answered with 408 where an
answer can still be given, and dropped otherwise. Measured in docs/decisions/0013.
"""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
import sys
import termios
import time
from array import array
from dataclasses import dataclass, field
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from upscale_server.edge_settings import Http
from upscale_server.errors import BadRequest, HeadTooLarge, RateLimited, RequestTooSlow, UpscaleError
from upscale_server.web.refusals import answer_of, probes_alone

_LOOK_THROUGH_SECONDS = 0.05
"""Between two looks through all connections for those that could go."""
HEAD_BYTES = 16_384
"""Largest request head, read in steps of this size: a head is refused between one and two times this."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one connection may take, in seconds and bytes; `connections` is how many there may be.

    Of more, those go that have asked for nothing for `quiet_seconds`. Where all are at work, `reserve` more are
    answered probes alone, and stay `quiet_seconds` without a question: a server that is merely busy must not look
    dead to those who watch it, however fast slow clients come again.
    """

    head_seconds: float = 10.0
    body_idle_seconds: float = 10.0
    body_bytes_per_second: float = 10_000.0
    body_window_seconds: float = 10.0
    unread_seconds: float = 10.0
    stalled_seconds: float = 60.0
    slow_reader_seconds: float = 120.0
    connections: int = 512
    reserve: int = 1024
    quiet_seconds: float = 1.0
    look_seconds: float = 1.0

    @classmethod
    def of(cls, settings: Http) -> Bounds:
        """Return the bounds that an operator chose; the others are ours."""
        return cls(
            head_seconds=settings.head_seconds,
            body_idle_seconds=settings.body_idle_seconds,
            body_bytes_per_second=settings.body_bytes_per_second,
            connections=settings.connections,
        )


@dataclass(slots=True)
class _Quiet:
    """The connections of a server on which nothing was asked when they were last looked for, the oldest last."""

    found: list[GuardedProtocol] = field(default_factory=list)
    looked_at: float = float("-inf")


class GuardedProtocol(H11Protocol):
    """One HTTP/1.1 connection with bounds; a server has a class of its own, see `guarded_by`."""

    bounds = Bounds()
    _quiet = _Quiet()

    def __init_subclass__(cls) -> None:
        cls._quiet = _Quiet()

    def __init__(self, *given: Any, **named: Any) -> None:  # noqa: ANN401 - uvicorn's own arguments, passed on
        super().__init__(*given, **named)
        self._look: asyncio.TimerHandle | None = None
        self._head_since: float | None = None
        self._unread_since: float | None = None
        self._body_since = self._body_last = 0.0
        self._body_bytes = 0
        self._unsent, self._unsent_since = 0, 0.0
        self._full_since: float | None = None
        self._is_extra = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn narrows it
        """Begin to watch, or refuse where there are too many already."""
        super().connection_made(transport)
        connection = transport.get_extra_info("socket")
        if connection is not None and connection.family in (socket.AF_INET, socket.AF_INET6):
            # asyncio leaves it out for a listening socket that was made without a protocol's number; the body of each
            # small answer would then wait 40 ms for the client to have confirmed its head.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._head_since = self._unsent_since = time.monotonic()
        self._look = self.loop.call_later(self.bounds.look_seconds, self._look_at_it)
        if self._has_a_place() or self._found_room(self._head_since):
            return
        many = RateLimited(f"{self.bounds.connections} connections are open; that is the most")
        if len(self.connections) > self.bounds.connections + self.bounds.reserve:
            self._refuse(many)
        else:
            self._is_extra, self.app = True, probes_alone(self.app, many)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop watching."""
        if self._look is not None:
            self._look.cancel()
            self._look = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Pass bytes on; a head in small steps, so that h11 sees its limit however large the steps of the network."""
        now = time.monotonic()
        self._body_last = now
        self._body_bytes += len(data)
        while data and not self.transport.is_closing():
            if self._is_between:
                self._head_since = self._head_since or now
                step, data = data[:HEAD_BYTES], data[HEAD_BYTES:]
            else:
                step, data = data, b""
            before = self.cycle
            super().data_received(step)
            if self.cycle is not before:
                self._head_since = None
                self._body_since, self._body_bytes = now, 0

    def pause_writing(self) -> None:
        """Note that more waits to be read than is kept for a client."""
        self._full_since = time.monotonic()
        super().pause_writing()

    def resume_writing(self) -> None:
        """Note that the client reads."""
        self._unsent_since, self._full_since = time.monotonic(), None
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP in the shape of all our errors; the reason is the exception being handled.

        Its words are not passed on: h11 repeats the line that it stumbled over, whatever secret is in it.
        """
        del msg
        if getattr(sys.exc_info()[1], "error_status_hint", 400) == 431:
            self._refuse(HeadTooLarge(f"the request's head has more than {HEAD_BYTES} bytes"))
        else:
            self._refuse(BadRequest("the request's head is no HTTP/1.1", hint="each line of it is checked by RFC 9112"))

    @property
    def _asked(self) -> RequestResponseCycle | None:
        """Return the request that came last; there is none at first, whatever uvicorn's types say."""
        return self.cycle

    @property
    def _is_between(self) -> bool:
        """Tell whether no request is being answered: the next bytes are, or belong to, a head."""
        return (self._asked is None or self._asked.response_complete) and self.conn.their_state is not h11.SEND_BODY

    def _has_a_place(self) -> bool:
        """Tell whether those who are not in the reserve are few enough, this one with them."""
        placed = [one for one in self.connections if not getattr(one, "_is_extra", False)]
        return len(placed) <= self.bounds.connections

    def _found_room(self, now: float) -> bool:
        """Drop a connection on which nothing is asked, the one that has been so for longest.

        All are looked through at times only: where hundreds come in a moment, each looking at all, nobody is served.
        """
        quiet = self._quiet
        if not quiet.found and now - quiet.looked_at >= _LOOK_THROUGH_SECONDS:
            others = [one for one in self.connections if isinstance(one, GuardedProtocol) and one is not self]
            placed = [one for one in others if not one._is_extra and one._is_quiet(now)]  # noqa: SLF001 - ours
            quiet.found = sorted(placed, key=GuardedProtocol._quiet_from, reverse=True)
            quiet.looked_at = now
        while quiet.found:
            longest = quiet.found.pop()
            if longest in self.connections and longest._is_quiet(now):  # noqa: SLF001 - as above
                longest._forget()  # noqa: SLF001 - as above
                return True
        return False

    def _is_quiet(self, now: float) -> bool:
        """Tell whether nothing has been asked for long, though we were not late ourselves: nothing waits to be read."""
        return (
            self._is_between
            and now - self._quiet_from() >= self.bounds.quiet_seconds
            and not self.transport.is_closing()
            and not _has_unread(self.transport.get_extra_info("socket"))
        )

    def _quiet_from(self) -> float:
        """Return since when a head has been waited for; an idle connection's last byte, where none has begun."""
        return self._body_last if self._head_since is None else self._head_since

    def _look_at_it(self) -> None:
        self._look = self.loop.call_later(self.bounds.look_seconds, self._look_at_it)
        now = time.monotonic()
        if self._client_does_not_read(now) or (self._is_extra and self._is_quiet(now)):
            self._forget()
        elif self.transport.is_closing():
            return
        elif self._head_is_late(now):
            self._end_a_late_head()
        elif self._body_is_late(now):
            pace = f"{self.bounds.body_bytes_per_second:.0f} bytes a second"
            self._refuse(RequestTooSlow(f"the request's body comes too slowly; at least {pace} are expected"))
        elif self._body_is_unwanted(now):
            self.transport.abort()

    def _head_is_late(self, now: float) -> bool:
        return self._is_between and self._head_since is not None and now - self._head_since > self.bounds.head_seconds

    def _body_is_late(self, now: float) -> bool:
        if self._asked is None or self._asked.response_complete or not self._asked.more_body:
            return False
        if self.flow.read_paused:
            # We are the slow ones: nothing is read while the disk or the application is behind.
            self._body_since, self._body_last, self._body_bytes = now, now, 0
            return False
        if now - self._body_last > self.bounds.body_idle_seconds:
            return True
        if now - self._body_since < self.bounds.body_window_seconds:
            return False
        slow = self._body_bytes < self.bounds.body_bytes_per_second * (now - self._body_since)
        self._body_since, self._body_bytes = now, 0
        return slow

    def _body_is_unwanted(self, now: float) -> bool:
        """Tell whether a client goes on sending a body that was answered long ago."""
        if self._asked is None or not self._asked.response_complete or self.conn.their_state is not h11.SEND_BODY:
            self._unread_since = None
            return False
        self._unread_since = self._unread_since or now
        return now - self._unread_since > self.bounds.unread_seconds

    def _client_does_not_read(self, now: float) -> bool:
        unsent = self.transport.get_write_buffer_size()
        if not unsent or unsent < self._unsent:
            self._unsent_since = now
        self._unsent = unsent
        if self._full_since is not None and now - self._full_since > self.bounds.slow_reader_seconds:
            return True  # a piece of a file is a MiB at most: this one reads less than nine kB a second
        return bool(unsent) and now - self._unsent_since > self.bounds.stalled_seconds

    def _forget(self) -> None:
        """Drop the connection and what the kernel still keeps for it: a closed one would hold it for minutes."""
        connection = self.transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def _end_a_late_head(self) -> None:
        """Answer half a head; a connection on which nothing was asked is closed without a word."""
        if self.conn.trailing_data[0]:
            limit = f"{self.bounds.head_seconds:.0f} s"
            self._refuse(RequestTooSlow(f"the request's head took more than {limit}"))
        else:
            self.transport.close()

    def _refuse(self, error: UpscaleError) -> None:
        """Answer where that is still possible, and end the connection."""
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.abort()
            return
        self.transport.write(answer_of(error))
        self.transport.close()


def _has_unread(connection: socket.socket | None) -> bool:
    """Tell whether the kernel holds bytes of a client that were not read yet."""
    if connection is None:
        return False
    count = array("i", [0])
    fcntl.ioctl(connection.fileno(), termios.FIONREAD, count)
    return count[0] > 0


def guarded_by(bounds: Bounds) -> type[GuardedProtocol]:
    """Return the protocol with other bounds."""
    return type("Guarded", (GuardedProtocol,), {"bounds": bounds})
