"""Tells what would be done with a source and what that would take, before anybody asks for it.

The plan is made at the desk, as a job's is; measuring is done on the lanes, by one caller at a time.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from upscale_server.calibration import Calibration
from upscale_server.errors import Canceled
from upscale_server.estimate import Estimate, estimate_of
from upscale_server.events import ignore
from upscale_server.jobs.job import Asked
from upscale_server.jobs.kept_sources import KeptSource
from upscale_server.jobs.wishes import limits_of, wish_for
from upscale_server.measured import Measured
from upscale_server.models.catalogue import CLASSICAL
from upscale_server.pieces import measure_pieces
from upscale_server.plan import Plan
from upscale_server.service.sources import called
from upscale_server.settings import Settings
from upscale_server.stopping import Stop
from upscale_server.workers.pool import Pool

_LOOK_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan, what it is expected to take, and where it would run; that is empty where it is not known yet."""

    plan: Plan
    estimate: Estimate
    device: str


class Planning:
    """Plans for one server; safe to call from several threads."""

    def __init__(self, settings: Settings, pool: Pool) -> None:
        self._settings = settings
        self._pool = pool
        self._measuring = threading.Lock()

    def plan(self, source: KeptSource, asked: Asked, stop: Stop) -> Planned:
        """Plan a job of a source; what was measured of the same work before counts.

        Raises:
            Canceled: `stop` gave a reason.
            SourceError and its kinds, BadRequest and its kinds, ModelsNotLoaded: as a job would fail with.
        """
        plan, calibration = self._planned(source, asked, stop), self._calibration
        return self._estimated(plan, calibration.measured(plan))

    def measure(self, source: KeptSource, asked: Asked, stop: Stop) -> Planned:
        """Plan a job of a source and run three one-second pieces of it through model and encoder.

        Whoever comes meanwhile waits: two at once would measure each other.

        Raises:
            As `plan`; OutOfMemory, DiskFull: as the job would fail with.
        """
        plan = self._planned(source, asked, stop)
        with self._alone(stop), called(source):
            executor = self._pool.executor(asked.task, stop)
            measured = measure_pieces(plan, executor, source.path.with_name("pieces"), ignore)
        if measured is not None:
            self._calibration.keep_measured(plan, measured)
        return self._estimated(plan, measured)

    @property
    def _calibration(self) -> Calibration:
        return Calibration.in_folder(self._settings.state_dir)

    def _planned(self, source: KeptSource, asked: Asked, stop: Stop) -> Plan:
        with called(source):
            return self._pool.plan(source.path, wish_for(asked, self._settings), limits_of(self._settings), stop)

    def _estimated(self, plan: Plan, measured: Measured | None) -> Planned:
        return Planned(plan, estimate_of(plan, self._calibration, measured), self._device_of(plan))

    def _device_of(self, plan: Plan) -> str:
        if plan.engine in CLASSICAL:
            return "CPU"
        lanes = self._pool.status().lanes
        return next((lane.device for lane in lanes if lane.engine == plan.engine), "")

    @contextmanager
    def _alone(self, stop: Stop) -> Iterator[None]:
        while not self._measuring.acquire(timeout=_LOOK_SECONDS):
            if reason := stop():
                raise Canceled(reason)
        try:
            yield
        finally:
            self._measuring.release()
