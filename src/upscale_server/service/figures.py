"""Answers what is now when a server's figures are read: jobs, lanes, models, memory and disk.

What cannot be found out is left out and never zero. What happened is counted in `metrics`.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Protocol, get_args

from upscale_server.errors import UpscaleError
from upscale_server.jobs.job import State, ToldState
from upscale_server.metrics import Metrics, Reading
from upscale_server.service.assembly import folders_of
from upscale_server.service.gpu_facts import GpuFacts, gpu_facts
from upscale_server.service.labels import expect_outcomes, model_label
from upscale_server.settings import Settings
from upscale_server.workers.status import LaneState, LaneStatus, PoolStatus

_GPU_SECONDS = 5.0
"""How long an answer of the GPU's driver counts: asking it starts a program."""
_GB = 2**30
_AT_WORK: tuple[LaneState, ...] = ("ready", "busy")


StateCounts = Callable[[], tuple[Mapping[State, int], Mapping[ToldState, int]]]
"""Of jobs, and of the messages about their ends."""


class Asked(Protocol):
    """What is asked of the video server."""

    settings: Settings

    def pool_status(self) -> PoolStatus:
        """Return how the lanes are."""

    def check_ready(self) -> None:
        """Return where jobs can be done."""


class GpuMemory:
    """The memory of the GPU, asked for at most every few seconds; safe to call from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked_at = 0.0
        self._known: GpuFacts | None = None

    def readings(self) -> Iterator[Reading]:
        """Yield what is known; nothing where there is no GPU."""
        facts = self._fresh()
        if facts is None:
            return
        total, free = facts.total_gb, facts.free_gb
        if total is not None and free is not None:
            for kind, amount in (("total", total), ("used", total - free), ("free", free)):
                yield Reading("upscale_gpu_memory_bytes", amount * _GB, (kind,))
        for kind, own in (("reserved", facts.reserved_gb), ("allocated", facts.allocated_gb)):
            if own:  # 0 where torch has not touched the GPU in this process: nothing is measured then
                yield Reading("upscale_gpu_memory_bytes", own * _GB, (kind,))

    def _fresh(self) -> GpuFacts | None:
        with self._lock:
            if not self._asked_at or time.monotonic() - self._asked_at >= _GPU_SECONDS:
                self._known, self._asked_at = gpu_facts(), time.monotonic()
            return self._known


def video_metrics(service: Asked, counts: StateCounts) -> Metrics:
    """Return the figures of the video server.

    Args:
        service: is asked how it is.
        counts: tells how many jobs are stored in each state, and how many messages about their ends.
    """
    gpu = GpuMemory()
    metrics = Metrics(
        "video",
        lambda: _video(service, counts),
        gpu.readings,
        lambda: disk_readings(_video_folders(service.settings)),
    )
    expect_outcomes(metrics)
    return metrics


def _video(service: Asked, counts: StateCounts) -> Iterator[Reading]:
    with suppress(UpscaleError):  # a database that is away: how many jobs there are is not known
        of_jobs, of_messages = counts()
        yield from _of_jobs(service, of_jobs)
        yield from (Reading("upscale_webhooks", amount, (state,)) for state, amount in of_messages.items())
    yield Reading("upscale_ready", float(is_ready(service.check_ready)))
    lanes = service.pool_status().lanes
    states = Counter(lane.state for lane in lanes)
    yield from (Reading("upscale_lanes", states[state], (state,)) for state in get_args(LaneState))
    yield from _of_models(lanes)


def _of_jobs(service: Asked, counts: Mapping[State, int]) -> Iterator[Reading]:
    yield from (Reading("upscale_jobs", amount, (state,)) for state, amount in counts.items())
    yield Reading("upscale_queue_depth", counts["queued"])
    yield Reading("upscale_queue_room", service.settings.jobs.room)


def is_ready(check: Callable[[], None]) -> bool:
    """Tell whether a check raises nothing of ours."""
    try:
        check()
    except UpscaleError:
        return False
    return True


def _of_models(lanes: tuple[LaneStatus, ...]) -> Iterator[Reading]:
    for name in {lane.model for lane in lanes if lane.model}:
        own = [lane for lane in lanes if lane.model == name]
        loaded = sum(lane.state in _AT_WORK for lane in own)
        yield Reading("upscale_model_loaded", loaded, (model_label(name),))
        if slowest := max((lane.load_seconds for lane in own), default=0.0):
            yield Reading("upscale_model_load_seconds", slowest, (model_label(name),))


def _video_folders(settings: Settings) -> dict[str, Path]:
    """Return the folders of the video server whose disks may become full."""
    own = folders_of(settings)
    folders = {"state": own.state, "temp": own.temp}
    return folders | ({"output": own.output} if settings.storage.kind == "local" else {})


def disk_readings(folders: Mapping[str, Path]) -> Iterator[Reading]:
    """Yield free space and size for each folder that can be asked about."""
    for name, folder in folders.items():
        with suppress(OSError):  # not made yet, or its disk is away
            usage = shutil.disk_usage(folder)
            yield Reading("upscale_disk_free_bytes", usage.free, (name,))
            yield Reading("upscale_disk_size_bytes", usage.total, (name,))
