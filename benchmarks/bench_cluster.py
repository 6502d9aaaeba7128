"""Asks two things of the Ray executor: what does it cost on the same device, and does a second machine help?

    python -m benchmarks.bench_cluster [--seconds 60] [--rounds 4]

overhead    a job on a cluster of one machine with one core against the resident workers here, kept to one core
            (start-up apart)   <= 1.10
efficiency  one machine's seconds against twice those of two, each with a core of its own   >= 0.85
segments    how many a second one server has done by one machine and by two, with next to no work in them
calls       how many a second one server gets answered by nodes that have nothing to do

Both sides have the same plan and the same core, and take turns, one of them first and then the other: ratios are of
neighbours, and their medians count. Every machine is kept to its core. What the host of a virtual machine took from
those cores meanwhile is taken off the seconds, and told (`stolen`): it was up to a third, and never the same.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.bench_memory import repeated, smaller
from benchmarks.machine import save, stolen_seconds, usable_cores
from tests.support.clip_spec import Clip, Picture
from tests.support.clip_writer import write_clip
from tests.support.ray_cluster import Machines, running_machines
from upscale_server.checkpoint import WorkDir
from upscale_server.cluster.fleet import Fleet
from upscale_server.cluster.pool import FleetPool
from upscale_server.cluster.ray import RayCluster
from upscale_server.cluster.remote import Cluster, Remote
from upscale_server.cluster.transport import FolderTransport
from upscale_server.cluster_settings import RaySettings
from upscale_server.events import ignore
from upscale_server.pipeline import upscale_video
from upscale_server.plan import Plan, make_plan
from upscale_server.wish import Wish
from upscale_server.workers.needs import PoolNeeds
from upscale_server.workers.pool import Pool

ALLOWED_OVERHEAD, LEAST_EFFICIENCY = 1.10, 0.85
WISH = Wish(scale=2, model="fast", engine="openvino", precision="f32", threads=1, segment_seconds=2.5)
"""Short segments: a machine that is a little slower keeps the others waiting for one segment at most at the end."""
CORES = {"here": 1, "one": 1, "two": 2}
CALLERS = 16
WARM_SECONDS = 5
"""The first job loads what a plan needs besides."""
_LOOK_SECONDS = 0.2


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and save; the exit code says whether both bounds held."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=60, help="length of the clip (default: 60)")
    parser.add_argument("--rounds", type=int, default=4)
    options = parser.parse_args(arguments)
    if usable_cores() < max(CORES.values()):
        parser.error("this process may use one core, and two machines need one each")
    with tempfile.TemporaryDirectory() as name:
        result = measured(Path(name), options.seconds, options.rounds)
    print(json.dumps(result, indent=2))
    print(f"written to {save('cluster', result)}", file=sys.stderr)
    return 0 if result["overhead"]["held"] and result["efficiency"]["held"] and result["results"] == 1 else 1


def measured(folder: Path, seconds: int, rounds: int) -> dict[str, Any]:
    """Return all three."""
    plan, warm = plan_of(folder / "clip.mp4", seconds), plan_of(folder / "warm.mp4", WARM_SECONDS)
    runs: dict[str, list[Run]] = {"here": [], "one": [], "two": []}
    with here(folder) as local, clusters(folder) as (one, two, nodes):
        pools = {"here": local, "one": one, "two": two}
        for name, pool in pools.items():
            timed(warm, pool, folder / f"warm-{name}", CORES[name])
        for number in range(rounds):
            for name in sorted(pools, reverse=bool(number % 2)):
                runs[name].append(timed(plan, pools[name], folder / f"work-{name}-{number}", CORES[name]))
        tiny = tiny_plan(folder)
        pace = {name: segments_per_second(tiny, pools[name], folder / f"tiny-{name}") for name in ("one", "two")}
        calls = calls_per_second(nodes)
    net, wall = ratios(runs, lambda run: run.net), ratios(runs, lambda run: run.wall)
    return {
        "seconds_of_clip": seconds, "frames": plan.frame_count, "segments": len(plan.segments),
        "wall_seconds": {name: [round(run.wall, 2) for run in of_one] for name, of_one in runs.items()},
        "stolen_seconds": {name: [round(run.stolen, 2) for run in of_one] for name, of_one in runs.items()},
        "results": len({run.digest for of_one in runs.values() for run in of_one}),
        "overhead": {
            **told(net[0]), "of_wall": told(wall[0]),
            "allowed": ALLOWED_OVERHEAD, "held": statistics.median(net[0]) <= ALLOWED_OVERHEAD,
        },
        "efficiency": {
            **told(net[1]), "of_wall": told(wall[1]),
            "least": LEAST_EFFICIENCY, "held": statistics.median(net[1]) >= LEAST_EFFICIENCY,
        },
        "segments_per_second": pace, "calls_per_second": calls,
    }  # fmt: skip


def ratios(runs: dict[str, list[Run]], seconds: Callable[[Run], float]) -> tuple[list[float], list[float]]:
    """Return overhead and efficiency of each round, by one kind of seconds."""
    rows = list(zip(*([seconds(run) for run in of_one] for of_one in runs.values()), strict=True))
    return [on_one / own for own, on_one, _ in rows], [on_one / (2 * on_two) for _, on_one, on_two in rows]


def told(rounds: Sequence[float]) -> dict[str, Any]:
    """Return the middle of the rounds, and each of them."""
    return {"median": round(statistics.median(rounds), 3), "rounds": [round(one, 3) for one in rounds]}


def segments_per_second(plan: Plan, pool: Pool, work: Path) -> float:
    """Do the segments of a job twice, without its end, and return how many a second the second time."""
    for name in ("warm", "timed"):
        kept, began = WorkDir(work / name, plan.digest), time.monotonic()
        done = list(pool.executor(None, lambda: "").run(plan, plan.segments, kept, ignore))
    return round(len(done) / (time.monotonic() - began), 2)


def calls_per_second(nodes: Sequence[Remote], seconds: float = 5.0) -> float:
    """Ask the nodes how they are from several threads, as a server does, and return how many answers came a second."""
    until = time.monotonic() + seconds

    def ask(number: int) -> int:
        asked = 0
        while time.monotonic() < until:
            nodes[number % len(nodes)].facts()
            asked += 1
        return asked

    with ThreadPoolExecutor(CALLERS) as threads:
        return sum(threads.map(ask, range(CALLERS))) / seconds


def plan_of(path: Path, seconds: int) -> Plan:
    """Write a clip of so many seconds and return its plan, for one lane."""
    return replace(make_plan(repeated(smaller(path.with_suffix(".mkv")), path, seconds), WISH), lanes=1)


def tiny_plan(folder: Path) -> Plan:
    """Return a plan of many segments with next to no work."""
    tiny = write_clip(Clip(pictures=(Picture(width=32, height=32, frame_count=400),)), folder / "tiny.mp4")
    return make_plan(tiny, replace(WISH, model="lanczos", engine="auto", precision="auto", segment_seconds=0.1))


@dataclass(frozen=True, slots=True)
class Run:
    """A job that was done: its seconds, those that its cores were taken away (their mean), and the result's digest."""

    wall: float
    stolen: float
    digest: str

    @property
    def net(self) -> float:
        """Return the seconds of a machine that is nobody else's."""
        return self.wall - self.stolen


def timed(plan: Plan, pool: Pool, work: Path, cores: int) -> Run:
    """Do the segments of a job on the first cores, join and audit them at the desk, and return what that took."""
    used = sorted(os.sched_getaffinity(0))[:cores]
    stolen, began = [stolen_seconds(core) for core in used], time.monotonic()
    result = upscale_video(plan, pool.executor(None, lambda: ""), work, ignore)
    wall = time.monotonic() - began
    taken = statistics.mean(stolen_seconds(core) - before for core, before in zip(used, stolen, strict=True))
    return Run(wall, taken, hashlib.sha256(result.path.read_bytes()).hexdigest())


@contextmanager
def here(folder: Path) -> Iterator[Pool]:
    """Give the resident workers of one lane, whose processes are kept to the first core."""
    with kept_to(0):
        pool = Pool(PoolNeeds(lanes=1, model="fast", choices=folder / "choices.json"))
        pool.start()
        ready(pool, 1)
    try:
        yield pool
    finally:
        pool.close()


@dataclass
class Some:
    """Some machines of a cluster: a process can belong to one cluster at a time."""

    cluster: Cluster
    ids: tuple[str, ...]

    def nodes(self) -> dict[str, Remote]:
        """Return these alone."""
        return {name: node for name, node in self.cluster.nodes().items() if any(one[:16] in name for one in self.ids)}

    def close(self) -> None:
        """Leave it to the others."""


@contextmanager
def clusters(folder: Path) -> Iterator[tuple[Pool, Pool, list[Remote]]]:
    """Give the workers of a server on one machine with a core of its own, of one on two, and the machines."""
    environment = {
        "UPSCALE_WORKERS__LANES": "1", "UPSCALE_MODEL_PATH": "fast", "UPSCALE_LOG_LEVEL": "warning",
        "UPSCALE_RAY__FOLDER": str(folder / "shared"), "UPSCALE_STATE_DIR": str(folder / "nodes"),
    }  # fmt: skip
    with running_machines(environment) as machines:
        for core in range(2):
            add(machines, core)
        ray = RayCluster(RaySettings(address=machines.address))
        transport = FolderTransport(folder / "shared")
        ids = tuple(node.node_id for node in machines.nodes)
        pools = tuple(
            FleetPool(PoolNeeds(model="fast"), Fleet(Some(ray, ids[:count]), transport, f"bench-{count}"))
            for count in (1, 2)
        )
        try:
            for count, pool in enumerate(pools, 1):
                with kept_to(0):  # as its desk is that is next door
                    pool.start()
                ready(pool, count)
            yield pools[0], pools[1], list(ray.nodes().values())
        finally:
            for pool in pools:
                pool.close()
            ray.close()


def add(machines: Machines, core: int) -> None:
    """Let a machine join that has one core: Ray's processes inherit it, and so do the lanes."""
    with kept_to(core):
        machines.add()


@contextmanager
def kept_to(core: int) -> Iterator[None]:
    """Keep this process, and what it starts meanwhile, to one core."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {sorted(cores)[core % len(cores)]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def ready(pool: Pool, count: int) -> None:
    """Wait until so many lanes are loaded."""
    while count > sum(lane.state == "ready" for lane in pool.status().lanes):
        if fault := pool.status().fault:
            raise SystemExit(fault)
        time.sleep(_LOOK_SECONDS)


if __name__ == "__main__":
    raise SystemExit(main())
