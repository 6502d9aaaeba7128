"""How many calls at once, and how many frames in each, a network does fastest here: measured once and remembered.

It changes no pixels, because engines compute frame by frame whatever shares a call; which engine runs is `select`'s.
Where memory once forced a job to ask for less (`ladder`), nothing is measured and nothing more is asked for.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, replace
from typing import Any, cast

import numpy as np

from upscale_server.errors import UpscaleError
from upscale_server.media.types import Size
from upscale_server.models.base import EngineOptions, Pixels, Upscaler
from upscale_server.models.choices import Choices
from upscale_server.models.device import usable_cores
from upscale_server.models.engines.self_test import trial_batch
from upscale_server.models.ladder import point_key
from upscale_server.models.load import NETWORK_ENGINES, load_with
from upscale_server.models.select import BUILT, measured_window, precision_named
from upscale_server.models.versions import versions

MOST_LANES = 4
"""More hold more memory, and a device that four calls at once do not fill gains little from eight."""

MOST_BATCH_PIXELS = 1 << 22
"""Two frames of 1920x1080: some batches wait between stages, and memory must stay flat."""

WORTH = 1.1
"""What more lanes or a larger batch must gain: they cost memory, and measuring has its noise."""

_MOST_BATCH = 16
_SLOW_SECONDS = 0.5
"""A call that takes as long fills the device; to measure would take longer than it could gain."""
_ROUND_SECONDS = 0.1
_ROUNDS = 3
_HOPELESS = 0.9

Load = Callable[[int], Upscaler]
"""Load the same network with so many lanes."""


@dataclass(frozen=True, slots=True)
class Pace:
    """`lanes` calls at a time, each of `batch` frames."""

    lanes: int = 1
    batch: int = 1

    @classmethod
    def of_record(cls, record: dict[str, Any]) -> Pace | None:  # JSON values of many types
        """Return the pace that a record holds, or None where it holds none."""
        try:
            pace = cls(int(record["lanes"]), int(record["batch"]))
        except (KeyError, TypeError, ValueError):
            return None
        return pace if min(pace.lanes, pace.batch) > 0 else None

    def scaled(self, measured: Size, size: Size) -> Pace:
        """Return the pace for frames of another size: as many lanes, and as many pixels in a call."""
        return replace(self, batch=max(1, self.batch * measured.pixels // size.pixels))


def usual_pace(size: Size) -> Pace:
    """Return what is right without measuring: one lane, and as many small frames as make a call worth its way."""
    return Pace(1, max(1, min(8, 1_000_000 // size.pixels)))


def pace_of(upscaler: Upscaler, size: Size, choices: Choices, options: EngineOptions) -> Pace:
    """Return the fastest pace of a loaded network, remembered or measured now; the usual one where measuring fails.

    Args:
        upscaler: with one lane.
        size: of the frames to come.
        choices: where it is remembered.
        options: as it was loaded; to load it with more lanes.
    """
    if upscaler.working.engine not in NETWORK_ENGINES or _was_short(upscaler, size, choices):
        return usual_pace(size)
    known = Pace.of_record(choices.paces.get(_key(upscaler, size, options.threads)))
    try:
        return known or remember_pace(upscaler, size, choices, options)
    except UpscaleError:  # too little memory, say: the work itself answers that by asking for less
        return usual_pace(size)


def remember_pace(upscaler: Upscaler, size: Size, choices: Choices, options: EngineOptions) -> Pace:
    """Measure the fastest pace of a loaded network and keep it."""
    working = upscaler.working
    options = replace(options, precision=precision_named(working.precision))

    def load(lanes: int) -> Upscaler:
        return load_with(upscaler.card, working.engine, replace(options, lanes=lanes))

    most = MOST_LANES if working.device.startswith("GPU") else min(MOST_LANES, options.threads or usable_cores())
    found = measure_pace(upscaler, size, most, load)
    facts = {"model": upscaler.card.name, "engine": working.engine, "size": str(size)}
    choices.paces.put(_key(upscaler, size, options.threads), {**asdict(found), **facts})
    return found


def measure_pace(upscaler: Upscaler, size: Size, most_lanes: int, load: Load) -> Pace:
    """Double the lanes as long as that pays, then the batch; what does not fit into memory does not pay."""
    best = usual_pace(size)
    frame, seconds = _frame(upscaler, size)
    if seconds > _SLOW_SECONDS:
        return best
    most_batch = max(best.batch, min(_MOST_BATCH, MOST_BATCH_PIXELS // size.pixels))
    with ExitStack() as stack:
        at_best = _Timed(upscaler, best, frame, seconds)
        while best.lanes * 2 <= most_lanes:
            try:
                more = stack.enter_context(closing(load(best.lanes * 2)))
            except UpscaleError:
                break
            wider = _Timed(more, replace(best, lanes=best.lanes * 2), frame, seconds)
            if not _pays(at_best, wider):
                break
            best, at_best = wider.pace, wider
        while best.batch * 2 <= most_batch:
            longer = replace(at_best, pace=replace(best, batch=best.batch * 2))
            if not _pays(at_best, longer):
                break
            best, at_best = longer.pace, longer
    return best


@dataclass(frozen=True, slots=True)
class _Timed:
    """A loaded network at a pace, the frame it is measured with, and about how long that takes."""

    upscaler: Upscaler
    pace: Pace
    frame: Pixels
    seconds: float

    def rate(self) -> float:
        """Return frames a second."""
        lanes, batch = self.pace.lanes, cast("Pixels", np.repeat(self.frame, self.pace.batch, axis=0))
        calls = max(2 * lanes, math.ceil(_ROUND_SECONDS / (self.seconds * len(batch))))
        with ThreadPoolExecutor(lanes) as pool:
            deque(pool.map(lambda _: self.upscaler.upscale(batch), range(lanes)), maxlen=0)  # chooses kernels
            started = time.perf_counter()
            deque(pool.map(lambda _: self.upscaler.upscale(batch), range(calls)), maxlen=0)
            return calls * len(batch) / (time.perf_counter() - started)


def _pays(now: _Timed, other: _Timed) -> bool:
    """Tell whether another pace is clearly faster: both in turns, so that other programs meet both alike."""
    reached = wanted = 0.0
    for _ in range(_ROUNDS):
        wanted = max(wanted, now.rate())
        try:
            reached = max(reached, other.rate())
        except UpscaleError:
            return False
        if reached < wanted * _HOPELESS:
            return False
    return reached >= wanted * WORTH


def _frame(upscaler: Upscaler, size: Size) -> tuple[Pixels, float]:
    """Return a frame to measure with, whole where that takes no longer than a round, and how long it takes."""
    card = upscaler.card
    whole = (size.height, size.width)
    shape = whole if upscaler.working.engine == BUILT else measured_window(card, size)
    frame = _pixels(upscaler, shape)
    seconds = _seconds(upscaler, frame)
    if shape == whole or seconds * size.pixels / (shape[0] * shape[1]) > _ROUND_SECONDS:
        return frame, seconds
    frame = _pixels(upscaler, whole)
    return frame, _seconds(upscaler, frame)


def _pixels(upscaler: Upscaler, shape: tuple[int, int]) -> Pixels:
    return (trial_batch(upscaler.card, shape) >> 8).astype(np.uint8)


def _seconds(upscaler: Upscaler, frame: Pixels) -> float:
    upscaler.upscale(frame)  # compiles the shape
    started = time.perf_counter()
    upscaler.upscale(frame)
    return max(1e-6, time.perf_counter() - started)


def _was_short(upscaler: Upscaler, size: Size, choices: Choices) -> bool:
    return choices.points.recall(point_key(upscaler.card, upscaler.working, size)) is not None


def _key(upscaler: Upscaler, size: Size, threads: int) -> str:
    """Name what a pace is true for."""
    card, working = upscaler.card, upscaler.working
    facts = [card.sha256, working.engine, working.precision, working.device, str(size), threads, usable_cores()]
    return hashlib.sha256(repr([*facts, *versions()]).encode()).hexdigest()[:24]
