"""Figures that the reckoning of large fleets rests on: measured, documented and assumed ones, told apart.

Every figure says where it is from. It reckons nothing.
"""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.machine import RESULTS

MEASURED, DOCUMENTED, ASSUMED = "measured", "documented", "assumed"
RATE = 24
PIXELS = 3840 * 2160
DOCUMENTED_FPS = 11.45
"""Of HD24K, 1920x1080 to 3840x2160, in the documents that this server answers to; they name an RTX 4090 or better."""
ASKED_MEGAPIXELS = 1000.0
"""What `bench_gpu` asks of a GPU, decoded to nothing; nobody has measured it here."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A number with where it is from: `kind` is one of measured, documented, assumed."""

    value: float
    kind: str
    source: str

    def as_record(self) -> dict[str, Any]:  # JSON values
        """Return it as JSON values."""
        return {"value": round(self.value, 5), "kind": self.kind, "source": self.source}


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


def frames_of_a_segment_start(folder: Path = RESULTS) -> Figure:
    """Return what a segment costs beside its frames, counted in frames of the same video."""
    found = result("segments", folder)
    part = max(found["part_of_a_usual_segment"].values())
    frames = found["frames"] / found["lengths"]["10 s"]["segments"]
    return Figure(part * frames, MEASURED, "segments.json, the larger of wall and processor seconds")


def finish_frames_per_second(folder: Path = RESULTS) -> Figure:
    """Return frames of 3840x2160 a second that one desk joins and audits."""
    found = result("segments", folder)
    return Figure(found["finish_large"]["frames_per_second"], MEASURED, "segments.json, on the two cores it was run on")


def hardness(folder: Path = RESULTS) -> list[float]:
    """Return how hard each measured clip was, seconds for a pixel over their mean."""
    rows = result("estimate", folder)["rows"]
    each = [row["actual"]["seconds"] / (row["frames"] * _pixels(row["size"])) for row in rows]
    return [one / statistics.mean(each) for one in each]


def bits_per_pixel(folder: Path = RESULTS) -> Figure:
    """Return the median bits that an output pixel took of the measured clips."""
    rows = result("estimate", folder)["rows"]
    each = [8 * row["actual"]["byte_count"] / (row["frames"] * _pixels(row["size"])) for row in rows]
    return Figure(statistics.median(each), MEASURED, "estimate.json, ten clips, HEVC, the default CRF")


def _pixels(size: str) -> int:
    """Return the pixels of an output from `480x360 to 960x720`."""
    width, height = size.split(" to ")[1].split("x")
    return int(width) * int(height)
