"""Tells what would be done with a source and what that would take, before anybody asks for it.

The plan is made at the desk, as a job's is; measuring is done on a lane that no job wants, for one caller at a time,
and not for ever. Nobody waits for a job to end.
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
from upscale_server.jobs.wishes import wish_for
from upscale_server.limits import limits_of
from upscale_server.measured import Measured
from upscale_server.models.catalogue import CLASSICAL
from upscale_server.pieces import measure_pieces
from upscale_server.plan import Plan
from upscale_server.service.sources import called
from upscale_server.settings import Settings
from upscale_server.stopping import Stop
from upscale_server.workers.pool import Pool

MOST_SECONDS = 120.0
"""How long one caller measures, and waits for others who do: a number is not worth a lane for longer."""
NOT_MEASURED = "not_measured"
_LATE = f"the pieces were not done within {MOST_SECONDS:g} seconds; the figures rest on other work"
_BUSY = "jobs keep the lanes busy; ask again when they are done; the figures rest on other work"


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

        Whoever comes meanwhile waits, first come, first served: two at once would measure each other. Where jobs keep
        all lanes busy, where one comes meanwhile, which has the lanes at once, and where it takes too long, the plan
        comes without what is measured, and says why.

        Args:
            source: with a folder of its own, in which the pieces are made and removed.
            asked: as of the job.
            stop: gives a reason where nobody waits any more.

        Raises:
            As `plan`; OutOfMemory, DiskFull: as the job would fail with.
        """
        plan, until = self._planned(source, asked, stop), time.monotonic() + MOST_SECONDS

        def limited() -> str:
            return stop() or (_LATE if time.monotonic() >= until else "")

        try:
            with self._measuring.taken(next(self._places), lambda: _check(lambda: limited() or self._jam())):
                plan, measured = self._pieces(source, plan, asked.task, limited)
        except Canceled:
            _check(stop)
            known = self._calibration.measured(plan)
            return replace(self._estimated(plan, known, asked.task), warnings=((NOT_MEASURED, limited() or _BUSY),))
        if measured is not None:
            self._calibration.keep_measured(plan, measured)
        return self._estimated(plan, measured, asked.task)

    def _pieces(self, source: KeptSource, plan: Plan, task: str | None, stop: Stop) -> tuple[Plan, Measured | None]:
        """Make the pieces, beside jobs that leave a lane over."""

        def way() -> str:
            return stop() or (_BUSY if self._turns.is_wanted else "")

        with self._turns.taken(LAST, lambda: _check(lambda: stop() or self._jam())), called(source):
            return measure_pieces(plan, self._pool.executor(task, way), source.path.with_name("pieces"), ignore)

    def _jam(self) -> str:
        """Return why measuring cannot begin; what waits for jobs to end would wait for hours."""
        is_idle = any(lane.state == "ready" for lane in self._pool.status().lanes)
        return _BUSY if self._turns.has_jobs and not (is_idle and self._turns.leaves_a_lane) else ""

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
