"""The child side: a process that does one order after the other until its server closes the pipe.

A lane's networks stay loaded between orders. Who starts, watches and restarts such a process is `resident` and `crew`.
"""

from __future__ import annotations

import os
import signal
import time
from collections import OrderedDict
from contextlib import closing
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import cast

import numpy as np

from upscale_server.cage import Cage
from upscale_server.checkpoint import Done, WorkDir
from upscale_server.errors import OutOfMemory, UpscaleError
from upscale_server.events import Observer
from upscale_server.logs import configure_worker, get_logger
from upscale_server.media.flush import EncoderStuck
from upscale_server.media.types import Size
from upscale_server.models.base import EngineOptions, Upscaler, Working
from upscale_server.models.card import ModelCard
from upscale_server.models.catalogue import family
from upscale_server.models.choices import Candidate, Choices, Points, builds_beside
from upscale_server.models.ladder import at_working_point
from upscale_server.models.load import load_with
from upscale_server.models.luma import FrameUpscaler
from upscale_server.models.pace import Pace, pace_of
from upscale_server.models.select import BUILT, choose, precision_named
from upscale_server.models.ways import options_for
from upscale_server.models.working_point import WorkingPoint
from upscale_server.opening import Tools
from upscale_server.pipeline import upscale_segment
from upscale_server.plan import Pass, Plan, make_plan
from upscale_server.settings import LogLevel, LogStyle
from upscale_server.workers.caged import LOOK_SECONDS, MODULES, CagedOpener, do_caged
from upscale_server.workers.held_pipe import HeldPipe, Telling
from upscale_server.workers.memory import give_memory_back, keep_blocks
from upscale_server.workers.messages import (
    LANE,
    Answer,
    FindPace,
    Greet,
    LoadModels,
    MakePlan,
    Order,
    RunSegment,
    Settled,
    SettleModel,
    Setup,
)

WARM_SIZE = Size(854, 480)
"""The nominal source of two tasks: a first job of that size finds its network compiled; paces are measured at it."""

_TASK_SCALES = (2, 4)
"""The enlargements that the documented tasks need of a family that has them."""

_MOST_GUESTS = 2
"""Networks besides the default ones that a lane keeps: what one job can need, ×2 and ×4."""


_STUCK = 70
"""The exit code of a process whose encoder will never end; EX_SOFTWARE of sysexits.h."""


def serve(pipe: Connection, setup: Setup) -> None:
    """Work until the pipe is closed; the entry point of every worker process."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # a whole group is signalled; the server drains, then closes the pipe
    os.setpgid(0, 0)  # killed with its cage's door, which would not notice the end of its pipe where it stands still
    about: dict[str, str] = {}
    configure_worker(cast("LogLevel", setup.log_level), cast("LogStyle", setup.log_style), setup.log_file, about)
    keep_blocks()
    held = HeldPipe(pipe)
    modules = () if setup.role == LANE else MODULES
    cage = Cage(modules, silent_seconds=setup.source_silent_seconds, check=held.check)
    cage.open()
    bench = Bench(held, setup.threads, setup.choices, cage, setup.source_look_seconds)
    for numbered in held.orders():
        about.clear()
        about.update(numbered.about)
        telling, began = Telling(held), time.monotonic()
        try:
            answer = Answer(numbered.number, bench.do(numbered.order, telling))
        except EncoderStuck as err:  # its threads and its memory go with this process; another one does the order
            get_logger(role=setup.role, lane=setup.index).error("encoder_stuck", cause=str(err))
            os._exit(_STUCK)
        except UpscaleError as err:
            answer = Answer(numbered.number, fault=err)
        except MemoryError:
            answer = Answer(numbered.number, fault=OutOfMemory("the machine has not enough free memory"))
        except Exception as err:  # noqa: BLE001 - a defect of ours ends an order, not the process
            get_logger(role=setup.role, lane=setup.index).exception("order_failed", order=type(numbered.order).__name__)
            answer = Answer(numbered.number, fault=UpscaleError(f"{type(err).__name__}: {err}"))
        give_memory_back()
        _log(setup, numbered.order, answer, time.monotonic() - began)
        telling.flush()
        held.send(answer)


def _log(setup: Setup, order: Order, answer: Answer, seconds: float) -> None:
    facts = {"role": setup.role, "lane": setup.index, "order": type(order).__name__, "seconds": round(seconds, 3)}
    if answer.fault is not None:
        facts["fault"] = getattr(answer.fault, "code", type(answer.fault).__name__)
    get_logger().info("order_done", **facts)


class Bench:
    """What a worker process holds between orders: its loaded networks, and the engines that it has begun to build."""

    def __init__(
        self, held: HeldPipe, threads: int, choices: Path | None, cage: Cage, look_seconds: float = LOOK_SECONDS
    ) -> None:
        self._held = held
        self._cage = cage
        self._look_seconds = look_seconds
        self._threads = threads
        self._builds = None if choices is None else builds_beside(choices)
        self._points = Points() if choices is None else Choices(choices).points
        self._settled: Settled | None = None
        self._residents: dict[tuple[object, ...], Upscaler] = {}
        self._guests: OrderedDict[tuple[object, ...], Upscaler] = OrderedDict()

    def do(self, order: Order, observer: Observer) -> object:
        """Do one order and return what it is answered with."""
        match order:
            case RunSegment():
                return self._run(order, observer)
            case MakePlan(source, wish, limits, choices):
                remembered = Choices(choices, self._builds) if choices else None
                return make_plan(source, wish, limits, remembered, CagedOpener(self._cage, self._look_seconds))
            case LoadModels(settled):
                return self._load_all(settled, observer)
            case FindPace(settled, threads, choices):
                return find_pace(settled, threads, Choices(choices))
            case SettleModel(model, choices):
                return settle(model, Choices(choices) if choices else None)
            case _:
                return None if isinstance(order, Greet) else do_caged(order, self._cage, observer, self._look_seconds)

    def _load_all(self, settled: Settled, observer: Observer) -> Working:
        self._settled = settled
        lanes = 1 if settled.pace is None else settled.pace.lanes
        for card in settled.cards:
            way = settled.way if card.path else Candidate("auto", "auto")
            upscaler = load_with(card, way.engine, self._options(way.precision, WARM_SIZE, lanes))
            working = upscaler.working
            asked = WorkingPoint(lanes, 1, WARM_SIZE.pixels, working.precision)
            warm_up(at_working_point(upscaler, WARM_SIZE, asked, self._points, observer), WARM_SIZE)
            # A plan names what was read back, not what was asked for: `auto` is never in one.
            self._residents[_key(card, working.engine, working.precision)] = upscaler
        return self._residents[next(iter(self._residents))].working

    def _run(self, order: RunSegment, observer: Observer) -> Done:
        plan = order.plan
        try:
            enlarge = FrameUpscaler(self._passes(plan, observer), plan.picture, plan.target, plan.source.colour)
            work = WorkDir(order.work, plan.digest, order.proxies)
            return upscale_segment(plan, order.segment, Tools(enlarge, self._cage.frames), work, observer)
        except OutOfMemory:
            self._release()  # the job may go on in another precision, and that needs the room
            self._warm_for_what_follows(plan, observer)
            raise

    def _warm_for_what_follows(self, plan: Plan, observer: Observer) -> None:
        """Load and run what the job goes on with, or without that the lane's own, before the next segment comes.

        A network that does not load now is asked for again, and named, by the segment that needs it.
        """
        try:
            if plan.lower_precisions:
                lower = plan.in_precision(plan.lower_precisions[0])
                for one, upscaler in zip(lower.passes, self._passes(lower, observer), strict=True):
                    warm_up(upscaler, one.size_in)
            elif self._settled is not None:
                self._load_all(self._settled, observer)
        except UpscaleError as err:
            get_logger().warning("lane_is_cold", cause=str(err))

    def _passes(self, plan: Plan, observer: Observer) -> tuple[Upscaler, ...]:
        """Return the networks of a plan; where they do not fit beside what else is held, that is let go."""
        try:
            return tuple(self._at_working_point(plan, one, observer) for one in plan.passes)
        except OutOfMemory:
            self._release()
            return tuple(self._at_working_point(plan, one, observer) for one in plan.passes)

    def _at_working_point(self, plan: Plan, one: Pass, observer: Observer) -> Upscaler:
        """Return a network of a plan that answers too little memory by asking for less."""
        asked = WorkingPoint(plan.lanes, plan.batch, one.size_in.pixels, plan.precision, plan.lower_precisions)
        return at_working_point(self._network(one, plan), one.size_in, asked, self._points, observer)

    def _release(self) -> None:
        """Let go of every network, also of the lane's own; what is needed next is loaded again as a guest."""
        for upscaler in (*self._residents.values(), *self._guests.values()):
            upscaler.close()
        self._residents.clear()
        self._guests.clear()

    def _network(self, one: Pass, plan: Plan) -> Upscaler:
        """Return a network of a plan: one of the lane's own, or a guest, of which the least recently used one goes."""
        key = _key(one.card, plan.engine, plan.precision)
        if key in self._residents:
            return self._residents[key]
        if plan.engine == BUILT:
            key = (*key, one.size_in)  # it was built for frames of one size
        if key not in self._guests:
            while len(self._guests) >= _MOST_GUESTS:
                self._guests.popitem(last=False)[1].close()
            options = self._options(plan.precision if one.card.path else "auto", one.size_in, plan.lanes)
            self._guests[key] = load_with(one.card, plan.engine, options)
        self._guests.move_to_end(key)
        return self._guests[key]

    def _options(self, precision: str, size: Size, lanes: int) -> EngineOptions:
        return EngineOptions(
            precision_named(precision),
            lanes=lanes,
            threads=self._threads,
            frame_size=(size.height, size.width),
            engines="" if self._builds is None else str(self._builds.folder),
            between_tiles=self._held.check,
        )


def settle(model: str | None, choices: Choices | None) -> Settled:
    """Return the networks that a server's tasks need, and how they run fastest here.

    Args:
        model: as `catalogue.family` takes it.
        choices: where measurements are remembered; None measures nothing.
    """
    cards = family(model)
    needed = tuple(cards[scale] for scale in _TASK_SCALES if scale in cards) or tuple(cards.values())
    asked = Candidate("auto", "auto")
    return Settled(needed, choose(needed[0], asked, WARM_SIZE, choices) if choices else asked)


def find_pace(settled: Settled, threads: int, choices: Choices) -> Pace:
    """Return the pace of a server's first network at the commonest size, with as many threads as a lane has."""
    card = settled.cards[0]
    options = replace(options_for(WARM_SIZE, choices), threads=threads)
    precision = precision_named(settled.way.precision)
    with closing(load_with(card, settled.way.engine, replace(options, precision=precision))) as upscaler:
        return pace_of(upscaler, WARM_SIZE, choices, options)


def warm_up(upscaler: Upscaler, size: Size) -> None:
    """Run one gray frame of a size, so that the first of a job waits for nothing."""
    colours = () if upscaler.card.domain == "luma" else (3,)
    upscaler.upscale(np.full((1, size.height, size.width, *colours), 128, np.uint8))


def _key(card: ModelCard, engine: str, precision: str) -> tuple[object, ...]:
    return (card.path or card.name, card.sha256, card.scale, engine, precision)
