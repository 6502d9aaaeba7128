"""The jobs of a simulated fleet and what they cost it, from the figures that were measured.

Everything random comes from a seed. It simulates nothing.
"""

from __future__ import annotations

from pathlib import Path
from random import Random

from benchmarks.figures import (
    ASSUMED,
    KINDS,
    MEASURED,
    RATE,
    Figure,
    finish_frames_per_second,
    frames_of_a_segment_start,
    hardness,
    mean_seconds,
    paces,
)
from benchmarks.fleet import Costs, Job
from benchmarks.machine import RESULTS

REQUESTS, REQUEST_SECONDS = 3, 0.15
"""Of an object store for one segment: its source, its file, its marker. AWS names 100 to 200 ms for S3."""


def calibration(folder: Path = RESULTS) -> dict[str, Figure]:
    """Return every figure that a simulation rests on, besides those of its fleet."""
    hard = hardness(folder)
    spread = "estimate.json, seconds for a pixel of ten clips over their mean"
    return {
        **{f"fps_{name}": one for name, one in paces(folder).items()},
        **{f"frames_of_a_segment_start_by_{by}": frames_of_a_segment_start(by, folder) for by in ("wall", "processor")},
        "store_seconds_of_a_segment": Figure(REQUESTS * REQUEST_SECONDS, ASSUMED, "three requests of 0.15 s"),
        "finish_frames_per_second": finish_frames_per_second(folder),
        "easiest": Figure(min(hard), MEASURED, spread),
        "hardest": Figure(max(hard), MEASURED, spread),
        **{f"share_of_{kind.name}s": Figure(kind.share, ASSUMED, "KINDS") for kind in KINDS},
    }


def costs(fps: float, start_by: str = "wall", requests: int = REQUESTS, folder: Path = RESULTS) -> Costs:
    """Return what work takes on a GPU.

    Args:
        fps: frames that it makes a second.
        start_by: the seconds by which a segment's start was read, "wall" or "processor".
        requests: those to the store in which it waits, for each segment.
        folder: where the results are.
    """
    start = frames_of_a_segment_start(start_by, folder).value / fps + requests * REQUEST_SECONDS
    return Costs(work=RATE / fps, each=start, finish=RATE / finish_frames_per_second(folder).value)


def mixed_jobs(until: float, work: float, gpu_load: float, seed: int, hard: list[float] | None = None) -> list[Job]:
    """Return jobs that come at random until a moment and ask for so many GPUs' time on average.

    Args:
        until: seconds.
        work: GPU seconds for a second of video.
        gpu_load: GPUs that all jobs together keep busy.
        seed: of everything random.
        hard: values of `hardness` to draw from; None takes all videos for alike.
    """
    chance, jobs, now = Random(f"{seed} jobs"), list[Job](), 0.0
    every = seconds_between_jobs(work, gpu_load)
    while (now := now + chance.expovariate(1 / every)) < until:
        kind = chance.choices(KINDS, [one.share for one in KINDS])[0]
        seconds = kind.least_seconds * (kind.most_seconds / kind.least_seconds) ** chance.random()
        jobs.append(Job(len(jobs), kind.name, now, seconds, chance.choice(hard) if hard else 1.0))
    return jobs


def seconds_between_jobs(work: float, gpu_load: float) -> float:
    """Return how often jobs come that together keep so many GPUs busy."""
    return mean_seconds() * work / gpu_load
