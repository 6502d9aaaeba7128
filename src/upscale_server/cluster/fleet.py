"""The nodes of a cluster as the lanes of one server: they come and go, and what one loses another does again.

A segment goes to a node that has what its plan needs; jobs take turns. How nodes are reached is `Cluster`'s promise,
kept in `ray` alone.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Hashable
from dataclasses import replace
from functools import partial

from upscale_server import __version__
from upscale_server.checkpoint import Done
from upscale_server.cluster.errand import Errand
from upscale_server.cluster.offered import Offered
from upscale_server.cluster.orders import NodeFacts, needs_of
from upscale_server.cluster.remote import Cluster, NodeLost, Remote
from upscale_server.cluster.seats import LOOK_SECONDS, Member, NobodyElse, Request, Seats
from upscale_server.cluster.transport import Transport
from upscale_server.errors import (
    Canceled,
    DeviceUnused,
    DiskFull,
    Draining,
    ModelMissing,
    ModelsNotLoaded,
    StorageError,
    UpscaleError,
)
from upscale_server.events import Observer
from upscale_server.logs import get_logger
from upscale_server.models.choices import Candidate
from upscale_server.stopping import Stop, only_parks
from upscale_server.workers.counted import CountedOnce
from upscale_server.workers.crew import DiedTwice
from upscale_server.workers.messages import RunSegment, Settled
from upscale_server.workers.status import LaneStatus

_ROUND_SECONDS = 2.0
"""Between two looks at the cluster, and at each node: so soon a new one gets work."""
_MOST_TRIES = 5
"""Nodes that may be lost, or fail for reasons of their own, under one segment."""
_THE_NODES_OWN = (StorageError, DiskFull, ModelsNotLoaded, ModelMissing, DeviceUnused, Draining, DiedTwice)
"""What a node fails with that another one may not."""


class _Failed(Exception):
    """A try was in vain for a reason that is not the segment's; `unfit` are nodes that would fail again."""

    def __init__(self, cause: UpscaleError, unfit: frozenset[str] = frozenset()) -> None:
        super().__init__(cause.detail)
        self.cause = cause
        self.unfit = unfit


class Fleet:
    """The `Lanes` of a server whose segments are done by the nodes of a cluster.

    Args:
        cluster: where the nodes are.
        transport: how pictures get there and back.
        owner: what no other server is called.
    """

    def __init__(self, cluster: Cluster, transport: Transport, owner: str) -> None:
        self._cluster = cluster
        self._transport = transport
        self._offered = Offered(transport, owner)
        self._seats = Seats()
        self._closing = threading.Event()
        self._fault: str | None = None
        self._watcher = threading.Thread(target=self._watch, name="watch-cluster", daemon=True)

    def start(self) -> None:
        """Begin to look for nodes; returns at once."""
        if self._watcher.ident is None:
            self._watcher.start()

    def close(self, drain_seconds: float = 0.0) -> None:
        """Let running segments end for a while, then let go of the cluster. Safe to call twice."""
        self._seats.close(drain_seconds)
        self._closing.set()
        with self._seats.changed:
            self._seats.changed.notify_all()
        self._offered.sweep(idle_seconds=0)
        self._cluster.close()

    @property
    def count(self) -> int:
        """Return how many lanes there are now."""
        with self._seats.changed:
            return sum(one.lanes for one in self._seats.members.values())

    @property
    def is_loaded(self) -> bool:
        """Tell whether a node can be given work."""
        return self.count > 0

    @property
    def fault(self) -> str | None:
        """Return why no work can be given; None where it can, or where nodes may still come or load."""
        if self.is_loaded:
            return None
        with self._seats.changed:
            known = [one.facts for one in self._seats.members.values() if one.facts is not None]
        faults = [f"{facts.host}: {facts.fault}" for facts in known if facts.fault]
        return self._fault or (faults[0] if faults and len(faults) == len(known) else None)

    @property
    def settled(self) -> Settled | None:
        """Return what most of the lanes run; None before a node has told."""
        common = self._commonest()
        return common[0].settled if common else None

    @property
    def threads(self) -> int:
        """Return the cores that a lane may use, on each node that runs what most of them do; 0 where none is there."""
        return min((facts.threads for facts in self._commonest()), default=0)

    def _commonest(self) -> list[NodeFacts]:
        """Return the nodes that run what most lanes do."""
        with self._seats.changed:
            known = [one.facts for one in self._seats.members.values() if one.lanes and one.facts is not None]
        ways = Counter[Candidate]()
        for facts in known:
            if facts.settled is not None:
                ways[facts.settled.way] += len(facts.lanes)
        if not ways:
            return []
        ((way, _),) = ways.most_common(1)
        return [facts for facts in known if facts.settled is not None and facts.settled.way == way]

    def wait_for_a_node(self, stop: Stop) -> Settled:
        """Wait until a node can be given work.

        Raises:
            Canceled: `stop` gave a reason.
        """
        while (settled := self.settled) is None:
            if reason := stop():
                raise Canceled(reason)
            with self._seats.changed:
                self._seats.changed.wait(LOOK_SECONDS)
        return settled

    def statuses(self, model: str) -> tuple[LaneStatus, ...]:
        """Return how each lane of each node is now."""
        del model  # each node says what it holds
        with self._seats.changed:
            known = [one.facts for one in self._seats.members.values() if one.facts is not None and not one.is_gone]
        lanes = [(facts.host, lane) for facts in known for lane in facts.lanes]
        return tuple(
            replace(lane, index=index, pid=None, device=f"{lane.device} on {host}" if lane.device else "")
            for index, (host, lane) in enumerate(lanes)
        )

    def do(self, order: RunSegment, job: Hashable, observer: Observer, stop: Stop) -> Done:
        """Have a segment done by a node that can; jobs that wait take turns.

        Raises:
            Canceled: `stop` gave a reason.
            Draining: the server is being stopped.
            UpscaleError and its kinds: the segment failed, or too many nodes were lost under it.
        """

        def check() -> None:
            reason = stop()
            if reason and not only_parks(reason):
                raise Canceled(reason)

        counted, request = CountedOnce(observer), Request(job, needs_of(order.plan))
        fault: UpscaleError | None = None
        for tries in range(1, _MOST_TRIES + 1):
            with self._offered.lent(order.plan.source, check) as source_key:
                try:
                    return self._tried(Errand(order, source_key, self._transport), request, counted, stop)
                except NobodyElse:
                    break
                except _Failed as err:
                    fault = err.cause
                    request = replace(request, unfit=request.unfit | err.unfit)
            get_logger().warning("segment_begun_again", segment=order.segment.index, cause=fault.detail, tries=tries)
            counted.begin_again()
            self._offered.doubt(order.plan.source)
        raise fault or ModelsNotLoaded("no node was tried")

    def _tried(self, errand: Errand, request: Request, observer: Observer, stop: Stop) -> Done:
        """Return what one node made of a segment.

        Raises:
            _Failed: another one may not fail.
        """
        with self._seats.lent(request, stop) as seat:
            try:
                made = errand.done_by(seat.remote, observer, stop, seat.leave)
            except NodeLost as err:
                self._seats.lose(seat.member, err)
                raise _Failed(ModelsNotLoaded(f"the node that did it was lost: {err}")) from err
            except UpscaleError as err:
                if not _is_the_nodes_own(err):
                    raise
                self._seats.rest(seat.member)
                raise _Failed(err, frozenset({seat.member.name})) from err
            try:
                return errand.brought(made, observer, stop)
            except StorageError as err:  # it is gone on the way, or came back as something else
                raise _Failed(err) from err

    # ------------------------------------------------------------------------------------------------ nodes

    def _watch(self) -> None:
        while not self._closing.is_set():
            try:
                self._follow(self._cluster.nodes())
                self._fault = None
                self._offered.sweep()
            except UpscaleError as err:
                if self._fault != err.detail:
                    get_logger().error("cluster_not_reached", cause=err.detail)
                self._fault = err.detail
            except Exception as err:  # noqa: BLE001 - whatever it is, the next round may find the cluster
                get_logger().exception("cluster_not_watched")
                self._fault = f"{type(err).__name__}: {err}"
            self._closing.wait(_ROUND_SECONDS)

    def _follow(self, nodes: dict[str, Remote]) -> None:
        """Take in who has come, let go of who is gone."""
        with self._seats.changed:
            for name in [name for name in self._seats.members if name not in nodes]:
                self._seats.members.pop(name).is_gone = True
                get_logger().warning("node_gone", node=name)
            come = [Member(name, remote) for name, remote in nodes.items() if name not in self._seats.members]
            self._seats.members |= {one.name: one for one in come}
            self._seats.changed.notify_all()
        for one in come:
            threading.Thread(target=self._attend, args=(one,), name=f"node-{one.name}", daemon=True).start()

    def _attend(self, member: Member) -> None:
        """Ask a node how it is, and what it lacks of what is waited for, as long as it is there."""
        while not self._closing.is_set() and not member.is_gone:
            try:
                self._note(member, member.remote.facts())
                for needs in self._seats.unasked(member):
                    self._seats.learn(member, needs, member.remote.lacks(needs))
            except NodeLost as err:
                self._seats.lose(member, err)
            except Exception as err:  # noqa: BLE001 - a node of another version may say what cannot be read
                self._seats.lose(member, NodeLost(f"{type(err).__name__}: {err}"))
            with self._seats.changed:
                self._seats.changed.wait_for(partial(self._is_wanted, member), _ROUND_SECONDS)

    def _is_wanted(self, member: Member) -> bool:
        return self._closing.is_set() or member.is_gone or bool(self._seats.unasked(member))

    def _note(self, member: Member, facts: NodeFacts) -> None:
        before = member.facts
        if before is None or (before.is_ready, before.fault) != (facts.is_ready, facts.fault):
            tell = get_logger().warning if facts.fault or facts.version != __version__ else get_logger().info
            tell("node_known", node=member.name, host=facts.host, version=facts.version, ready=facts.is_ready,
                 fault=facts.fault)  # fmt: skip
        with self._seats.changed:
            member.facts, member.is_lost = facts, False
            self._seats.changed.notify_all()


def _is_the_nodes_own(err: UpscaleError) -> bool:
    """Tell whether another node may not fail with it; what nobody foresaw is tried elsewhere, too."""
    return isinstance(err, _THE_NODES_OWN) or type(err) is UpscaleError
