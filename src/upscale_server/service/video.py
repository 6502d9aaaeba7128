"""The video server without its web face: it starts and stops the parts, and every question has one address.

It knows no HTTP; `web` asks it, and what the parts do stands in their own rooms.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import replace

from upscale_server.errors import Draining, ModelsNotLoaded, NotFound, QueueFull
from upscale_server.jobs.folder import uploads_folder
from upscale_server.jobs.job import Asked, Job, NewJob, Progress, State
from upscale_server.jobs.rows import check_each
from upscale_server.jobs.runner import Runner
from upscale_server.logs import bound_facts, get_logger
from upscale_server.models.catalogue import CLASSICAL, MODEL_SUFFIXES, available
from upscale_server.service.assembly import assembled, pool_of, previews_of, telling
from upscale_server.service.counts import Counts, loading
from upscale_server.service.door import check_asked
from upscale_server.service.figures import video_metrics
from upscale_server.service.offers import Offers
from upscale_server.service.planning import Planning
from upscale_server.service.queue_news import QueueNews
from upscale_server.service.results import Results
from upscale_server.service.sources import Sources
from upscale_server.service.watching import Watching
from upscale_server.settings import Settings
from upscale_server.storage.fetch import FetchRules, check_url
from upscale_server.workers.memory import keep_memory_flat
from upscale_server.workers.pool import Pool
from upscale_server.workers.status import PoolStatus


class VideoService:
    """The video server without its web face; started once, stopped once. Safe to call from several threads.

    `owner` arguments are ids of API keys: a job is there for its own key only. Empty where no key is needed.

    Args:
        settings: read at the door.
        pool: other workers, for tests.

    Raises:
        StorageError, DiskFull: a folder cannot be made.
        BadRequest: a setting contradicts itself.
    """

    def __init__(self, settings: Settings, pool: Pool | None = None) -> None:
        self.settings = settings
        self._pool = pool or pool_of(settings)
        self._rules = FetchRules.of(settings.fetch)
        self.metrics = video_metrics(self, lambda: (self._store.counts(), self.deliveries.counts()))
        parts = assembled(settings, self._pool, self._rules, self.metrics)
        self._store = parts.store
        self.deliveries = parts.store.deliveries
        self._name = parts.owner
        self._runner = Runner(parts)
        self.uploads = uploads_folder(parts.temp_dir)
        self.results = Results(parts.objects, parts.store, settings)
        self.quota = parts.quota
        self.sources = Sources(parts.temp_dir, settings.sources, self._pool, self._rules, self.quota)
        self.planning = Planning(settings, self._pool, self._runner.turns)
        self.offers = Offers(settings, self._pool)
        self.watching = Watching(parts.proxies_dir)
        self._webhooks = telling(parts, self.results, self._rules)
        self.news = QueueNews(parts.store, self._runner.progress)
        self.previews = previews_of(parts, self._pool)
        self._draining = threading.Event()
        self._stopped = threading.Event()
        self._life = threading.Lock()
        self._started = False

    # ------------------------------------------------------------------------------------------------ life

    def start(self) -> None:
        """Begin to load the workers and to carry jobs; returns before they are ready."""
        with self._life:
            if self._started:
                return
            self._started = True
            keep_memory_flat()  # dozens of threads come and go here, and each would open a heap of its own
            self._pool.start()
            self._runner.start()
            self._webhooks.start()
            self.previews.start()

    def stop(self, drain_seconds: float | None = None) -> None:
        """Take no new work, let running segments end, then end every process. Safe to call twice."""
        self._draining.set()
        seconds = self.settings.jobs.drain_seconds if drain_seconds is None else drain_seconds
        with self._life:
            if self._stopped.is_set():
                return
            began = time.monotonic()
            if self._started:
                self.previews.let_go()
                self._runner.stop(seconds)
                self.previews.stop()
            self._pool.close(max(0.0, seconds - (time.monotonic() - began)))
            self._webhooks.stop()
            self._stopped.set()  # before the store closes: who asks now is told that we stop, and not of a closed store
            self._store.close()

    @property
    def is_draining(self) -> bool:
        """Tell whether no new work is taken any more."""
        return self._draining.is_set()

    @property
    def is_stopped(self) -> bool:
        """Tell whether nothing runs any more."""
        return self._stopped.is_set()

    # ------------------------------------------------------------------------------------------------ jobs

    def check_url(self, url: str) -> None:
        """Look at a source's address without asking anybody.

        Raises:
            BadUrl, BadScheme, SourceForbidden: it will never be fetched.
        """
        check_url(url, self._rules)

    def check_asked(self, asked: Asked) -> None:
        """Look at what is asked for without its source.

        Raises:
            TooManyPixels and others: as `door.check_asked`.
        """
        check_asked(asked, self.settings, self._rules)

    def check_room(self, owner: str = "") -> None:
        """Return where a job would be accepted now: asked before a long upload is taken in.

        Raises:
            Draining, ModelsNotLoaded, QueueFull, RateLimited: as `submit`.
        """
        self._check_open()
        self.quota.check(owner)
        check_each(self._store.waiting_of(owner), self.settings.quotas.queued)
        counts = self.counts()
        if not counts.left:
            count = counts.queued + counts.paused
            raise QueueFull(f"{count} jobs are waiting; the limit is {counts.room}, see UPSCALE_JOBS__ROOM")

    def submit(self, new: NewJob) -> Job:
        """Accept a job: from here on it survives everything.

        Raises:
            Draining, QueueFull, RateLimited: none is taken now.
            ModelsNotLoaded: the workers cannot be started, so that it would wait for ever.
            TooManyPixels: as `check_asked`.
            Conflict: the Idempotency-Key was used for something else.
        """
        return self.submit_all([new])[0]

    def submit_all(self, news: Sequence[NewJob]) -> list[Job]:
        """Accept several jobs or none; what it may raise stands at `submit`."""
        self._check_open()
        for new in news:
            self.quota.check(new.key_id)
            self.check_asked(new.asked)
        served = bound_facts().get("request_id", "")
        made = [replace(self._at_home(new), request_id=new.request_id or served) for new in news]
        taken = self._store.add_all(made, self.settings.jobs.room, self.settings.quotas.queued)
        for job in taken:
            get_logger().info("job_accepted", job_id=job.id, source=job.asked.source.kind, profile=job.asked.profile)
        self._runner.wake()
        return taken

    def submitted(self, owner: str, idempotency_key: str) -> Job | None:
        """Return the job that was handed in with an Idempotency-Key, None where none was."""
        return self._store.submitted(owner, idempotency_key)

    def job(self, job_id: str, owner: str = "") -> Job:
        """Return a job.

        Raises:
            NotFound: there is none, or it is another key's.
            JobDamaged: what is stored of it cannot be read; it can be removed.
        """
        self._check_own(job_id, owner)
        return self._store.get(job_id)

    def jobs(
        self, after: str | None, limit: int, state: State | None = None, owner: str = ""
    ) -> tuple[list[Job], str | None]:
        """Return a page of jobs, newest first, and the cursor of the next one."""
        return self._store.page(after, limit, state, owner or None)

    def place(self, job: Job) -> int:
        """Return a waiting job's place in the queue, 1 for the next one, 0 for one that does not wait."""
        return self._store.place(job.id) if job.state == "queued" else 0

    def places(self) -> dict[str, int]:
        """Return the places of all jobs that wait, 1 for the next one."""
        return self._store.places()

    def progress(self, job: Job) -> Progress:
        """Return how far a job is, fresher than what is stored where it is carried here."""
        return self._runner.progress(job)

    def cancel(self, job_id: str, owner: str = "") -> Job:
        """Stop a job for good; asking again changes nothing."""
        return self._runner.cancel(self.job(job_id, owner).id)

    def pause(self, job_id: str, owner: str = "") -> Job:
        """Stop a job and keep what is finished."""
        return self._runner.pause(self.job(job_id, owner).id)

    def resume(self, job_id: str, owner: str = "") -> Job:
        """Let a paused job go on; a pause that was only asked for is taken back."""
        self._check_open()
        return self._runner.resume(self.job(job_id, owner).id)

    def retry(self, job_id: str, owner: str = "") -> Job:
        """Queue a failed or cancelled job again.

        Raises:
            Gone, RateLimited: its source was an upload, removed with it; the key's day is used up.
        """
        self._check_open()
        self.quota.check(owner)
        return self._runner.retry(self.job(job_id, owner).id)

    def remove(self, job_id: str, owner: str = "") -> None:
        """Remove a finished job and its result; nothing of it stays.

        Raises:
            Conflict: it is not finished, nor damaged.
        """
        self._check_own(job_id, owner)
        self._runner.remove(job_id)

    # ------------------------------------------------------------------------------------------------ how it is

    def pool_status(self) -> PoolStatus:
        """Return how the workers are now."""
        return self._pool.status()

    def task_lanes(self) -> dict[str, int]:
        """Return how many lanes each task gets on this machine."""
        return self._pool.task_lanes()

    def lanes_ready(self) -> int:
        """Return how many lanes have their models loaded now."""
        return sum(lane.state in ("ready", "busy") for lane in self._pool.status().lanes)

    def check_ready(self) -> None:
        """Return where jobs can be done.

        Raises:
            Draining: the server is stopping.
            ModelsNotLoaded: with the reason.
        """
        self._check_open()
        status = self._pool.status()
        if not status.ready:
            raise ModelsNotLoaded(f"Models not loaded: {status.fault or loading(status)}")

    def model_names(self) -> frozenset[str]:
        """Return the names of all models that a job may ask for: ours, those added, and the classical kernels."""
        ours = {name for card in available() for name in (card.name, f"{card.name}-x{card.scale}")}
        files = (self.settings.state_dir / "models").glob("*")
        added = {path.stem for path in files if path.suffix in MODEL_SUFFIXES}
        return frozenset(ours | added | {*CLASSICAL})

    def counts(self) -> Counts:
        """Return how many jobs run and wait."""
        found = self._store.counts()
        return Counts(found["running"], found["queued"], found["paused"], self.settings.jobs.room)

    def _at_home(self, new: NewJob) -> NewJob:
        """Return a job that only this server does where its bytes are here, or its result will be asked for here."""
        if new.asked.source.kind == "url" and self.settings.storage.kind != "local":
            return new
        return replace(new, home=self._name)

    def _check_own(self, job_id: str, owner: str) -> None:
        if self.is_stopped:
            raise Draining("the server is stopping")
        if owner and self._store.outline(job_id).key_id != owner:
            raise NotFound(f"there is no job {job_id}")

    def _check_open(self) -> None:
        if self.is_draining:
            raise Draining("the server is stopping; it takes no new jobs")
        fault = self._pool.status().fault
        if fault is None and self._started and not self._runner.is_at_work:
            fault = "the thread that takes jobs from the queue has ended; the server's log says why"
        if fault is not None:
            raise ModelsNotLoaded(f"Models not loaded: {fault}")
