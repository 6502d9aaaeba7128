"""What finished jobs of this machine teach about the next ones: how long a way of working takes, and how wrong we were.

It remembers and reckons; what a plan is expected to take and weigh in the end is said by `estimate`.
"""

from __future__ import annotations

import math
import statistics
import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

from upscale_server.measured import Measured, encoder_key, estimate_key, output_megapixels, way_key
from upscale_server.models.remembered import Remembered
from upscale_server.plan import Plan

Basis = Literal["measured", "calibrated", "rough", "unknown"]

MOST_JOBS = 300
MOST_PIECES = 100
"""More would only make the file slower to read: what is older says less about the machine as it is now."""
JUDGED_JOBS = 50
"""The last jobs whose predictions are judged: a machine that changed is not judged by its past for ever."""
_START_SECONDS = 0.5
"""From the plan to the first frames, where no job has shown it: a built-in network is loaded in less."""
_PIECES_OVER_JOB = 0.88
"""What a frame of a whole job takes of one in a piece, where no job has shown it: an encoder looks ahead for longer
than a piece is, so that there network and encoder work after each other (0.83 to 0.96 in processor
time of eight clips with x265)."""
_LEAST_ERROR = 0.1
"""No figure is promised nearer: the same job twice differs by some percent."""
_FEW = 3
_ENOUGH_FOR_A_SLOPE = 5
_RECENT = 60
"""Jobs of one way that are reckoned with, the newest: enough for a median, and the machine changes."""
_FEW_MEASURED_ERROR = 0.25
_FEW_CALIBRATED_ERROR = 0.35
"""Said where fewer jobs are known than show a spread."""
_MOST = 0.8
"""Part of the known jobs that lies within the error that is said."""


@dataclass(frozen=True, slots=True)
class Predicted:
    """What was said before the work."""

    seconds: float | None = None
    byte_count: int | None = None
    seconds_basis: Basis = "unknown"
    byte_count_basis: Basis = "unknown"


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A finished job.

    `seconds` are of its work from the plan to the end of the audit, `start_seconds` of them until the first frames;
    both None where it shared the machine with others or had begun before. `piece_seconds` is a frame's time in its
    pieces, `piece_bytes` what the pieces alone made of the picture; None where there were none. `pixels` are the
    output's in a frame, `source_bytes` of the source's picture as far as it was kept, 0 where a limit decided the size.
    """

    way: str
    encoder: str
    pixels: int
    megapixels: float
    frames: int
    byte_count: int
    source_bytes: int
    other_bytes: int
    seconds: float | None = None
    start_seconds: float | None = None
    piece_seconds: float | None = None
    piece_bytes: int | None = None
    predicted: Predicted = Predicted()

    @property
    def megabits(self) -> float:
        """Return what its picture weighs."""
        return max(0, self.byte_count - self.other_bytes) * 8 / 1e6

    @classmethod
    def of_record(cls, record: dict[str, Any]) -> JobRecord | None:  # JSON values of many types
        """Return what a record holds, or None where it holds something else."""
        names = {one.name for one in fields(cls)}
        try:
            known = {name: value for name, value in record.items() if name in names}
            found = cls(**{**known, "predicted": Predicted(**known["predicted"])})
            needed = (found.pixels, found.frames, found.megapixels, found.byte_count)
            further = (found.source_bytes, found.other_bytes, found.seconds, found.start_seconds, found.piece_seconds)
            said = (found.piece_bytes, found.predicted.seconds, found.predicted.byte_count)
            holds = min(needed) > 0 and all(one is None or one >= 0 for one in (*further, *said))
        except (KeyError, TypeError):
            return None
        return found if holds else None


@dataclass(frozen=True, slots=True)
class Timing:
    """How long a job is expected to take, how far it may be from that (relative), and how many jobs say so."""

    seconds: float | None = None
    error: float | None = None
    basis: Basis = "unknown"
    jobs_known: int = 0


@dataclass(frozen=True, slots=True)
class Judged:
    """How far predictions were from the truth: the median of the relative errors, and of how many."""

    median: float | None
    count: int


@dataclass(frozen=True, slots=True)
class Errors:
    """How right the predictions of the last jobs were."""

    seconds: Judged
    byte_count: Judged


class Calibration:
    """The finished jobs and the measured pieces of one state folder; safe to use from several processes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = Remembered(path)

    @classmethod
    def in_folder(cls, state_dir: Path) -> Calibration:
        """Return the calibration of a state folder, beside the remembered choices of engines."""
        return cls(state_dir / "calibration.json")

    def jobs(self) -> list[JobRecord]:
        """Return what is known of finished jobs, oldest first."""
        found = (JobRecord.of_record(one) for key, one in self._file.all().items() if key.startswith("job:"))
        return [one for one in found if one is not None]

    def learn(self, job: JobRecord) -> None:
        """Keep a finished job."""
        record = {**asdict(job), "at": round(time.time())}
        self._file.put_newest(f"job:{uuid.uuid4().hex[:16]}", record, MOST_JOBS)

    def keep_measured(self, plan: Plan, measured: Measured) -> None:
        """Keep what was measured on a source's pieces for the job that follows."""
        self._file.put_newest(f"pieces:{estimate_key(plan)}", measured.as_record(), MOST_PIECES)

    def measured(self, plan: Plan) -> Measured | None:
        """Return what was measured for this work, wherever the source lay then; None where nothing was."""
        return Measured.of_record(self._file.get(f"pieces:{estimate_key(plan)}"))

    def predict(self, plan: Plan, measured: Measured | None = None, picture_bytes: int | None = None) -> Timing:
        """Return how long a plan takes by its own pieces, else by finished jobs of its way; unknown without both.

        `picture_bytes` is what its picture will weigh, where that is expected: what is hard to encode takes longer.
        """
        known = [one for one in self.jobs() if one.seconds is not None and one.way == way_key(plan)][-_RECENT:]
        start = statistics.median([one.start_seconds or 0.0 for one in known] or [_START_SECONDS])
        piece_seconds = measured.seconds_per_frame if measured else None
        if piece_seconds is not None:
            shown = [one for one in known if one.piece_seconds]
            rates = [_rate(one, one.frames * (one.piece_seconds or 0.0)) for one in shown]
            worth = _typical(shown, rates, plan) or _Rate(_PIECES_OVER_JOB, _FEW_MEASURED_ERROR)
            return Timing(start + plan.frame_count * piece_seconds * worth.value, worth.error, "measured", len(known))
        rate = _by_pixels(known, plan, picture_bytes)
        if rate is None:
            return Timing()
        return Timing(start + output_megapixels(plan) * rate.value, rate.error, "calibrated", len(known))

    def size_factor(self, plan: Plan) -> float | None:
        """Return what outputs of this encoder weighed over what their pieces said; None where few have shown it."""
        found = [
            (one.byte_count - one.other_bytes) / one.piece_bytes
            for one in self.jobs()
            if one.piece_bytes and one.encoder == encoder_key(plan)
        ]
        return statistics.median(found) if len(found) >= _FEW else None

    def bytes_over_source(self, plan: Plan) -> float | None:
        """Return what pictures of this encoder weighed over their sources'; None where no job has shown it."""
        found = [
            (one.byte_count - one.other_bytes) / one.source_bytes
            for one in self.jobs()
            if one.encoder == encoder_key(plan) and one.source_bytes
        ]
        return statistics.median(found) if found else None

    def errors(self) -> Errors:
        """Return how right the last jobs' predictions were, of those that were measured or calibrated."""
        jobs = self.jobs()
        times = [
            abs(one.predicted.seconds / one.seconds - 1)
            for one in jobs
            if one.seconds and one.predicted.seconds is not None and _is_earnest(one.predicted.seconds_basis)
        ]
        sizes = [
            abs(one.predicted.byte_count / one.byte_count - 1)
            for one in jobs
            if one.predicted.byte_count is not None and _is_earnest(one.predicted.byte_count_basis)
        ]
        return Errors(_judged(times), _judged(sizes))


@dataclass(frozen=True, slots=True)
class _Rate:
    """What a unit of work takes, and how far single jobs were from that."""

    value: float
    error: float


def _rate(job: JobRecord, work: float) -> float:
    """Return the seconds that a unit of work took, once it had begun."""
    return max(1e-9, (job.seconds or 0.0) - (job.start_seconds or 0.0)) / work


def _by_pixels(jobs: Sequence[JobRecord], plan: Plan, picture_bytes: int | None) -> _Rate | None:
    """Return the seconds for a million output pixels, with what bits take beside where jobs show that.

    Measured with x265: 0.14 core seconds for a million pixels and 0.6 for a megabit, from the easiest clip to the
    hardest; with others the bits hardly matter. The slope is the median of all pairs' (Theil and Sen).
    """
    rates = [_rate(one, one.megapixels) for one in jobs]
    bits = [one.megabits / one.megapixels for one in jobs]
    slope = 0.0
    if picture_bytes is not None and len(jobs) >= _ENOUGH_FOR_A_SLOPE:
        pairs = combinations(zip(bits, rates, strict=True), 2)
        slopes = [(one[1] - other[1]) / (one[0] - other[0]) for one, other in pairs if one[0] != other[0]]
        slope = max(0.0, statistics.median(slopes)) if slopes else 0.0
    expected = (picture_bytes or 0) * 8 / 1e6 / output_megapixels(plan)
    at_expected = [max(rate / 3, rate + slope * (expected - its)) for rate, its in zip(rates, bits, strict=True)]
    return _typical(jobs, at_expected, plan)


def _typical(jobs: Sequence[JobRecord], rates: Sequence[float], plan: Plan) -> _Rate | None:
    """Return the median of the jobs' rates in which those of like frames count most; None without a job.

    Frames of half or double the size count half: the network's calls and the encoder's threads fill differently.
    """
    if not jobs:
        return None
    weights = [1 / (1 + abs(math.log2(one.pixels / plan.target.pixels))) for one in jobs]
    value = _at(rates, weights, 0.5)
    if len(jobs) < _FEW:
        return _Rate(value, _FEW_CALIBRATED_ERROR)
    return _Rate(value, max(_LEAST_ERROR, _at([abs(rate / value - 1) for rate in rates], weights, _MOST)))


def _at(values: Sequence[float], weights: Sequence[float], part: float) -> float:
    """Return the value below which lies a part of the weight."""
    in_order = sorted(zip(values, weights, strict=True))
    reached = 0.0
    for value, weight in in_order:
        reached += weight
        if reached >= part * sum(weights):
            return value
    return in_order[-1][0]


def _is_earnest(basis: Basis) -> bool:
    return basis in ("measured", "calibrated")


def _judged(errors: Sequence[float]) -> Judged:
    last = errors[-JUDGED_JOBS:]
    return Judged(statistics.median(last) if last else None, len(last))
