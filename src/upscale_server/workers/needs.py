"""How many lanes a machine holds and what each may use, decided once, before any process is started.

It reads facts about processor, memory and GPU; the settings' own numbers always win.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from upscale_server.limits import limits_of
from upscale_server.models.device import first_visible_gpu, usable_cores
from upscale_server.settings import Settings
from upscale_server.wish import Limits
from upscale_server.workers.resident import Patience

CORES_OF_A_LANE = 8
"""One lane keeps 2 cores busy to 95 % (benchmarks/LOG.md); its network and encoder still gain from 8."""

MEMORY_OF_A_LANE = 1 << 30
"""Bytes of main memory: 0.25 GiB measured from 480p, four times that from 4K."""

MEMORY_OF_A_GPU_LANE = 2 << 30
"""Bytes of GPU memory: context, network and the largest tile's activations."""

CORES_OF_A_GPU_LANE = 4
"""Beside a GPU the cores decode and encode."""

GPU_ENGINES = ("cuda", "tensorrt", "torch-cuda")

DOCUMENTED_LANES = {"SD2HD": 10, "SD24K": 8, "HD24K": 12, "4K28K": 8}
"""Lanes of each task in the documents; a task gets that many where the device holds them."""


_PATIENCE = Patience(release_seconds=5.0, silent_seconds=300.0)


@dataclass(frozen=True, slots=True)
class PoolNeeds:
    """What a pool is made of.

    `lanes` 0 leaves the number to the device, at most `most_lanes`; of two `desks` one probes while the other audits;
    `inference_threads` 0 bounds a lane's network by its share of the cores alone. `model` None is the built-in default;
    `choices` None measures no engine. `limits` are what a source is held to when it is looked at.
    """

    lanes: int = 0
    desks: int = 2
    most_lanes: int = 12
    inference_threads: int = 0
    model: str | None = None
    choices: Path | None = None
    patience: Patience = _PATIENCE
    source_silent_seconds: float = 60.0
    source_look_seconds: float = 120.0
    log_level: str = "warning"
    log_style: str = "console"
    log_file: Path | None = None
    limits: Limits = field(default_factory=Limits)


def needs_of(settings: Settings, environment: Mapping[str, str]) -> PoolNeeds:
    """Return what the settings ask for; of the environment, `OMP_NUM_THREADS` bounds a lane's network."""
    threads = environment.get("OMP_NUM_THREADS", "").split(",")[0]
    return PoolNeeds(
        lanes=settings.workers.lanes,
        desks=settings.workers.desks,
        most_lanes=settings.max_workers,
        inference_threads=int(threads) if threads.isdecimal() else 0,
        model=settings.model_path or None,
        choices=settings.state_dir / "choices.json",
        patience=Patience(settings.workers.release_seconds, settings.workers.silent_seconds),
        source_silent_seconds=settings.workers.source_silent_seconds,
        source_look_seconds=settings.workers.source_look_seconds,
        log_level=settings.log_level,
        log_style=settings.log_style,
        log_file=settings.state_dir / "server.log",
        limits=limits_of(settings),
    )


def lane_count(needs: PoolNeeds, engine: str) -> int:
    """Return the number of lanes: what the settings say, else what the device holds."""
    if needs.lanes:
        return min(needs.lanes, needs.most_lanes)
    return max(1, min(needs.most_lanes, _held_by_gpu() if engine in GPU_ENGINES else _held_by_cpu()))


def threads_of_a_lane(needs: PoolNeeds, lanes: int) -> int:
    """Return the cores that a lane's network may use."""
    share = max(1, usable_cores() // lanes)
    return min(share, needs.inference_threads) if needs.inference_threads else share


def _held_by_cpu() -> int:
    return min(usable_cores() // CORES_OF_A_LANE, memory_bytes() // MEMORY_OF_A_LANE)


def _held_by_gpu() -> int:
    """Return the lanes that the first visible GPU, on which all of them run, and the cores beside it hold."""
    found = shutil.which("nvidia-smi")
    if found is None:
        return 1
    asked = [found, "--query-gpu=memory.free", "--format=csv,noheader,nounits"]
    try:
        ran = subprocess.run(asked, capture_output=True, text=True, timeout=20, check=False)  # noqa: S603 - a fixed command
        free = int(ran.stdout.splitlines()[first_visible_gpu()]) << 20
    except (OSError, subprocess.TimeoutExpired, ValueError, IndexError):
        return 1  # a driver that hangs or may not tell says nothing about how many lanes it holds
    return min(free // MEMORY_OF_A_GPU_LANE, usable_cores() // CORES_OF_A_GPU_LANE)


def memory_bytes() -> int:
    """Return the main memory that this process may use: the machine's, or its control group's where that is less."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        said = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
    except OSError:
        return machine
    return min(machine, int(said)) if said.isdecimal() else machine
