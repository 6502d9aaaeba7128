"""Keeps a fixed number of worker processes alive and lends them to jobs in turn.

A process that dies is replaced at once and its order given to another, once. What the orders mean is not known here.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from upscale_server.cage import InmateDied
from upscale_server.errors import Canceled, Draining, ModelsNotLoaded, SourceCorrupt, UpscaleError
from upscale_server.events import Observer, ignore
from upscale_server.logs import get_logger
from upscale_server.models.base import Working
from upscale_server.stopping import Stop as Stopping
from upscale_server.workers.counted import CountedOnce
from upscale_server.workers.messages import Order, Setup
from upscale_server.workers.resident import Died, Patience, Resident
from upscale_server.workers.status import LaneState, LaneStatus

_LOOK_SECONDS = 0.2
"""How often one who waits for a process is asked whether it should stop; a free process is noticed at once."""

_MOST_DEATHS = 3
"""Deaths in a row before a process has loaded: then it is no accident."""

_PAUSE_SECONDS = 1.0
"""Before a process that died while loading is started again, times the number of its deaths."""


_DEATHS = (Died, InmateDied)
"""Of a process that worked, or of the one that opened the source for it."""


class DiedTwice(UpscaleError):
    """Two processes died of the same order: it is the order's doing, or the machine's."""


@dataclass(slots=True)
class Seat:
    """The place of one process: who sits there now, and in which state."""

    setup: Setup
    state: LaneState = "starting"
    resident: Resident | None = None
    facts: Any = None  # the answer to the opening order
    loaded_once: bool = False
    fault: str | None = None
    opening_seconds: float = 0.0  # the newest process took from its start to its answer


class Crew:
    """Worker processes that each did an opening order before they are lent out."""

    def __init__(self, setups: tuple[Setup, ...], patience: Patience, opening: Order) -> None:
        self._patience = patience
        self._opening = opening
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._waiting: OrderedDict[Hashable, deque[object]] = OrderedDict()
        self.seats = tuple(Seat(setup) for setup in setups)
        self._keepers = [
            threading.Thread(target=self._keep, args=(seat,), name=f"keep-{seat.setup.role}-{seat.setup.index}")
            for seat in self.seats
        ]

    def start(self) -> None:
        """Start the processes; returns at once."""
        for keeper in self._keepers:
            keeper.daemon = True  # a server that crashes in its main thread must not hang here
            keeper.start()

    @property
    def fault(self) -> str | None:
        """Return why a process could not be started; None where all could, or still may."""
        return next((seat.fault for seat in self.seats if seat.fault), None)

    @property
    def count(self) -> int:
        """Return how many processes there are."""
        return len(self.seats)

    @property
    def is_loaded(self) -> bool:
        """Tell whether every process has loaded what it needs; one that died since and comes back does count."""
        return bool(self.seats) and all(seat.loaded_once for seat in self.seats)

    def statuses(self, model: str) -> tuple[LaneStatus, ...]:
        """Return how each process is now; `model` is the name of what they hold."""
        return tuple(_status_of(seat, model) for seat in self.seats)

    def do(self, order: Order, job: Hashable, observer: Observer, stop: Stopping) -> Any:  # noqa: ANN401 - see Order
        """Have an order done by the next free process; jobs that wait take turns.

        Raises:
            Canceled: `stop` gave a reason.
            Draining: the crew is being closed.
            ModelsNotLoaded: no process could load its models.
            SourceCorrupt: two processes died that opened its source.
            UpscaleError: the order failed.
            DiedTwice: two of our processes died of it.
        """
        counted = CountedOnce(observer)
        first = self._try(order, job, counted, stop)
        if not isinstance(first, _DEATHS):
            return first
        get_logger().warning("worker_died", order=type(order).__name__, cause=str(first))
        counted.begin_again()
        second = self._try(order, job, counted, stop)
        if not isinstance(second, _DEATHS):
            return second
        if isinstance(second, InmateDied):
            raise SourceCorrupt(
                f"the source cannot be read: {second.detail}",
                hint="it is damaged, or made to crash a decoder; try it in a player",
            ) from second
        raise DiedTwice(
            f"two worker processes died of the same piece of work ({type(order).__name__}): {second}",
            hint="the source may be made to crash a decoder, or memory is short; the server's log says more",
        ) from second

    def do_once(self, order: Order, job: Hashable, observer: Observer, stop: Stopping) -> Any:  # noqa: ANN401 - as `do`
        """Have an order done as `do` does, but given to nobody else when its process dies: it is not worth two.

        Raises:
            Canceled, Draining, ModelsNotLoaded: as `do`.
            UpscaleError: the order failed, or the process died of it.
        """
        found = self._try(order, job, observer, stop)
        if isinstance(found, _DEATHS):
            raise UpscaleError(f"the worker process died ({type(order).__name__}): {found}") from found
        return found

    def close(self, drain_seconds: float = 0.0) -> None:
        """Let running orders end for a while, then end all processes. Safe to call twice."""
        self._closing.set()
        with self._changed:
            self._changed.notify_all()
            self._changed.wait_for(lambda: all(seat.state != "busy" for seat in self.seats), drain_seconds)
            residents = [seat.resident for seat in self.seats if seat.resident is not None]
            for seat in self.seats:
                seat.state = "stopped"
        for resident in residents:
            resident.close()
        for keeper in self._keepers:
            if keeper.ident is not None:
                keeper.join()

    def _try(self, order: Order, job: Hashable, observer: Observer, stop: Stopping) -> Any:  # noqa: ANN401 - as `do`
        with self._lent(job, stop) as resident:
            try:
                return resident.ask(order, observer, stop)
            except (Died, InmateDied) as err:
                if self._closing.is_set():
                    raise Draining("the server is stopping") from err
                return err

    @contextmanager
    def _lent(self, job: Hashable, stop: Stopping) -> Iterator[Resident]:
        seat, resident = self._take(job, stop)
        try:
            yield resident
        finally:
            with self._changed:
                if seat.resident is resident and seat.state == "busy":
                    seat.state = "ready" if resident.is_fit else "starting"
                self._changed.notify_all()

    def _take(self, job: Hashable, stop: Stopping) -> tuple[Seat, Resident]:
        ticket = object()
        with self._changed:
            self._waiting.setdefault(job, deque()).append(ticket)
        try:
            while True:
                reason = stop()  # before a free process is taken, too: a parked job begins nothing more
                if reason:
                    raise Canceled(reason)
                with self._changed:
                    taken = self._next_for(ticket)
                    if taken is not None:
                        self._waiting.move_to_end(job)  # the other jobs come first now
                        return taken
                    self._changed.wait(_LOOK_SECONDS)
        finally:
            with self._changed:
                self._waiting[job].remove(ticket)
                if not self._waiting[job]:
                    del self._waiting[job]
                self._changed.notify_all()

    def _next_for(self, ticket: object) -> tuple[Seat, Resident] | None:
        """Return a free process if this ticket is the next in turn."""
        if self._closing.is_set():
            raise Draining("the server is stopping")
        if all(seat.state == "failed" for seat in self.seats):
            raise ModelsNotLoaded(f"no worker could load its models: {self.fault}")
        if next(iter(self._waiting.values()))[0] is not ticket:
            return None
        for seat in self.seats:
            if seat.state == "ready" and seat.resident is not None and seat.resident.is_fit:
                seat.state = "busy"
                return seat, seat.resident
        return None

    def _keep(self, seat: Seat) -> None:
        """Keep a seat taken until the crew is closed, or its process cannot load."""
        deaths = 0
        while not self._closing.wait(_PAUSE_SECONDS * deaths) and deaths < _MOST_DEATHS:
            try:
                resident = self._open(seat)
            except Died as err:
                deaths += 1
                get_logger().warning("worker_died_loading", **_name(seat), cause=str(err))
                if deaths == _MOST_DEATHS:
                    self._give_up(seat, f"a worker died {deaths} times while it loaded its models: {err}")
            except UpscaleError as err:
                self._give_up(seat, err.detail)
                return
            except Exception as err:  # noqa: BLE001 - a seat without keeper would be waited for, for ever
                self._give_up(seat, f"{type(err).__name__}: {err}")
                return
            else:
                deaths = 0
                resident.wait_for_end()
                if not self._closing.is_set():
                    get_logger().warning("worker_ended", **_name(seat), cause=resident.how_it_ended())

    def _open(self, seat: Seat) -> Resident:
        """Start a process and have it do the opening order."""
        with self._changed:
            if seat.state != "stopped":
                seat.state = "starting"
        began = time.monotonic()
        try:
            resident = Resident(seat.setup, self._patience)
        except OSError as err:
            raise Died(f"it could not be started: {err}") from err
        with self._changed:
            seat.resident = resident
        try:
            facts = resident.ask(self._opening, ignore, lambda: "closing" if self._closing.is_set() else "")
        except BaseException:
            resident.close()
            raise
        with self._changed:
            if not self._closing.is_set():
                seat.facts, seat.state, seat.loaded_once = facts, "ready", True
                seat.opening_seconds = time.monotonic() - began
            self._changed.notify_all()
        get_logger().info("worker_ready", **_name(seat), pid=resident.pid)
        return resident

    def _give_up(self, seat: Seat, fault: str) -> None:
        with self._changed:
            if not self._closing.is_set():
                seat.state, seat.fault = "failed", fault
                get_logger().error("worker_failed", **_name(seat), cause=fault)
            self._changed.notify_all()


def _name(seat: Seat) -> dict[str, object]:
    return {"role": seat.setup.role, "lane": seat.setup.index}


def _status_of(seat: Seat, model: str) -> LaneStatus:
    pid = seat.resident.pid if seat.resident else None
    if not isinstance(seat.facts, Working):
        return LaneStatus(seat.setup.index, pid, seat.state)
    ran = (seat.facts.engine, seat.facts.device, seat.facts.precision, model)
    return LaneStatus(seat.setup.index, pid, seat.state, *ran, seat.opening_seconds)
