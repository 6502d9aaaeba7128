"""What finished jobs of this machine teach about the next ones: how long a way of working takes, and how wrong we were.

It remembers; how a rate is reckoned from jobs is in `job_rates`, and what a plan is expected to take in the end is said
by `estimate`.
"""

from __future__ import annotations

import statistics
import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from upscale_server.job_rates import Rate, length_of, rate_of_pieces, rate_of_pixels, weighted
from upscale_server.job_record import Basis, JobRecord
from upscale_server.measured import Measured, encoder_key, estimate_key, lanes_at_work, output_megapixels, way_key
from upscale_server.models.remembered import Remembered
from upscale_server.plan import Plan

MOST_JOBS = 300
MOST_PIECES = 100
"""More would only make the file slower to read: what is older says less about the machine as it is now."""
JUDGED_JOBS = 50
"""The last jobs whose predictions are judged: a machine that changed is not judged by its past for ever."""
_START_SECONDS = 0.5
"""From the plan to the first frames, where no job has shown it: a built-in network is loaded in less."""
_PIECES_OVER_JOB = Rate(0.88, 0.25)
"""What a frame of a whole job takes of one in a piece, where no job has shown it: an encoder looks ahead for longer
than a piece is, so that there network and encoder work after each other. In processor time of eight clips with x265 it
was 0.83 to 0.96; a wall clock adds what else the machine does."""
_RECENT = 60
"""Jobs of one way that are reckoned with, the newest: enough for a median, and the machine changes."""
_FEW = 3
"""Fewer jobs say nothing about an encoder's usual bytes: one of them may be the odd one."""


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

    def predict(
        self, plan: Plan, measured: Measured | None = None, picture_bytes: int | None = None, *, lanes: int = 1
    ) -> Timing:
        """Return how long a plan takes by its own pieces, else by finished jobs of its way; unknown without both.

        `picture_bytes` is what its picture will weigh, where that is expected: what is hard to encode takes longer.
        `lanes` are those that this job may have, whatever others had.
        """
        at_work = lanes_at_work(plan, lanes)
        known = [one for one in self.jobs() if one.seconds is not None and one.way == way_key(plan)][-_RECENT:]
        start = statistics.median([one.start_seconds or 0.0 for one in known] or [_START_SECONDS])
        piece_seconds = measured.seconds_per_frame if measured else None
        if measured and piece_seconds is not None:
            rate = rate_of_pieces([one for one in known if one.piece_seconds], plan, at_work) or _PIECES_OVER_JOB
            work = plan.frame_count * piece_seconds / at_work
            return Timing(start + work * rate.value, rate.error, "measured", len(known))
        found = rate_of_pixels(known, plan, at_work, picture_bytes)
        if found is None:
            return Timing()
        work = output_megapixels(plan) / at_work
        return Timing(start + work * found.value, found.error, "calibrated", len(known))

    def size_factor(self, plan: Plan) -> float | None:
        """Return what outputs of this encoder weighed over what their pieces said; None where few have shown it."""
        found = [
            (one.byte_count - one.other_bytes) / one.piece_bytes
            for one in self.jobs()
            if one.piece_bytes and one.encoder == encoder_key(plan)
        ]
        return statistics.median(found) if len(found) >= _FEW else None

    def bytes_over_source(self, plan: Plan) -> float | None:
        """Return what pictures of this encoder weighed over their sources'; None where few jobs have shown it.

        A median in which a job shorter than the plan counts for its part.
        """
        found = [one for one in self.jobs() if one.encoder == encoder_key(plan) and one.source_bytes]
        if len(found) < _FEW:
            return None
        times = [max(0, one.byte_count - one.other_bytes) / one.source_bytes for one in found]
        return weighted(times, [length_of(one, plan) for one in found], 0.5)

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


def _is_earnest(basis: Basis) -> bool:
    return basis in ("measured", "calibrated")


def _judged(errors: Sequence[float]) -> Judged:
    last = errors[-JUDGED_JOBS:]
    return Judged(statistics.median(last) if last else None, len(last))
