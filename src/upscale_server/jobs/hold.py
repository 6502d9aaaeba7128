"""A job held: its lease renewed and its progress stored while it is carried, and the reasons to stop told to the work.

It stops nothing itself: the work asks.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import Self

from upscale_server.errors import Canceled, Conflict, DatabaseTaken, DiskFull, JobDamaged, StorageError
from upscale_server.events import Event, PhaseStarted, SegmentDone
from upscale_server.jobs.gauge import Gauge
from upscale_server.jobs.job import Claim
from upscale_server.jobs.store import JobStore
from upscale_server.logs import get_logger
from upscale_server.stopping import parking

BEAT_SECONDS = 1.0
"""Between two renewals, at most; a third of the lease would do for it, but this is also how fresh the stored progress
is and how soon another server's cancel is seen. A renewal takes four milliseconds on a slow disk."""

CANCELED, PAUSED, DRAINING, LOST, DEADLINE = "canceled", "paused", "draining", "lost", "deadline"
_AT_ONCE = (CANCELED, LOST)
_RANK = ("", PAUSED, DRAINING, CANCELED, LOST)
"""What outweighs what: a drain a pause, so that a pause that is taken back does not take the drain along."""


class Hold:
    """One job in this server's hands; a context manager around its being carried.

    Args:
        store: where the job is.
        claim: by which it is held.
        grace_seconds: how long a segment may go on to its end when the job is paused or the server stops.
    """

    def __init__(self, store: JobStore, claim: Claim, grace_seconds: float) -> None:
        self.claim = claim
        self.gauge = Gauge()
        self._store = store
        self._grace_seconds = grace_seconds
        self._reason = ""
        self._asked_at = 0.0
        self._began = time.monotonic()
        self._ended = threading.Event()
        self._poked = threading.Event()
        self._lock = threading.Lock()
        self._renewing = threading.Lock()
        self._thread = threading.Thread(target=self._beat, name=f"hold-{claim.job.id[:8]}", daemon=True)

    @property
    def seconds(self) -> float:
        """Return how long ago the job was first begun, with its time in other hands, whatever their clocks say."""
        job = self.claim.job
        return job.updated_at - (job.started_at or job.updated_at) + time.monotonic() - self._began

    @property
    def reason(self) -> str:
        """Return why the work should stop: at once, or when what is running has come to an end."""
        return self._reason

    def stop(self) -> str:
        """Return why the work has to stop, empty while it may go on; at first most reasons only park it."""
        reason = self._reason
        if not reason or reason in _AT_ONCE or time.monotonic() - self._asked_at >= self._grace_seconds:
            return reason
        return parking(reason)

    def check(self) -> None:
        """Stop here if there is any reason to: called where nothing is lost by it.

        Raises:
            Canceled: with the reason.
        """
        if self._reason:
            raise Canceled(self._reason)

    def check_canceled(self) -> None:
        """Stop here if nobody wants the result any more, or the time to end is over: asked where all else is done.

        Raises:
            Canceled: with the reason.
        """
        if reason := self.stop():
            raise Canceled(reason)

    def ask(self, reason: str, grace_seconds: float | None = None) -> None:
        """Ask for a stop; a pause gives way to the others, which may not be taken back, and a drain to a cancel."""
        with self._lock:
            if grace_seconds is not None:
                self._grace_seconds = grace_seconds
            if _RANK.index(reason) > _RANK.index(self._reason):
                self._reason, self._asked_at = reason, time.monotonic()

    def _withdraw_pause(self) -> None:
        with self._lock:
            if self._reason == PAUSED:
                self._reason = ""

    def poke(self) -> None:
        """Renew the lease now: something is wanted, or there is progress to store."""
        self._poked.set()

    def observe(self, event: Event) -> None:
        """Count an event.

        What a restart goes on from is stored before the work goes on: a job counts as poison when its server dies
        again and again and nothing was reached in between.
        """
        self.gauge(event)
        if isinstance(event, (PhaseStarted, SegmentDone)):
            self._renew()

    def enter(self, phase: str) -> None:
        """Begin a phase without frames of its own."""
        self.gauge.enter(phase)
        self._renew()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._poked.set()
        self._thread.join()

    def _beat(self) -> None:
        every = min(BEAT_SECONDS, self.claim.lease_seconds / 3)
        while not self._ended.is_set() and self._reason != LOST:
            self._poked.clear()
            with suppress(JobDamaged):  # the work meets it at its next step, and the job ends there
                self._renew()
            self._poked.wait(every)

    def _renew(self) -> None:
        with self._renewing:  # the beat and the work both come here: nobody stores an older progress over a newer one
            self._renew_alone()

    def _renew_alone(self) -> None:
        try:
            wanted = self._store.hold(self.claim, self.gauge.progress())
        except (Conflict, DatabaseTaken):  # a newer server does it when the lease is over; nothing of ours would count
            self.ask(LOST)
        except (StorageError, DiskFull) as err:  # the next beat tries again; the lease lasts several of them
            get_logger().warning("lease_not_renewed", job_id=self.claim.job.id, detail=err.detail)
        else:
            if wanted:
                self.ask(wanted)
            else:
                self._withdraw_pause()
