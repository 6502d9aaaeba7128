"""Tells what would be done with a source and what that would take, before anybody asks for it.

The plan is made at the desk, as a job's is; measuring is done on the lanes, for one caller at a time, while no job
wants them, and not for ever.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from itertools import count

from upscale_server.calibration import Calibration
from upscale_server.errors import Canceled
from upscale_server.estimate import Estimate, estimate_of
from upscale_server.events import ignore
from upscale_server.jobs.job import Asked
from upscale_server.jobs.kept_sources import KeptSource
from upscale_server.jobs.turns import LAST, Turns
from upscale_server.jobs.wishes import limits_of, wish_for
from upscale_server.measured import Measured
from upscale_server.models.catalogue import CLASSICAL
from upscale_server.pieces import measure_pieces
from upscale_server.plan import Plan
from upscale_server.service.sources import called
from upscale_server.settings import Settings
from upscale_server.stopping import Stop
from upscale_server.workers.pool import Pool

MOST_SECONDS = 120.0
"""How long one caller measures, and waits for jobs that come first: a number is not worth the lanes for longer."""
_LATE = (
    "not_measured",
    f"the pieces were not done within {MOST_SECONDS:g} seconds, or jobs came first; the figures rest on other work",
)


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan, what it is expected to take, and where it would run; that is empty where it is not known yet.

    `warnings` are of the estimate, a code and a sentence each.
    """

    plan: Plan
    estimate: Estimate
    device: str
    warnings: tuple[tuple[str, str], ...] = ()


class Planning:
    """Plans for one server, whose jobs have `turns`; safe to call from several threads."""

    def __init__(self, settings: Settings, pool: Pool, turns: Turns) -> None:
        self._settings = settings
        self._pool = pool
        self._turns = turns
        self._measuring = Turns(lambda: 1, spare=0)
        self._places = count()

    def plan(self, source: KeptSource, asked: Asked, stop: Stop) -> Planned:
        """Plan a job of a source; what was measured of the same work before counts.

        Raises:
            Canceled: `stop` gave a reason.
            SourceError and its kinds, BadRequest and its kinds, ModelsNotLoaded: as a job would fail with.
        """
        plan, calibration = self._planned(source, asked, stop), self._calibration
        return self._estimated(plan, calibration.measured(plan), asked.task)

    def measure(self, source: KeptSource, asked: Asked, stop: Stop) -> Planned:
        """Plan a job of a source and run three one-second pieces of it through model and encoder.

        Whoever comes meanwhile waits, first come, first served: two at once would measure each other. A job that comes
        meanwhile has the lanes at once, and the pieces are begun again behind it. Where it takes too long the plan
        comes without what is measured, and says so.

        Args:
            source: with a folder of its own, in which the pieces are made and removed.
            asked: as of the job.
            stop: gives a reason where nobody waits any more.

        Raises:
            As `plan`; OutOfMemory, DiskFull: as the job would fail with.
        """
        plan = self._planned(source, asked, stop)
        with self._measuring.taken(next(self._places), lambda: _check(stop)):
            until = time.monotonic() + MOST_SECONDS

            def limited() -> str:
                return stop() or ("it takes too long" if time.monotonic() >= until else "")

            try:
                plan, measured = self._pieces(source, plan, asked.task, limited)
            except Canceled:
                _check(stop)
                known = self._calibration.measured(plan)
                return replace(self._estimated(plan, known, asked.task), warnings=(_LATE,))
        if measured is not None:
            self._calibration.keep_measured(plan, measured)
        return self._estimated(plan, measured, asked.task)

    def _pieces(self, source: KeptSource, plan: Plan, task: str | None, stop: Stop) -> tuple[Plan, Measured | None]:
        """Make the pieces in a time in which no job wants the lanes, however often it takes to find one."""
        while True:
            try:
                with self._turns.taken(LAST, lambda: _check(stop)), called(source):
                    executor = self._pool.executor(task, lambda: stop() or self._way())
                    return measure_pieces(plan, executor, source.path.with_name("pieces"), ignore)
            except Canceled:
                _check(stop)

    def _way(self) -> str:
        return "a job comes first" if self._turns.is_wanted else ""

    @property
    def _calibration(self) -> Calibration:
        return Calibration.in_folder(self._settings.state_dir)

    def _planned(self, source: KeptSource, asked: Asked, stop: Stop) -> Plan:
        with called(source):
            return self._pool.plan(source.path, wish_for(asked, self._settings), limits_of(self._settings), stop)

    def _estimated(self, plan: Plan, measured: Measured | None, task: str | None) -> Planned:
        estimate = estimate_of(plan, self._calibration, measured, lanes=self._pool.most_lanes(task))
        return Planned(plan, estimate, self._device_of(plan))

    def _device_of(self, plan: Plan) -> str:
        if plan.engine in CLASSICAL:
            return "CPU"
        lanes = self._pool.status().lanes
        return next((lane.device for lane in lanes if lane.engine == plan.engine), "")


def _check(stop: Stop) -> None:
    if reason := stop():
        raise Canceled(reason)
