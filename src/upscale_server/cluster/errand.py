"""One segment's way to a node and back: its order followed, its file brought, and only then recorded as done.

Which node does it, and what happens when that is lost, is `fleet`'s business.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from contextlib import suppress

from upscale_server.checkpoint import Done, WorkDir, digest_of
from upscale_server.cluster.orders import Made, NodeOrder
from upscale_server.cluster.remote import NodeLost, Remote
from upscale_server.cluster.transport import Transport, beside
from upscale_server.errors import Canceled, StorageError
from upscale_server.events import Observer, SegmentDone
from upscale_server.logs import bound_facts
from upscale_server.proxies import copy_path, picture_path
from upscale_server.stopping import Stop, only_parks
from upscale_server.workers.messages import RunSegment

_HEAR_SECONDS = 1.0
"""Between two questions about an order, while nothing ends: how fresh progress is, and how soon a cancel arrives."""
_RELEASE_SECONDS = 10.0
"""How long a node may take to let go of a stopped order; it does so alone then, and what it made is swept."""


class Errand:
    """One segment, until its file is in the job's folder.

    Args:
        order: what is to be done.
        source_key: under which nodes find its source.
        transport: by which files come back.
    """

    def __init__(self, order: RunSegment, source_key: str, transport: Transport) -> None:
        self._order = order
        self._source_key = source_key
        self._transport = transport
        self._work = WorkDir(order.work, order.plan.digest, order.proxies)
        self._told: SegmentDone | None = None

    def done_by(self, remote: Remote, observer: Observer, stop: Stop, leave: Callable[[], None]) -> Made:
        """Have it done; `leave` is called as soon as the node's lane is free for another.

        Raises:
            NodeLost: the node does not answer any more.
            Canceled: `stop` gave a reason; the node was told.
            UpscaleError and its kinds: what it failed with.
        """
        order = self._new_order()
        remote.begin(order)
        try:
            return self._followed(remote, order, observer, stop, leave)
        except NodeLost:
            raise
        except BaseException:
            with suppress(NodeLost):
                remote.stop(order.number, "nobody waits for it any more")
            raise

    def brought(self, made: Made, observer: Observer, stop: Stop) -> Done:
        """Bring the file, hold it against its record, and record the segment as done.

        Raises:
            Canceled: `stop` gave a reason that does not only park.
            StorageError, DiskFull: it cannot be had, or written, or is another.
        """

        def check() -> None:
            reason = stop()
            if reason and not only_parks(reason):
                raise Canceled(reason)

        done = made.done
        if done.index != self._order.segment.index:
            raise StorageError(f"segment {done.index} came back where {self._order.segment.index} was expected")
        with self._work.writing(done.index) as path:
            self._transport.take(self._result_key, path, check)
            if digest_of(path) != done.sha256:
                raise StorageError(f"segment {done.index} came back from the node as other bytes than it was made of")
        self._bring_copies(made, check)
        self._work.mark(done)
        if self._told is not None:
            observer(self._told)
        return done

    def _new_order(self) -> NodeOrder:
        plan, segment, number = self._order.plan, self._order.segment, secrets.token_hex(16)
        folder = self._source_key.rpartition("/")[0]
        self._result_key = f"{folder}/{plan.digest}-{segment.index:05d}-{number}.mkv"
        is_watched = self._order.proxies is not None
        return NodeOrder(number, plan, segment, self._source_key, self._result_key, is_watched, bound_facts())

    def _followed(
        self, remote: Remote, order: NodeOrder, observer: Observer, stop: Stop, leave: Callable[[], None]
    ) -> Made:
        reason, let_go_by = "", 0.0
        while True:
            news = remote.heard(order.number, _HEAR_SECONDS)
            for event in news.events:
                if isinstance(event, SegmentDone):
                    self._told = event  # told when its file is here
                    leave()
                elif not reason:
                    observer(event)
            if reason and (news.is_last or time.monotonic() > let_go_by):
                raise Canceled(reason)
            if isinstance(news.fault, Canceled):  # not by us: it heard nothing of us for too long
                raise NodeLost(f"it stopped the segment: {news.fault.detail}")
            if news.fault is not None:
                raise news.fault
            if news.made is not None:
                return news.made
            asked = stop()
            if not reason and asked and not only_parks(asked):
                reason, let_go_by = asked, time.monotonic() + _RELEASE_SECONDS
                remote.stop(order.number, reason)

    def _bring_copies(self, made: Made, check: Callable[[], None]) -> None:
        """Bring what can be watched, its picture first: the copy says that both are there."""
        folder = self._order.proxies
        if folder is None or not made.has_copy:
            return
        with suppress(StorageError, OSError):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            for path in (picture_path(folder, made.done.index), copy_path(folder, made.done.index)):
                self._transport.take(beside(self._result_key, path), path, check)
