"""Finished jobs as a calibration remembers them, for tests of estimates; nothing is run."""

from __future__ import annotations

from dataclasses import replace

from upscale_server.job_record import JobRecord, Predicted
from upscale_server.measured import Measured, MeasuredPiece, encoder_key, output_megapixels, way_key
from upscale_server.plan import Plan


def job_of(plan: Plan, **values: object) -> JobRecord:
    """Return a job that a plan made in ten seconds, of which one was its start, at a thousand bytes a frame."""
    job = JobRecord(
        way=way_key(plan),
        encoder=encoder_key(plan),
        pixels=plan.target.pixels,
        megapixels=output_megapixels(plan),
        frames=plan.frame_count,
        byte_count=1000 * plan.frame_count,
        source_bytes=500 * plan.frame_count,
        other_bytes=0,
        seconds=10.0,
        start_seconds=1.0,
        predicted=Predicted(10.0, 1000 * plan.frame_count, "calibrated", "measured"),
    )
    return replace(job, **values)  # type: ignore[arg-type]


def measured_of(*pieces: tuple[int, int, int], seconds: float = 0.0) -> Measured:
    """Return pieces of (frames, bytes, bytes of the first packet), each of which took so many seconds."""
    return Measured(
        tuple(
            MeasuredPiece(frames, of_all, lead, of_all - lead, seconds, frames if seconds else 0)
            for frames, of_all, lead in pieces
        )
    )
