"""Carries jobs: takes the one that waits longest as soon as there is a hand free, and stops them when it is told to.

A hand is a thread; there are more than lanes, so that sources are fetched and looked at ahead (see `turns`). What
is done with a job is in `carry`.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import count

from structlog.contextvars import bound_contextvars

from upscale_server.errors import Conflict, DiskFull, Gone, JobDamaged, NotFound, StorageError
from upscale_server.jobs.carry import Carried
from upscale_server.jobs.conclude import carry_to_its_end, clear, has_upload
from upscale_server.jobs.folder import JobFolder
from upscale_server.jobs.hold import DRAINING, Hold
from upscale_server.jobs.janitor import Janitor
from upscale_server.jobs.job import Claim, Job, Progress
from upscale_server.jobs.parts import Parts
from upscale_server.jobs.turns import Turns, hands
from upscale_server.logs import get_logger

LOOK_SECONDS = 1.0
"""Between two looks for work that another server queued or whose owner fell silent; our own work wakes us."""
RELEASE_SECONDS = 10.0
"""How long a job that was told to stop may take to let go, over the time that its lane is given."""


@dataclass(frozen=True, slots=True)
class _Hand:
    hold: Hold
    thread: threading.Thread


class Runner:
    """The hands of one server; whoever makes it starts and stops it."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._hands: dict[str, _Hand] = {}
        self._stranded: deque[Claim] = deque()
        self._untidy: deque[str] = deque()
        self._lock = threading.Lock()
        self.turns = Turns(lambda: len(parts.lanes.status().lanes))
        self._places = count()
        self._tidying = threading.Lock()  # no retry between a look at a job and the removal of its files
        self._news = threading.Event()
        self._stopping = threading.Event()
        self._janitor = Janitor(parts, self.carried, self._tidying)
        self._threads = [
            threading.Thread(target=self._dispatch, name="jobs-runner", daemon=True),
            threading.Thread(target=self._janitor.keep_sweeping, args=(self._stopping,), name="janitor", daemon=True),
        ]

    # ------------------------------------------------------------------------------------------------ its life

    def start(self) -> None:
        """Take back what this server held when it died, and begin.

        Raises:
            StorageError: the database does not answer.
        """
        for job in self._parts.store.take_back(self._parts.owner, self._has_work):
            get_logger().warning("job_taken_back", job_id=job.id, state=job.state, phase=job.progress.phase)
            self._untidy.append(job.id)
        for thread in self._threads:
            thread.start()

    def wake(self) -> None:
        """Look for work now, and tell those at work that something may be wanted of them."""
        self._news.set()
        for hand in self._working():
            hand.hold.poke()

    def stop(self, drain_seconds: float) -> None:
        """Take no new job, let running segments end for so long, and give back what is not finished."""
        self._stopping.set()
        self._news.set()
        for hand in self._working():
            hand.hold.ask(DRAINING, drain_seconds)
        patience = drain_seconds + self._parts.settings.workers.release_seconds + RELEASE_SECONDS
        until = time.monotonic() + patience
        if self._threads[0].is_alive():  # it may have claimed one more job just now
            self._threads[0].join(patience)
        hands = self._working()
        for thread in [*(hand.thread for hand in hands), *(one for one in self._threads if one.is_alive())]:
            thread.join(max(0.0, until - time.monotonic()))
        for hand in self._working():  # a store that hangs, for example; the next start goes on from its finished file
            get_logger().warning("job_left_running", job_id=hand.hold.claim.job.id, phase=hand.hold.gauge.phase)
            try:
                self._give_back(hand.hold.claim)
            except (StorageError, DiskFull) as err:  # the next start takes it back
                get_logger().warning("job_not_given_back", job_id=hand.hold.claim.job.id, detail=str(err))

    # ------------------------------------------------------------------------------------------------ what is asked

    @property
    def is_at_work(self) -> bool:
        """Tell whether jobs are taken from the queue; a server that only accepts them would be no server."""
        return self._threads[0].is_alive()

    def carried(self) -> frozenset[str]:
        """Return the names of the jobs in hand."""
        with self._lock:
            return frozenset(self._hands)

    def progress(self, job: Job) -> Progress:
        """Return how far a job is, fresher than the stored value where it is in hand."""
        with self._lock:
            hand = self._hands.get(job.id)
        return job.progress if hand is None or job.is_finished else hand.hold.gauge.progress()

    def cancel(self, job_id: str) -> Job:
        """Cancel a job; one in hand stops at its next tile and is cancelled then.

        Raises:
            NotFound, Conflict: as the store's `want`.
        """
        return self._ask_for(job_id, lambda: self._parts.store.want(job_id, "canceled"))

    def pause(self, job_id: str) -> Job:
        """Pause a job; one in hand is paused when its running segments have ended.

        Raises:
            NotFound, Conflict: as the store's `want`.
        """
        return self._ask_for(job_id, lambda: self._parts.store.want(job_id, "paused"))

    def resume(self, job_id: str) -> Job:
        """Let a paused job go on.

        Raises:
            NotFound, Conflict: as the store's `resume`.
        """
        return self._ask_for(job_id, lambda: self._parts.store.resume(job_id))

    def retry(self, job_id: str) -> Job:
        """Try a failed or cancelled job again; finished segments are kept where they still fit.

        Raises:
            NotFound, Conflict, QueueFull: as the store's `retry`.
            Gone: its source was an upload, which was removed with it.
        """
        with self._lock:
            hand = self._hands.get(job_id)
        job = self._parts.store.get(job_id)
        if hand is not None and job.is_finished:  # it is being tidied up after; what goes has to be gone before we look
            hand.thread.join(RELEASE_SECONDS)
        folder = JobFolder(self._parts.temp_dir, job_id)
        with self._tidying:
            is_here = job.home in ("", self._parts.owner)  # another server knows of its own
            if is_here and job.asked.source.kind == "upload" and job.is_finished and not has_upload(job, folder):
                raise Gone(f"the upload of job {job_id} was removed with it", hint="send it again as a new job")
            room, each = self._parts.settings.jobs.room, self._parts.settings.quotas.queued
            return self._ask_for(job_id, lambda: self._parts.store.retry(job_id, room, each))

    def remove(self, job_id: str) -> None:
        """Remove a finished job, its result and whatever it left; a damaged one that nobody carries, too.

        Raises:
            NotFound, Conflict: there is none, it is not finished, or its result lies on another server.
            StorageError: the result cannot be removed now; the job stays.
        """
        try:
            job = self._parts.store.get(job_id)
        except JobDamaged:
            if self._parts.store.outline(job_id).state == "running":
                raise Conflict(f"job {job_id} is running; it ends by itself, then it can be removed") from None
            self._janitor.forget_damaged(job_id)
            return
        if not job.is_finished:
            raise Conflict(f"job {job_id} is {job.state}; cancel it before it is removed")
        if self._is_elsewhere(job):
            hint = "ask that one to remove it; servers share results with UPSCALE_STORAGE__KIND=s3"
            raise Conflict(f"the result of job {job_id} lies on the server that made it", hint=hint)
        self._janitor.forget(job)

    # ------------------------------------------------------------------------------------------------ inside

    def _is_elsewhere(self, job: Job) -> bool:
        """Tell whether a job's result is on another server's disk: it would stay there, and its links would work."""
        parts = self._parts
        if not parts.store.is_shared or job.home in ("", parts.owner) or job.outcome is None or not job.outcome.key:
            return False
        return parts.settings.storage.kind == "local" and parts.objects.head(job.outcome.key) is None

    def _ask_for(self, job_id: str, change: Callable[[], Job]) -> Job:
        job = change()
        self._untidy.append(job_id)
        self.wake()
        return job

    def _working(self) -> list[_Hand]:
        with self._lock:
            return list(self._hands.values())

    def _dispatch(self) -> None:
        while not self._stopping.is_set():
            self._news.clear()
            try:
                self._free_the_stranded()
                self._tidy_up()
                while self._has_a_hand_free() and self._begin_next():
                    pass
            except (StorageError, DiskFull) as err:
                get_logger().error("queue_not_read", detail=err.detail)
            except Exception as err:  # noqa: BLE001 - the one thread that takes jobs outlives any of them
                get_logger().exception("queue_not_served", detail=str(err))
            self._news.wait(LOOK_SECONDS)

    def _has_a_hand_free(self) -> bool:
        status, at_work = self._parts.lanes.status(), len(self._working())
        if self._stopping.is_set() or not status.ready:
            return False
        return at_work < hands(self._parts.settings, len(status.lanes), at_work, self._parts.temp_dir)

    def _begin_next(self) -> bool:
        settings = self._parts.settings.jobs
        each = self._parts.settings.quotas.running
        claim = self._parts.store.claim(self._parts.owner, settings.lease_seconds, each)
        if claim is None:
            return False
        hold = Hold(self._parts.store, claim, settings.drain_seconds)
        with self._lock:
            before = self._hands.get(claim.job.id)  # still tidying up after an attempt that was retried at once
            folder = JobFolder(self._parts.temp_dir, claim.job.id)
            one = Carried(hold, folder, self._parts, self.turns, next(self._places))
            thread = threading.Thread(target=self._carry, args=(one, before), name="job", daemon=True)
            self._hands[claim.job.id] = _Hand(hold, thread)
        try:
            thread.start()
        except RuntimeError:  # the system gives no more threads now
            with self._lock:
                del self._hands[claim.job.id]
                if before is not None:
                    self._hands[claim.job.id] = before
            self._stranded.append(claim)
            raise
        if self._stopping.is_set():  # between the question and the claim
            hold.ask(DRAINING, 0)
        return True

    def _carry(self, one: Carried, before: _Hand | None) -> None:
        hold, job = one.hold, one.job
        if before is not None:
            before.thread.join()
        if job.attempt > 1:
            with self._janitor.dropping:  # what an earlier attempt left in the store is not removed from under us
                pass
        with bound_contextvars(job_id=job.id, **{"request_id": job.request_id} if job.request_id else {}):
            get_logger().info("job_claimed", attempt=job.attempt, task=job.asked.task)
            try:
                with hold:
                    carry_to_its_end(one)
            except Exception as err:  # noqa: BLE001 - a thread's last line: the job is given back below
                get_logger().exception("job_stranded", detail=str(err))
                self._stranded.append(hold.claim)
            finally:
                with self._lock:
                    if self._hands[job.id].hold is hold:
                        del self._hands[job.id]
                self._news.set()

    def _free_the_stranded(self) -> None:
        """Give back jobs whose end could not be stored; own leases do not run out by themselves."""
        while self._stranded:
            self._give_back(self._stranded[0])
            self._stranded.popleft()

    def _tidy_up(self) -> None:
        """Remove what cancelled jobs left that nobody carries: here, because here alone jobs are claimed."""
        while self._untidy:
            job_id = self._untidy.popleft()  # first, so that one that cannot be tidied keeps nobody up; others sweep it
            if job_id not in self.carried():
                with suppress(NotFound, JobDamaged), self._tidying:
                    clear(self._parts.store.get(job_id), self._parts)
                    self._janitor.drop_soon(job_id)

    def _give_back(self, claim: Claim) -> None:
        with suppress(Conflict):  # it ended after all
            self._parts.store.let_go(claim, "queued", has_work=self._has_work(claim.job.id))

    def _has_work(self, job_id: str) -> bool:
        return JobFolder(self._parts.temp_dir, job_id).holds_work
