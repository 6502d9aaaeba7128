"""One device of another machine: a pool of its own, and the segments that it is given, from source to stored file.

It is asked by key and answers with small values; who asks, and over what, is not known here.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from structlog.contextvars import bound_contextvars

from upscale_server import __version__
from upscale_server.checkpoint import Done, WorkDir
from upscale_server.cluster.at_node import lacking, localized
from upscale_server.cluster.orders import Made, Needs, News, NodeFacts, NodeOrder
from upscale_server.cluster.remote import NodeLost
from upscale_server.cluster.sources import Sources, own_folder
from upscale_server.cluster.transport import Transport, beside
from upscale_server.errors import Canceled, StorageError, UpscaleError
from upscale_server.events import Event, SegmentDone
from upscale_server.logs import get_logger
from upscale_server.models.device import usable_cores
from upscale_server.plan import Plan
from upscale_server.proxies import copy_path, picture_path
from upscale_server.settings import Settings
from upscale_server.workers.needs import needs_of as pool_needs
from upscale_server.workers.pool import Pool

FORGOTTEN_SECONDS = 60.0
"""How long nobody may ask about an order before it is stopped: its server is gone, and another may want the device."""


class Node:
    """Does segments; `close` ends its processes. Safe to call from several threads.

    Args:
        settings: of this machine: the model, the lanes, the folders.
        transport: by which sources come and segments go.
        pool: other workers, for tests.
    """

    def __init__(self, settings: Settings, transport: Transport, pool: Pool | None = None) -> None:
        self._settings = settings
        self._transport = transport
        self._folder = own_folder((settings.temp_dir or settings.state_dir) / "node")
        self._pool = pool or Pool(pool_needs(settings, os.environ))
        self._lock = threading.Lock()
        self._orders: dict[str, _Order] = {}
        self._sources = Sources(self._folder / "sources", transport)
        self._asked_at = time.monotonic()
        self._pool.start()

    @property
    def idle_seconds(self) -> float:
        """Return how long nobody has asked for anything."""
        return time.monotonic() - self._asked_at

    def facts(self) -> NodeFacts:
        """Return how the device is now."""
        self._touch()
        status = self._pool.status()
        threads = max(1, usable_cores() // max(1, len(status.lanes)))
        settled, host = self._pool.settled, socket.gethostname()
        return NodeFacts(host, __version__, status.lanes, threads, settled, status.ready, status.fault)

    def lacks(self, needs: Needs) -> str:
        """Return what a plan needs and this node has not; empty where it can do its segments."""
        self._touch()
        return lacking(needs, self._settings)

    def begin(self, order: NodeOrder) -> None:
        """Begin an order; one that is known goes on."""
        self._touch()
        with self._lock:
            if order.number in self._orders:
                return
            for number in [number for number, one in self._orders.items() if one.is_forgotten and one.has_ended]:
                del self._orders[number]  # whoever gave it is gone
            one = self._orders[order.number] = _Order(order)
        threading.Thread(target=self._run, args=(one,), name=f"segment-{order.segment.index}", daemon=True).start()

    def heard(self, number: str, seconds: float) -> News:
        """Return what happened to an order; waits so long for its end, and is told of it once.

        Raises:
            NodeLost: there is no such order: this process is younger than it.
        """
        self._touch()
        with self._lock:
            one = self._orders.get(number)
        if one is None:
            raise NodeLost(f"order {number} is not known here")
        news = one.news(seconds)
        if news.is_last:
            with self._lock:
                self._orders.pop(number, None)
        return news

    def stop(self, number: str, reason: str) -> None:
        """Stop an order; its end is to be heard."""
        self._touch()
        with self._lock:
            one = self._orders.get(number)
        if one is not None:
            one.reason = reason

    def close(self) -> None:
        """End every process and leave no file. Safe to call twice."""
        self._pool.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _touch(self) -> None:
        self._asked_at = time.monotonic()

    def _run(self, one: _Order) -> None:
        with bound_contextvars(**one.order.about):
            try:
                one.end(News(made=self._made(one)))
            except UpscaleError as err:
                one.end(News(fault=err))
            except Exception as err:  # noqa: BLE001 - a defect of ours ends an order, not the node
                get_logger().exception("segment_failed", segment=one.order.segment.index)
                one.end(News(fault=UpscaleError(f"{type(err).__name__}: {err}")))

    def _made(self, one: _Order) -> Made:
        order, folder = one.order, self._folder / f"order-{secrets.token_hex(8)}"
        try:
            with self._sources.lent(order.source_key, order.plan.source.byte_count, one.check) as source:
                plan = localized(order.plan, source, self._settings)
                done = self._done(one, plan, folder)
            return self._given(one, folder, done)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _done(self, one: _Order, plan: Plan, folder: Path) -> Done:
        work = WorkDir(folder, plan.digest, folder / "copies" if one.order.is_watched else None)
        (done,) = self._pool.executor(None, one.why_stop).run(plan, [one.order.segment], work, one.observe)
        return done

    def _given(self, one: _Order, folder: Path, done: Done) -> Made:
        """Store the segment, and its copies where there are any: they cost nobody his result."""
        key, index = one.order.result_key, done.index
        self._transport.give(WorkDir(folder, "").segment_path(index), key, one.check)
        copies = (copy_path(folder / "copies", index), picture_path(folder / "copies", index))
        if not all(path.exists() for path in copies):
            return Made(done)
        with suppress(StorageError):
            for path in copies:
                self._transport.give(path, beside(key, path), one.check)
            return Made(done, has_copy=True)
        return Made(done)


class _Order:
    """An order in work: what is to be told of it, and why it is to stop."""

    def __init__(self, order: NodeOrder) -> None:
        self.order = order
        self.reason = ""
        self._changed = threading.Condition()
        self._events: list[Event] = []
        self._end: News | None = None
        self._asked_at = time.monotonic()

    @property
    def is_forgotten(self) -> bool:
        """Tell whether nobody has asked about it for long."""
        return time.monotonic() - self._asked_at > FORGOTTEN_SECONDS

    @property
    def has_ended(self) -> bool:
        """Tell whether its end is known."""
        return self._end is not None

    def why_stop(self) -> str:
        """Return why it is to stop; empty where it may go on."""
        return self.reason or ("nobody asks for it any more" if self.is_forgotten else "")

    def check(self) -> None:
        """Stop here if there is any reason to.

        Raises:
            Canceled: with the reason.
        """
        if reason := self.why_stop():
            raise Canceled(reason)

    def observe(self, event: Event) -> None:
        """Take note of an event."""
        with self._changed:
            self._events.append(event)
            self._changed.notify_all()

    def end(self, news: News) -> None:
        """Take note of the end."""
        with self._changed:
            self._end = news
            self._changed.notify_all()

    def news(self, seconds: float) -> News:
        """Return what happened since; waits so long for the end, or for the last frame: the lane is free then."""
        self._asked_at = time.monotonic()
        with self._changed:
            self._changed.wait_for(self._has_come_far, seconds)
            events, self._events = tuple(self._events), []
            self._asked_at = time.monotonic()
            return replace(self._end or News(), events=events)

    def _has_come_far(self) -> bool:
        return self.has_ended or any(isinstance(event, SegmentDone) for event in self._events)
