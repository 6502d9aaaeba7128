"""Figures that the reckoning of large fleets rests on: measured, documented and assumed ones, told apart.

Every figure says where it is from. It reckons nothing.
"""

from __future__ import annotations

import json
import math
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.machine import RESULTS

MEASURED, RECKONED, DOCUMENTED, ASSUMED = "measured", "reckoned", "documented", "assumed"
RATE = 24
PIXELS = 3840 * 2160
DOCUMENTED_FPS = 11.45
"""Of HD24K, 1920x1080 to 3840x2160, in the documents that this server answers to; they name an RTX 4090 or better."""
ASKED_MEGAPIXELS = 1000.0
"""What `bench_gpu` asks of a GPU, decoded to nothing; nobody has measured it here."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A number with where it is from: `kind` is one of measured, reckoned from such, documented, assumed."""

    value: float
    kind: str
    source: str

    def as_record(self) -> dict[str, Any]:  # JSON values
        """Return it as JSON values."""
        return {"value": round(self.value, 5), "kind": self.kind, "source": self.source}


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of job: its share of all jobs, and how long its videos are, evenly in the logarithm."""

    name: str
    share: float
    least_seconds: float
    most_seconds: float


KINDS = (Kind("clip", 0.80, 5, 60), Kind("short", 0.18, 60, 900), Kind("film", 0.02, 3600, 9000))
"""Assumed: most jobs are clips, most of the work is in films."""


def result(name: str, folder: Path = RESULTS) -> dict[str, Any]:
    """Return what a benchmark wrote, empty where it was not run."""
    path = folder / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def paces(folder: Path = RESULTS) -> dict[str, Figure]:
    """Return output frames of 3840x2160 a second of one GPU, by name."""
    found = {
        "documented": Figure(DOCUMENTED_FPS, DOCUMENTED, "the documents' HD24K; not measured here"),
        "asked": Figure(ASKED_MEGAPIXELS * 1e6 / PIXELS, ASSUMED, "the bound of bench_gpu; reached nowhere yet"),
    }
    gpu = result("gpu", folder)
    if gpu:
        rate = gpu["frames_per_second"]["file_to_file"]
        found["measured"] = Figure(rate, MEASURED, "gpu.json, file to file, 1920x1080 to 3840x2160")
    return found


def frames_of_a_segment_start(by: str, folder: Path = RESULTS) -> Figure:
    """Return what a segment costs beside its frames, counted in frames of the same video.

    Args:
        by: "wall", in which the lane waits too, or "processor", which other programs on the machine spoil less.
        folder: where the results are.
    """
    found = result("segments", folder)
    frames = found["frames"] / found["lengths"]["10 s"]["segments"]
    return Figure(found["part_of_a_usual_segment"][by] * frames, MEASURED, f"segments.json, {by} seconds")


def seconds_of_a_segment_start(by: str, folder: Path = RESULTS) -> Figure:
    """Return what a segment costs beside its frames where no GPU makes it shorter; `by` as above."""
    found = result("segments", folder)["a_further_segment"]
    return Figure(found[f"{by}_seconds"], MEASURED, f"segments.json, {by} seconds, 480x270 to 960x540 on two cores")


def finish_frames_per_second(folder: Path = RESULTS) -> Figure:
    """Return frames of 3840x2160 a second that one desk joins and audits."""
    found = result("segments", folder)
    return Figure(found["finish_large"]["frames_per_second"], MEASURED, "segments.json, 48 frames on one core")


def finish_seconds_per_megapixel(folder: Path = RESULTS) -> Figure:
    """Return processor seconds for joining and auditing a million output pixels."""
    found = result("segments", folder)["finish_large"]
    return Figure(found["processor_seconds_per_output_megapixel"], MEASURED, "segments.json at 3840x2160")


def hardness(folder: Path = RESULTS) -> list[float]:
    """Return how hard each measured clip was, seconds for a pixel over their mean."""
    rows = result("estimate", folder)["rows"]
    each = [row["actual"]["seconds"] / (row["frames"] * _pixels(row["size"])) for row in rows]
    return [one / statistics.mean(each) for one in each]


def bits_per_pixel(folder: Path = RESULTS) -> Figure:
    """Return the bits that an output pixel took: the median of the largest clips, since larger pictures take fewer."""
    rows = result("estimate", folder)["rows"]
    largest = max((row["size"] for row in rows), key=_pixels)
    each = [_bits(row) for row in rows if row["size"] == largest]
    clips = f"{len(each)} clip{'s' if len(each) > 1 else ''} {largest.split(' ', 1)[1]}"
    return Figure(statistics.median(each), MEASURED, f"estimate.json, {clips}, HEVC at the default CRF")


def _bits(row: dict[str, Any]) -> float:
    return float(8 * row["actual"]["byte_count"] / (row["frames"] * _pixels(row["size"])))


def _pixels(size: str) -> int:
    """Return the pixels of an output from `480x360 to 960x720`."""
    width, height = size.split(" to ")[1].split("x")
    return int(width) * int(height)


def mean_seconds() -> float:
    """Return how long the videos of `KINDS` are on average."""
    return sum(
        kind.share * (kind.most_seconds - kind.least_seconds) / math.log(kind.most_seconds / kind.least_seconds)
        for kind in KINDS
    )
