"""What fleets of any size need, reckoned from figures that were measured: one segment first, then its times.

It measures and prints nothing; `docs/reference/scale_tables.py` writes it down.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figures import (
    ASSUMED,
    DOCUMENTED,
    MEASURED,
    PIXELS,
    RATE,
    RECKONED,
    Figure,
    bits_per_pixel,
    finish_frames_per_second,
    finish_seconds_per_megapixel,
    mean_seconds,
    result,
)
from benchmarks.machine import RESULTS
from upscale_server.jobs.hold import BEAT_SECONDS

SECONDS = 10.0
SOURCE_PIXELS = 1920 * 1080
WRITES_OF_A_JOB = 13
"""Handed in, claimed, plan kept, six phases begun, upload begun and over, ended, and one look that found nothing."""
STORE_REQUESTS = 5
"""For a segment: stored, looked at, taken, removed; its node's share of fetching the source. A GPU waits for three."""
DESKS_OF_A_SERVER = Figure(32, ASSUMED, "UPSCALE_WORKERS__DESKS on a server of as many cores; 2 by itself")
HEARD_SECONDS, FACTS_SECONDS = 1.0, 2.0
"""How often a server asks a node about a running segment, and about itself, over Ray."""
RAY_ACTORS = Figure(20_000, DOCUMENTED, "Ray's scalability envelope, trivial load")
S3_PUTS = Figure(3_500, DOCUMENTED, "AWS: writes a second for each prefix")
LINK = Figure(10e9 / 8, ASSUMED, "a link of 10 Gbit/s, in bytes a second")
GIGA, DAY = 1e9, 86_400.0


@dataclass(frozen=True, slots=True)
class Segment:
    """What a segment of ten seconds costs, from 1920x1080 to 3840x2160 at 24 frames a second."""

    frames: float
    megapixels: Figure
    decode: Figure
    network: Figure
    encode: Figure
    finish: Figure
    source_bytes: Figure
    output_bytes: Figure
    copy_bytes: Figure
    message_bytes: Figure


def segment(folder: Path = RESULTS) -> Segment:
    """Return what one segment costs: core seconds and bytes."""
    pipeline, segments = result("pipeline_fast", folder), result("segments", folder)
    frames, size = SECONDS * RATE, pipeline["size"]
    source_each, output_each = (_pixels(part) * pipeline["frames"] / 1e6 for part in size.split(" to "))
    source, output = frames * SOURCE_PIXELS / 1e6, frames * PIXELS / 1e6
    spent, why = pipeline["processor_seconds"], f"pipeline_fast.json at {size}, by pixels"
    clip = 8 * segments["source_bytes"] / (segments["frames"] * _pixels(segments["size"].split(" to ")[0]))
    travels, bits = segments["travels"], bits_per_pixel(folder)
    return Segment(
        frames=frames,
        megapixels=Figure(output, RECKONED, "240 frames of 3840x2160"),
        decode=Figure(spent["decode"] / source_each * source, RECKONED, why),
        network=Figure(spent["upscale"] / output_each * output, RECKONED, f"{why}, the network on the processor"),
        encode=Figure(spent["encode"] / output_each * output, RECKONED, f"{why}, x265 fast"),
        finish=Figure(finish_seconds_per_megapixel(folder).value * output, RECKONED, "segments.json at 3840x2160"),
        source_bytes=Figure(clip * source * 1e6 / 8, RECKONED, "segments.json, the bundled clip's bits for a pixel"),
        output_bytes=Figure(bits.value * output * 1e6 / 8, RECKONED, bits.source),
        copy_bytes=Figure(
            2.0 * result("proxies", folder)["copy_bytes"], RECKONED, "proxies.json, twice its five seconds"
        ),
        message_bytes=Figure(travels["order_bytes"] + travels["answer_bytes"], MEASURED, "segments.json, pickled"),
    )


@dataclass(frozen=True, slots=True)
class Need:
    """What a fleet needs of something a second, and what one of it was seen to give: None where nobody knows."""

    what: str
    unit: str
    amount: float
    of_one: Figure | None = None
    one: str = ""

    @property
    def times(self) -> float | None:
        """Return how many of it are needed."""
        return None if self.of_one is None else self.amount / self.of_one.value


def needs(gpus: int, fps: float, folder: Path = RESULTS) -> list[Need]:
    """Return what so many GPUs need, each of which makes so many frames of 3840x2160 a second and is always busy.

    Every GPU is taken to work on another job, and as many more jobs as there are desks at work are joined and audited:
    all of them hold leases. Every server asks every node how it is. Starts of segments are left out. Calls over Ray are
    those of each server: with more servers there are more of them.
    """
    one = segment(folder)
    segments = gpus * fps / one.frames
    jobs = gpus * fps / RATE / mean_seconds()
    desks = gpus * fps / finish_frames_per_second(folder).value
    servers = math.ceil(desks / DESKS_OF_A_SERVER.value)
    writes = (gpus + desks) / BEAT_SECONDS + segments + jobs * WRITES_OF_A_JOB
    calls = gpus / servers / HEARD_SECONDS + gpus / FACTS_SECONDS
    through_server = 2 * one.source_bytes.value + 2 * one.output_bytes.value
    core = Figure(1.0, MEASURED, "one core")
    return [
        Need("output pixels", "MP/s", segments * one.megapixels.value),
        Need("segments", "1/s", segments, ray_segments(folder), "server"),
        Need("jobs", "1/s", jobs, rate("life", folder), "Postgres"),
        Need("writes to the jobs' database", "1/s", writes, rate("renew", folder), "Postgres"),
        Need("desks at work, joining and auditing", "", desks, DESKS_OF_A_SERVER, "server"),
        Need("calls over Ray by each server", "1/s", calls, ray_calls(folder), "server"),
        Need("nodes' actors", "", gpus, RAY_ACTORS, "Ray cluster"),
        Need("encoding on processors, x265 fast", "cores", segments * one.encode.value, core, "core"),
        Need("joining and auditing at servers", "cores", segments * one.finish.value, core, "core"),
        Need(
            "through the servers' network", "GB/s", segments * through_server / GIGA, _giga(LINK), "link of 10 Gbit/s"
        ),
        Need("store requests", "1/s", segments * STORE_REQUESTS, S3_PUTS, "S3 prefix"),
        Need("results stored in a day", "TB", segments * one.output_bytes.value * DAY / 1e12),
    ]


def rate(work: str, folder: Path = RESULTS, callers: str = "16 processes", database: str = "postgres") -> Figure | None:
    """Return what a database did of something a second, None where that was not measured."""
    found = result("control", folder).get(database)
    if not found:
        return None
    return Figure(found[work][callers]["per_second"], MEASURED, f"control.json, {database}, {callers}")


def ray_calls(folder: Path = RESULTS) -> Figure | None:
    """Return how many calls a second over Ray one server gets answered, None until `bench_cluster` was run."""
    found = result("cluster", folder).get("calls_per_second")
    return None if found is None else Figure(float(found), MEASURED, "cluster.json, nodes and server on two cores")


def ray_segments(folder: Path = RESULTS) -> Figure | None:
    """Return how many segments a second one server had done over Ray, None until `bench_cluster` was run."""
    found = result("cluster", folder).get("segments_per_second")
    if found is None:
        return None
    return Figure(
        float(found["two"]), MEASURED, "cluster.json, at least: two nodes did twice what one did, on two cores"
    )


def _giga(figure: Figure) -> Figure:
    return Figure(figure.value / GIGA, figure.kind, figure.source)


def _pixels(size: str) -> int:
    width, height = size.split("x")
    return int(width) * int(height)
