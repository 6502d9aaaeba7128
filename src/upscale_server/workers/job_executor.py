"""The executor of one job on the pool: its segments on several lanes at once, its end at the desk.

It belongs to one job and one thread; events and records come out in that thread, as with the executor in process.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextvars import copy_context
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from upscale_server.checkpoint import Done, WorkDir
from upscale_server.errors import Canceled
from upscale_server.events import Event, Observer
from upscale_server.media.types import Segment
from upscale_server.pipeline import Finished
from upscale_server.plan import Plan
from upscale_server.quality import Quality
from upscale_server.stopping import Stop, only_parks
from upscale_server.workers.company import Company, Guest
from upscale_server.workers.desk import Desk
from upscale_server.workers.lanes import Lanes
from upscale_server.workers.messages import FinishVideo, MeasureQuality, RunSegment

_LOOK_SECONDS = 1.0
"""How often it is asked whether there are more lanes now; what happens to a segment is noticed at once."""


@dataclass(frozen=True, slots=True)
class _Left:
    """One thread has no more to do: no segment is left, or one could not be done."""

    error: Exception | None = None


_News = Event | Done | _Left


class JobExecutor:
    """Runs one job's segments on lanes of the pool; an `Executor`."""

    def __init__(
        self,
        lanes: Callable[[], Lanes],
        desk: Desk,
        most: Callable[[], int],
        stop: Stop,
        company: Company | None = None,
    ) -> None:
        self._company = company or Company()
        self._guest = Guest()
        self._lanes = lanes
        self._desk = desk
        self._most = most
        self._stop = stop

    @property
    def at_once(self) -> int:
        """Return how many lanes the job may have."""
        return self._most()

    @property
    def alone(self) -> bool:
        """Tell whether nobody else had work on the pool while this job had."""
        return self._guest.alone

    def run(self, plan: Plan, segments: Sequence[Segment], work: WorkDir, observer: Observer) -> Iterator[Done]:
        """Yield each segment's record as it is finished.

        Raises:
            Canceled: the job was stopped; its running segments have let go, or were killed. Where it was only parked,
                they have come to their end and were yielded before.
            UpscaleError: a segment failed; the job's others were stopped.
        """
        if not segments:
            return
        lanes = self._lanes()
        orders = deque(RunSegment(plan, one, work.path, work.proxies) for one in segments)
        running = _Running(orders, lanes, self, self._stop)
        with self._company.joined(self._guest):
            try:
                for one in running.news(len(segments), self._in_hand):
                    if isinstance(one, Done):
                        yield one
                    else:
                        observer(one)
            finally:  # also when the observer failed, or nobody wants the rest
                running.leave()

    def _in_hand(self) -> int:
        """Return how many segments may be asked for at once."""
        return self._most()

    def finish(self, plan: Plan, done: Sequence[Done], work: WorkDir, observer: Observer) -> Finished:
        """Join and audit at the desk."""
        order = FinishVideo(plan, tuple(done), work.path)
        with self._company.joined(self._guest):
            return cast("Finished", self._desk.do(order, self, observer, self._stop))

    def measure(self, plan: Plan, path: Path, observer: Observer) -> Quality:
        """Measure the finished file beside the desk."""
        with self._company.joined(self._guest):
            return self._desk.measure(MeasureQuality(plan, path), self, observer, self._stop)


class _Running:
    """The threads that wait for lanes and for what they do; one for each lane that the job may have."""

    def __init__(self, orders: deque[RunSegment], lanes: Lanes, job: object, stop: Stop) -> None:
        self._orders = orders
        self._lanes = lanes
        self._job = job
        self._stop = stop
        self._leaving = threading.Event()
        self._news: queue.SimpleQueue[_News] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []

    def news(self, segments: int, most: Callable[[], int]) -> Iterator[Event | Done]:
        """Yield events and records until all segments are done, or raise what one failed with.

        The wait for the next has no limit of its own: every order ends, by its answer or by its process's death.

        Args:
            segments: that are to be done.
            most: how many at once; asked again and again, since lanes may join.
        """
        left, parked, all_of_them = 0, None, segments
        while segments:
            self._grow_to(min(most(), all_of_them))
            try:
                one = self._news.get(timeout=_LOOK_SECONDS)
            except queue.Empty:
                continue
            if not isinstance(one, _Left):
                segments -= isinstance(one, Done)
                yield one
                continue
            left += 1
            if isinstance(one.error, Canceled) and only_parks(one.error.detail):
                parked = one.error
            elif one.error is not None:
                raise one.error
            if left == len(self._threads) and parked is not None:
                raise parked

    def _grow_to(self, count: int) -> None:
        """Begin to wait for so many lanes, where segments are left."""
        while len(self._threads) < count and self._orders:
            # Each with its own copy of whose job it is: the log of what happens to a segment says so, too.
            thread = threading.Thread(target=copy_context().run, args=(self._work,), name="segments", daemon=True)
            self._threads.append(thread)
            thread.start()

    def leave(self) -> None:
        """Stop what still runs and wait until it has let go."""
        self._leaving.set()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        try:
            for order in self._begun():
                self._news.put(self._lanes.do(order, self._job, self._news.put, self._reason))
        except Exception as err:  # noqa: BLE001 - raised again in the job's own thread
            self._news.put(_Left(err))
        else:
            self._news.put(_Left())

    def _begun(self) -> Iterator[RunSegment]:
        while not self._leaving.is_set():
            try:
                order = self._orders.popleft()
            except IndexError:
                return
            yield order

    def _reason(self) -> str:
        return "the rest of the job has ended" if self._leaving.is_set() else self._stop()
