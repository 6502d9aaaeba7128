"""A cluster without a network: nodes of this process, which can be lost and can come back, and nodes that pretend."""

from __future__ import annotations

import hashlib
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from upscale_server import __version__
from upscale_server.checkpoint import Done
from upscale_server.cluster.orders import Made, Needs, News, NodeFacts, NodeOrder
from upscale_server.cluster.remote import NodeLost, Remote
from upscale_server.cluster.transport import Transport
from upscale_server.errors import Canceled
from upscale_server.events import FramesDone, SegmentDone
from upscale_server.models.catalogue import classical_card
from upscale_server.models.choices import Candidate
from upscale_server.workers.messages import Settled
from upscale_server.workers.status import LaneStatus


@dataclass
class NearNode:
    """A `Remote` that calls another one here; while it is `lost` it does not answer."""

    inner: Remote
    is_lost: bool = False
    begun: list[int] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)

    def _asked(self, call: Callable[[], Any]) -> Any:  # noqa: ANN401 - what is asked for
        if self.is_lost:
            raise NodeLost("it was taken away")
        return call()

    def facts(self) -> NodeFacts:
        """Return how it is."""
        return self._asked(self.inner.facts)  # type: ignore[no-any-return]

    def lacks(self, needs: Needs) -> str:
        """Return what it lacks."""
        return self._asked(lambda: self.inner.lacks(needs))  # type: ignore[no-any-return]

    def begin(self, order: NodeOrder) -> None:
        """Begin an order."""
        self.begun.append(order.segment.index)
        self._asked(lambda: self.inner.begin(order))

    def heard(self, number: str, seconds: float) -> News:
        """Return what happened."""
        news = self._asked(lambda: self.inner.heard(number, seconds))
        return self._asked(lambda: news)  # type: ignore[no-any-return]  # lost while it was waited for

    def stop(self, number: str, reason: str) -> None:
        """Stop an order."""
        self.stopped.append(reason)
        self._asked(lambda: self.inner.stop(number, reason))


@dataclass
class Pretender:
    """A `Remote` that makes files of some bytes and calls them segments.

    `fault` keeps it from loading, `version` is that of its package; `lacking` is what it lacks of
    any plan; `faults` are raised, one an order; so many files are `spoiled` on their way;
    while `gate` is not set nothing ends.
    """

    transport: Transport
    lanes: int = 1
    fault: str | None = None
    version: str = __version__
    lacking: str = ""
    engine: str = "lanczos"
    faults: list[Exception] = field(default_factory=list)
    spoiled: int = 0
    gate: threading.Event = field(default_factory=threading.Event)
    orders: dict[str, NodeOrder] = field(default_factory=dict)
    done: list[int] = field(default_factory=list)
    stopped: dict[str, str] = field(default_factory=dict)
    most: int = 0

    def __post_init__(self) -> None:
        self.gate.set()

    def facts(self) -> NodeFacts:
        """Return how it is: ready."""
        lanes = tuple(LaneStatus(index, 1, "ready", self.engine, "CPU", "integer", "x") for index in range(self.lanes))
        settled = Settled((classical_card("lanczos", 2),), Candidate(self.engine, "integer"))
        return NodeFacts("near", self.version, lanes, 3, settled, is_ready=self.fault is None, fault=self.fault)

    def lacks(self, needs: Needs) -> str:
        """Return what it lacks."""
        del needs
        return self.lacking

    def begin(self, order: NodeOrder) -> None:
        """Note the order."""
        self.orders[order.number] = order
        self.most = max(self.most, len(self.orders))

    def heard(self, number: str, seconds: float) -> News:
        """Return the end of an order, when there is one."""
        order = self.orders[number]
        if number in self.stopped:
            return self._over(number, News(fault=Canceled(self.stopped[number])))
        if not self.gate.wait(min(seconds, 0.02)):
            return News((FramesDone(1),))
        if self.faults:
            return self._over(number, News(fault=self.faults.pop(0)))
        done = self._made(order)
        return self._over(number, News((FramesDone(2), SegmentDone(done.index, 2, 5, {})), Made(done)))

    def stop(self, number: str, reason: str) -> None:
        """Note it."""
        self.stopped[number] = reason

    def _over(self, number: str, news: News) -> News:
        del self.orders[number]
        return news

    def _made(self, order: NodeOrder) -> Done:
        content = f"segment {order.segment.index}".encode()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "made"
            path.write_bytes(content[: -1 if self.spoiled else None])
            self.spoiled = max(0, self.spoiled - 1)
            self.transport.give(path, order.result_key, lambda: None)
        self.done.append(order.segment.index)
        return Done(order.segment.index, (), len(content), hashlib.sha256(content).hexdigest())


class NearCluster:
    """A `Cluster` of nodes that tests put in and take out."""

    def __init__(self, **nodes: Remote) -> None:
        self._lock = threading.Lock()
        self._nodes: dict[str, Remote] = dict(nodes)
        self.is_closed = False

    def nodes(self) -> dict[str, Remote]:
        """Return those that are here."""
        with self._lock:
            return dict(self._nodes)

    def join(self, name: str, node: Remote) -> None:
        """Put a node in."""
        with self._lock:
            self._nodes[name] = node

    def leave(self, name: str) -> None:
        """Take a node out."""
        with self._lock:
            del self._nodes[name]

    def close(self) -> None:
        """Note it."""
        self.is_closed = True
