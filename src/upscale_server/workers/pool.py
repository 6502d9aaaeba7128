"""The resident workers of a server: lanes that hold the networks, and a desk that opens strangers' files.

The server process itself opens no media and loads no network, so that nothing in a file can bring it down.
"""

from __future__ import annotations

import atexit
import threading
from dataclasses import replace
from pathlib import Path
from typing import cast

from upscale_server.errors import Canceled, Draining, ModelsNotLoaded, SourceCorrupt, UpscaleError
from upscale_server.events import Observer, ignore
from upscale_server.logs import get_logger
from upscale_server.media.excerpt import Excerpt
from upscale_server.media.look import Looked
from upscale_server.models.catalogue import CLASSICAL
from upscale_server.models.device import usable_cores
from upscale_server.models.load import can_run
from upscale_server.models.pace import Pace
from upscale_server.plan import Plan
from upscale_server.quality import Quality
from upscale_server.stopping import Stop as Stopping
from upscale_server.wish import Limits, Wish
from upscale_server.workers.company import Company, Guest
from upscale_server.workers.crew import Crew, DiedTwice
from upscale_server.workers.desk import Desk
from upscale_server.workers.job_executor import JobExecutor
from upscale_server.workers.lanes import Lanes
from upscale_server.workers.messages import (
    LANE,
    CompareVideos,
    FindPace,
    LoadModels,
    MakePlan,
    MakePoster,
    ProbeSource,
    Settled,
    SettleModel,
    Setup,
    WriteExcerpt,
)
from upscale_server.workers.needs import DOCUMENTED_LANES, PoolNeeds, lane_count, threads_of_a_lane
from upscale_server.workers.status import PoolStatus
from upscale_server.workers.worker import WARM_SIZE

_LOOK_SECONDS = 0.2


class Pool:
    """Lanes and desk; started once, closed once."""

    def __init__(self, needs: PoolNeeds) -> None:
        self._needs = needs
        self._desk = Desk(self._setups("desk", needs.desks, threads=0), needs.patience)
        self._lanes: Lanes | None = None
        self._company = Company()
        self._settled: Settled | None = None
        self._fault: str | None = None
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._starter = threading.Thread(target=self._start, name="start-lanes", daemon=True)

    def start(self) -> None:
        """Begin to start the processes; returns at once, `status` tells how far they are."""
        atexit.register(self.close)  # children ignore SIGTERM: an interpreter that waited for them would wait for ever
        self._desk.start()
        self._starter.start()

    def close(self, drain_seconds: float = 0.0) -> None:
        """Take no new work, let running work end for a while, then end every process. Safe to call twice."""
        atexit.unregister(self.close)
        self._closing.set()
        if self._starter.ident is None:
            return
        if self._lanes is not None:
            self._lanes.close(drain_seconds)
        self._desk.close(drain_seconds if self._settled else 0.0)
        self._starter.join()
        if self._lanes is not None:  # begun in between
            self._lanes.close()

    def status(self) -> PoolStatus:
        """Return what is true now."""
        lanes = self._lanes
        fault = self._fault or self._desk.fault or (lanes.fault if lanes else None)
        ready = lanes is not None and lanes.is_loaded and fault is None and not self._closing.is_set()
        model = self._settled.cards[0].name if self._settled else ""
        return PoolStatus(ready, fault, lanes.statuses(model) if lanes else ())

    @property
    def settled(self) -> Settled | None:
        """Return the networks that the lanes hold and how they are run; None before that is known."""
        return self._settled

    def task_lanes(self) -> dict[str, int]:
        """Return how many lanes each task really gets; zero before the number is known."""
        count = self._lanes.count if self._lanes else 0
        return {task: min(documented, count) for task, documented in DOCUMENTED_LANES.items()}

    def plan(self, source: Path, wish: Wish, limits: Limits, stop: Stopping) -> Plan:
        """Probe a source and decide everything about its job, at the desk.

        A wish that leaves them open gets the server's model, and the engine that the lanes run on where it can run it.

        Raises:
            Canceled: `stop` gave a reason.
            ModelsNotLoaded: the workers could not be started.
            SourceError and its kinds, BadRequest and its kinds, ModelMissing: as `make_plan`.
        """
        lanes, settled = self._ready_for(stop)
        wish = self._completed(wish, settled, lanes.count)
        # Engine and precision are both settled then, so nothing is measured: only what memory allowed is looked up.
        order = MakePlan(source, wish, limits, self._needs.choices if wish.settled else None)
        return at_pace_of(settled, cast("Plan", self._desk.do(order, object(), ignore, stop)))

    def look(self, source: Path, stop: Stopping) -> Looked:
        """Look at a stranger's file at the desk.

        Raises:
            Canceled: `stop` gave a reason.
            SourceCorrupt: the processes that opened it died.
            SourceError and its kinds: as `look_at`.
        """
        return cast("Looked", self._shown(ProbeSource(source, self._needs.limits), stop))

    def poster(self, source: Path, stop: Stopping) -> bytes:
        """Return a frame of a file as a JPEG, made at the desk.

        Raises:
            As `look`.
        """
        return cast("bytes", self._shown(MakePoster(source, self._needs.limits.max_pixels), stop))

    def _shown(self, order: ProbeSource | MakePoster, stop: Stopping) -> object:
        try:
            return cast("object", self._desk.do(order, object(), ignore, stop))
        except DiedTwice as err:
            raise SourceCorrupt(
                f"source {order.source} cannot be looked at: two processes that opened it died",
                hint="the file is damaged, or made to crash a decoder; the server's log says more",
            ) from err

    def write_excerpt(self, excerpt: Excerpt, path: Path, observer: Observer, stop: Stopping) -> None:
        """Write an exact excerpt of a source at the desk.

        Raises:
            Canceled: `stop` gave a reason.
            SourceError and its kinds, DiskFull, StorageError: as `media.excerpt`.
        """
        with self._company.joined(Guest()):  # it takes cores from whatever is timed meanwhile
            self._desk.do(WriteExcerpt(excerpt, path), object(), observer, stop)

    def compare(self, reference: Path, distorted: Path, observer: Observer, stop: Stopping) -> Quality:
        """Measure how near one video is to another, beside the desk.

        Raises:
            Canceled: `stop` gave a reason.
            UpscaleError and its kinds: as `quality.measure`.
        """
        with self._company.joined(Guest()):
            return self._desk.measure(CompareVideos(reference, distorted), object(), observer, stop)

    def executor(self, task: str | None, stop: Stopping) -> JobExecutor:
        """Return what runs one job's segments, on as many lanes as its task gets, and finishes it at the desk."""
        lanes, most = (lambda: self._ready_for(stop)[0]), (lambda: self.most_lanes(task))
        return JobExecutor(lanes, self._desk, most, stop, self._company)

    def most_lanes(self, task: str | None) -> int:
        """Return how many lanes one job of a task may have; one before the number is known."""
        most = self.task_lanes()
        return max(1, most[task] if task in most else max(most.values()))

    def _start(self) -> None:
        """Have lanes that hold the networks, and start them."""
        try:
            lanes, settled = self._hired()
        except (Canceled, Draining):
            return
        except Exception as err:  # noqa: BLE001 - whatever it is, jobs must not wait for lanes that never come
            fault = err.detail if isinstance(err, UpscaleError) else f"{type(err).__name__}: {err}"
            get_logger().error("models_not_settled", cause=fault)
            with self._changed:
                self._fault = fault
                self._changed.notify_all()
            return
        with self._changed:
            if self._closing.is_set():
                return
            self._settled, self._lanes = settled, lanes
            self._lanes.start()
            self._changed.notify_all()

    def _hired(self) -> tuple[Lanes, Settled]:
        """Settle the model and decide the number of lanes; where they are not of this machine, this is another's."""
        order = SettleModel(self._needs.model, self._needs.choices)
        settled: Settled = self._desk.do(order, self, ignore, self._closing_reason)
        count = lane_count(self._needs, settled.way.engine)
        threads = threads_of_a_lane(self._needs, count)
        settled = replace(settled, pace=self._pace_of(settled, threads))
        return Crew(self._setups(LANE, count, threads), self._needs.patience, LoadModels(settled)), settled

    def _pace_of(self, settled: Settled, threads: int) -> Pace | None:
        """Have it measured how many calls at once suit a lane's network and cores, while nothing else runs.

        Work goes on without that: whether the network runs here is for the lanes to say.
        """
        if self._needs.choices is None:
            return None
        order = FindPace(settled, threads, self._needs.choices)
        try:
            return cast("Pace", self._desk.do(order, self, ignore, self._closing_reason))
        except (Canceled, Draining):
            raise
        except UpscaleError as err:
            get_logger().warning("pace_not_measured", cause=str(err))
            return None

    def _closing_reason(self) -> str:
        return "closing" if self._closing.is_set() else ""

    def _ready_for(self, stop: Stopping) -> tuple[Lanes, Settled]:
        """Wait until it is known which lanes there are."""
        while True:
            with self._changed:
                if self._fault:
                    raise ModelsNotLoaded(f"the workers could not be started: {self._fault}")
                settled = self.settled
                if self._lanes is not None and settled is not None:
                    return self._lanes, settled
                self._changed.wait(_LOOK_SECONDS)
            if self._closing.is_set():
                raise Draining("the server is stopping")
            reason = stop()
            if reason:
                raise Canceled(reason)

    def _completed(self, wish: Wish, settled: Settled, lanes: int) -> Wish:
        """Fill in what the wish leaves open: model, engine, and the share of the cores where several lanes run."""
        model = wish.model or self._needs.model
        threads = wish.threads or self._threads_of(lanes)
        wish = replace(wish, model=model, threads=threads)
        if model in CLASSICAL or wish.engine != "auto" or wish.precision != "auto":
            return wish
        by_name = self._needs.model is None and any(model == card.name for card in settled.cards)
        ours = model in (None, self._needs.model) or by_name
        if not ours and not can_run(settled.way.engine, str(model)):
            return wish  # an added model of the other kind: what runs it here is found out with its plan
        precision = settled.way.precision if ours else "auto"
        return replace(wish, engine=settled.way.engine, precision=precision, settled=precision != "auto")

    def _threads_of(self, lanes: int) -> int:
        """Return the cores that each of so many lanes may use; 0 for all."""
        return 0 if lanes == 1 else max(1, usable_cores() // lanes)

    def _setups(self, role: str, count: int, threads: int) -> tuple[Setup, ...]:
        needs = self._needs
        log = (needs.log_level, needs.log_style, needs.choices, needs.log_file)
        said = (threads, *log, needs.source_silent_seconds, needs.source_look_seconds)
        return tuple(Setup(role, index, *said) for index in range(count))


def at_pace_of(settled: Settled, plan: Plan) -> Plan:
    """Return a plan for the lanes' own network at the pace that was measured for it; no byte depends on that."""
    if settled.pace is None or plan.passes[0].card not in settled.cards or plan.engine != settled.way.engine:
        return plan
    pace = settled.pace.scaled(WARM_SIZE, plan.source.size)
    return replace(plan, lanes=pace.lanes, batch=max(plan.batch, pace.batch))
