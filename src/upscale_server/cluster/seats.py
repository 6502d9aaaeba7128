"""Which node a segment goes to: one that has what its plan needs, and jobs take turns for it.

How nodes come and go is `fleet`'s business, what they do that of `errand`.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from upscale_server import __version__
from upscale_server.cluster.orders import Needs, NodeFacts
from upscale_server.cluster.remote import NodeLost, Remote
from upscale_server.errors import Canceled, Draining
from upscale_server.logs import get_logger
from upscale_server.stopping import Stop

LOOK_SECONDS = 0.2
"""How often one who waits for a node is asked whether it should stop; a free lane is noticed at once."""
_REST_SECONDS = 10.0
"""After a fault of its own, such as a full disk."""
_TOLD_SECONDS = 60.0
"""Between two lines in the log about jobs that no node can do."""


@dataclass(slots=True)
class Member:
    """A node, as far as it is known: `facts` None until it answers, `taken` lanes at work for this server.

    `lacking` says of what was needed what it has not, empty where that is nothing; `rests_until` is a time of
    `time.monotonic` until which it gets nothing, because it has just failed by itself.
    """

    name: str
    remote: Remote
    facts: NodeFacts | None = None
    taken: int = 0
    lacking: dict[Needs, str] = field(default_factory=dict)
    is_gone: bool = False
    is_lost: bool = False
    rests_until: float = 0.0

    @property
    def lanes(self) -> int:
        """Return how many lanes it can be given work for."""
        facts = self.facts
        is_able = facts is not None and facts.is_ready and facts.version == __version__ and not self.is_gone
        return len(facts.lanes) if facts is not None and is_able else 0

    def may_do(self, needs: Needs) -> bool:
        """Tell whether it can do what needs this, now or when it has loaded."""
        has_failed = self.facts is not None and (bool(self.facts.fault) or self.facts.version != __version__)
        return not (self.is_gone or has_failed or self.lacking.get(needs))


@dataclass(frozen=True, slots=True, eq=False)
class _Ticket:
    """Somebody who waits for a node that has what he needs, and is none of those."""

    needs: Needs
    unfit: frozenset[str]


@dataclass(frozen=True, slots=True)
class Request:
    """Whose segment a node is wanted for, what it needs, and the names of those that have failed at it."""

    job: Hashable
    needs: Needs
    unfit: frozenset[str] = frozenset()


class NobodyElse(Exception):
    """Every node that could do a segment has failed at it."""


class Seat:
    """A lane of a node, taken; `leave` gives it back, also before what it made has been fetched."""

    def __init__(self, member: Member, changed: threading.Condition) -> None:
        self.member = member
        self.remote = member.remote
        self._changed = changed
        self._is_left = False

    def leave(self) -> None:
        """Give the lane back. Safe to call twice."""
        with self._changed:
            if not self._is_left:
                self._is_left = True
                self.member.taken -= 1
                self._changed.notify_all()


class Seats:
    """The lanes of all nodes, lent to segments; `changed` guards and announces everything in it."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.members: dict[str, Member] = {}
        self._waiting: OrderedDict[Hashable, deque[_Ticket]] = OrderedDict()
        self._closing = False
        self._at_work = 0
        self._told_at = 0.0

    def close(self, drain_seconds: float) -> None:
        """Lend nothing more, and wait so long until nothing is lent."""
        with self.changed:
            self._closing = True
            self.changed.notify_all()
            self.changed.wait_for(lambda: not self._at_work, drain_seconds)

    def rest(self, member: Member) -> None:
        """Give a node nothing for a moment: one that fails at once would draw all work to itself."""
        with self.changed:
            member.rests_until = time.monotonic() + _REST_SECONDS

    def unasked(self, member: Member) -> list[Needs]:
        """Return what is waited for, and what a node that can be given work has not said of whether it has it."""
        with self.changed:
            wanted = {ticket.needs for tickets in self._waiting.values() for ticket in tickets}
            return [one for one in wanted if one not in member.lacking] if member.lanes else []

    def learn(self, member: Member, needs: Needs, lacking: str) -> None:
        """Take note of what a node lacks of what is needed."""
        with self.changed:
            member.lacking[needs] = lacking
            self.changed.notify_all()

    def lose(self, member: Member, err: NodeLost) -> None:
        """Give a node nothing more until it answers again; what it can do is asked anew then."""
        with self.changed:
            if not member.is_lost:
                get_logger().warning("node_lost", node=member.name, cause=str(err))
            member.facts, member.is_lost = None, True
            member.lacking.clear()
            self.changed.notify_all()

    @contextmanager
    def lent(self, request: Request, stop: Stop) -> Iterator[Seat]:
        """Give a free lane of a node that has what is needed and has not failed at it.

        Raises:
            NobodyElse: there is none, and none that is loading.
            Canceled: `stop` gave a reason.
            Draining: the server is being stopped.
        """
        seat = self._take(request.job, _Ticket(request.needs, request.unfit), stop)
        try:
            yield seat
        finally:
            seat.leave()
            with self.changed:
                self._at_work -= 1
                self.changed.notify_all()

    def _take(self, job: Hashable, ticket: _Ticket, stop: Stop) -> Seat:
        with self.changed:
            self._waiting.setdefault(job, deque()).append(ticket)
            self.changed.notify_all()  # the nodes are asked what they lack of it
        try:
            while True:
                if reason := stop():
                    raise Canceled(reason)
                if self._closing:
                    raise Draining("the server is stopping")
                with self.changed:
                    self._tell_of_unfit(ticket)
                    if ticket.unfit and not self._may_come(ticket):
                        raise NobodyElse
                    member = self._next_for(ticket)
                    if member is not None:
                        member.taken += 1
                        self._at_work += 1
                        self._waiting.move_to_end(job)  # the other jobs come first now
                        return Seat(member, self.changed)
                    self.changed.wait(LOOK_SECONDS)
        finally:
            with self.changed:
                self._waiting[job].remove(ticket)
                if not self._waiting[job]:
                    del self._waiting[job]
                self.changed.notify_all()

    def _next_for(self, ticket: _Ticket) -> Member | None:
        """Return a node for this ticket, if nobody before it could have it."""
        now = time.monotonic()
        free = [one for one in self.members.values() if one.taken < one.lanes and one.rests_until <= now]
        for first in (one for tickets in self._waiting.values() for one in tickets):
            fitting = [one for one in free if one.name not in first.unfit and one.lacking.get(first.needs) == ""]
            if first is ticket:
                return min(fitting, key=lambda one: one.taken / one.lanes, default=None)
            if fitting:
                return None  # it is another one's turn
        return None

    def _may_come(self, ticket: _Ticket) -> bool:
        """Tell whether there is a node that can do a ticket's segment, or that loads what it takes."""
        others = [one for one in self.members.values() if one.name not in ticket.unfit]
        return any(one.may_do(ticket.needs) for one in others)

    def _tell_of_unfit(self, ticket: _Ticket) -> None:
        """Say at times that a job waits for what no node has, and have all asked again: it may be there by then."""
        asked = [one for one in self.members.values() if one.lanes]
        why = [one.lacking.get(ticket.needs, "") for one in asked]
        if why and all(why) and time.monotonic() - self._told_at > _TOLD_SECONDS:
            self._told_at = time.monotonic()
            for one in asked:
                del one.lacking[ticket.needs]
            get_logger().warning("no_node_fits", engine=ticket.needs.engine, lacking=why[0], nodes=len(why))
