"""The image server's work: models load in the background, pictures wait in order and a few are worked on at once.

It knows no HTTP. How many may wait is the door's to decide; what is under way when the server stops is finished.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from upscale_server.errors import Draining, ModelsNotLoaded, UpscaleError
from upscale_server.jobs.day_quota import NO_QUOTA, quota_at
from upscale_server.logs import get_logger
from upscale_server.service.assembly import make_folders
from upscale_server.service.image_figures import image_metrics
from upscale_server.service.picture_cages import PictureCages
from upscale_server.service.picture_facts import Facts
from upscale_server.service.picture_models import PictureModels, Watched, open_models
from upscale_server.service.picture_results import PictureResults
from upscale_server.service.picture_work import STAGES, Made, Wish, make
from upscale_server.settings import Settings
from upscale_server.storage.links import Signer, load_or_make_secret
from upscale_server.workers.memory import give_memory_back, keep_blocks

NOT_LOADED = "Models not loaded"
"""What the documented server answers; callers look for these words."""
_SWEEPS_A_LIFE = 10
_LONGEST_PAUSE_SECONDS = 60.0

Opener = Callable[[Settings], PictureModels]


class Source(Protocol):
    """A picture's file that has arrived."""

    @property
    def name(self) -> str:
        """Return what the sender calls it."""

    def read(self) -> bytes:
        """Return all of it."""

    def close(self) -> None:
        """Let it go; safe to call twice."""


@dataclass(slots=True)
class Counts:
    """Pictures so far and now."""

    waiting: int = 0
    running: int = 0
    done: int = 0
    failed: int = 0


Submit = Callable[[Source, Wish], Future[Made]]
"""Has a picture enlarged; its source is closed when that has ended."""


def _nobody() -> None:
    """Tell nobody."""


class ImageService:
    """One process's share of the image server; safe to call from several threads."""

    def __init__(self, settings: Settings, opener: Opener = open_models, told: Callable[[], None] = _nobody) -> None:
        """Prepare; nothing is made or loaded before `start`.

        Args:
            settings: all of them.
            opener: loads the models.
            told: called when the models are loaded or cannot be.
        """
        self.settings = settings
        self.counts = Counts()
        self.load_seconds = 0.0
        self.metrics = image_metrics(self)
        self._batches = 0
        self._opener = opener
        self._told = told
        self._models: PictureModels | None = None
        self._fault: UpscaleError | None = None
        self._draining = threading.Event()
        self._refusing = threading.Event()
        self._changed = threading.Condition()
        self._cages = PictureCages(settings.image.running, settings.limits.max_image_pixels)
        self._pool = ThreadPoolExecutor(settings.image.running, thread_name_prefix="picture")
        self._threads = [
            threading.Thread(target=self._load, name="load", daemon=True),
            threading.Thread(target=self._sweep, name="sweep", daemon=True),
        ]
        self.temp_dir, self.output_dir = folders_of(settings)
        self.results: PictureResults
        self.quota = NO_QUOTA

    def start(self) -> None:
        """Make the folders and begin to load; returns at once.

        Raises:
            StorageError, DiskFull: a folder cannot be made.
        """
        keep_blocks()
        state = self.settings.state_dir / "image"
        make_folders(state, self.temp_dir, self.output_dir)
        signer = Signer(load_or_make_secret(state / "links.key"))
        self.quota = quota_at(state / "usage.db", self.settings.quotas)
        self.results = PictureResults(self.output_dir, signer, self.settings.image.result_seconds)
        self._cages.open()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Finish what was accepted, refuse the rest when the time is over, release the models; safe to call twice."""
        self._draining.set()
        until = time.monotonic() + self.settings.image.drain_seconds
        with self._changed:
            self._changed.wait_for(self._is_idle, timeout=max(0.0, until - time.monotonic()))
        with self._changed:
            self._refusing.set()
            is_idle = self._changed.wait_for(lambda: self.counts.waiting == 0, timeout=1.0) and self._is_idle()
        self._pool.shutdown(wait=is_idle)
        if is_idle:
            self._cages.close()
        if is_idle and self._models is not None:
            self._models.close()

    @property
    def facts(self) -> Facts | None:
        """Return what runs; None while it loads and where it could not be loaded."""
        return None if self._models is None else self._models.facts

    @property
    def fault(self) -> UpscaleError | None:
        """Return why the models could not be loaded, if they could not."""
        return self._fault

    @property
    def is_draining(self) -> bool:
        """Tell whether the server is stopping."""
        return self._draining.is_set()

    def check_ready(self) -> None:
        """Return where a picture would be worked on now.

        Raises:
            Draining: the server is stopping.
            ModelsNotLoaded: the models are loading, or could not be loaded.
        """
        self.loaded()

    def loaded(self) -> PictureModels:
        """Return the models; see `check_ready`."""
        if self._draining.is_set():
            raise Draining("the server is stopping", hint="ask again in a moment, or another server")
        if self._models is None:
            why = "they are being loaded" if self._fault is None else f"they could not be: {self._fault.detail}"
            raise ModelsNotLoaded(NOT_LOADED, hint=why)
        return self._models

    def submit(self, source: Source, wish: Wish) -> Future[Made]:
        """Have a picture enlarged; the source is closed when that has ended.

        Raises:
            Draining, ModelsNotLoaded: see `check_ready`.
        """
        with self._changed:
            return self._submitted(source, wish, self.loaded())

    @contextmanager
    def batch(self) -> Iterator[Submit]:
        """Take pictures one after the other: a server that begins to stop meanwhile refuses none of them.

        Yields:
            What `submit` is, which raises `Draining` only when the time to drain is over.

        Raises:
            Draining, ModelsNotLoaded: see `check_ready`.
        """
        with self._changed:
            models = self.loaded()
            self._batches += 1
        try:
            yield lambda source, wish: self._submitted(source, wish, models)
        finally:
            with self._changed:
                self._batches -= 1
                self._changed.notify_all()

    def _submitted(self, source: Source, wish: Wish, models: PictureModels) -> Future[Made]:
        with self._changed:
            if self._refusing.is_set():
                raise _stopped()
            self.counts.waiting += 1
            future = self._pool.submit(copy_context().run, self._work, source, wish, models)  # the log says whose
        future.add_done_callback(lambda ended: self._left(source) if ended.cancelled() else None)
        return future

    def _left(self, source: Source) -> None:
        """Let go of a picture that nobody waited for any more before its turn came."""
        source.close()
        self.metrics.add("upscale_pictures_total", 1, "canceled")
        with self._changed:
            self.counts.waiting -= 1
            self._changed.notify_all()

    def _work(self, source: Source, wish: Wish, models: PictureModels) -> Made:
        with self._changed:
            self.counts.waiting -= 1
            self.counts.running += 1
        made = None
        try:
            if self._refusing.is_set():
                raise _stopped()
            read = partial(self._cages.read, source.read(), source.name)
            made = make(read, source.name, wish, models, self.settings.limits)
            _log(made, wish)
            self.metrics.picture(made.size.pixels, dict(zip(STAGES, made.seconds, strict=True)))
            return made
        finally:
            source.close()
            give_memory_back()
            self.metrics.add("upscale_pictures_total", 1, "failed" if made is None else "succeeded")
            with self._changed:
                self.counts.running -= 1
                self.counts.done += made is not None
                self.counts.failed += made is None
                self._changed.notify_all()

    def _is_idle(self) -> bool:
        return not (self.counts.waiting or self.counts.running or self._batches)

    def _load(self) -> None:
        began = time.monotonic()
        try:
            opened = Watched(self._opener(self.settings), self.metrics.observe)
            self.load_seconds = time.monotonic() - began
            self._models = opened
        except UpscaleError as err:
            self._fault = err
        except Exception as err:  # noqa: BLE001 - whatever a library raises, callers and the parent must hear of it
            get_logger().error("models_failed", failure=type(err).__name__, exc_info=err)
            self._fault = UpscaleError(f"{type(err).__name__}: {err}")
        self._told()

    def _sweep(self) -> None:
        pause = min(_LONGEST_PAUSE_SECONDS, self.settings.image.result_seconds / _SWEEPS_A_LIFE)
        while True:
            self._swept()
            if self._draining.wait(pause):
                return

    def _swept(self) -> None:
        try:
            removed = self.results.sweep()
        except OSError as err:
            # A network share that blinks, or no free descriptor: the next sweep may find the folder again.
            get_logger().warning("sweep_failed", why=err.strerror or str(err))
            return
        if removed:
            get_logger().info("results_removed", count=removed)


def _stopped() -> Draining:
    return Draining("the server stopped before this picture's turn", hint="send it again")


def folders_of(settings: Settings) -> tuple[Path, Path]:
    """Return where uploads and the results of batches lie."""
    state = settings.state_dir / "image"
    output = state / "output" if settings.output_dir is None else settings.output_dir / "pictures"
    return settings.temp_dir or state / "temp", output


def _log(made: Made, wish: Wish) -> None:
    read, work, write = (round(seconds, 3) for seconds in made.seconds)
    get_logger().info(
        "picture_done",
        size=str(made.size),
        factor=wish.ask.factor,
        model=made.model,
        format=wish.format,
        bytes=len(made.content),
        read_seconds=read,
        work_seconds=work,
        write_seconds=write,
        warnings=[code for code, _ in made.warnings],
    )
