"""What `upscale video` says of a finished file: one JSON record, or lines for people.

It computes nothing but what one figure says of another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from upscale_server.cli import talk
from upscale_server.cli.outputs import Job

if TYPE_CHECKING:
    from upscale_server.pipeline import Result


def record_of(job: Job, result: Result, seconds: float) -> dict[str, object]:
    """Return what came of a video as plain JSON values."""
    plan = result.plan
    made = result.frame_count
    return {
        "source": str(job.source),
        "output": str(job.output),
        "source_size": str(plan.source.size),
        "size": str(plan.target),
        "bytes": job.output.stat().st_size,
        "frames": made,
        "seconds": round(seconds, 3),
        "frames_per_second": round(made / seconds, 2) if seconds else 0.0,
        "segments": len(result.done),
        "segments_reused": result.reused,
        "memory_steps": result.memory_steps,
        "frames_redone": sum(one.frames_redone for one in result.done),
        "model": plan.model,
        "engine": plan.engine,
        "precision": plan.precision,
        "plan": plan.digest,
        "audit": audit_record(result.audit),
    }


def audit_record(audit: object) -> dict[str, object]:
    """Return an audit as plain JSON values."""
    from upscale_server.records import record

    return {"ok": getattr(audit, "ok", False), **record(audit)}


def show(record: dict[str, object]) -> None:
    """Show a record as lines."""
    megabytes = int(str(record["bytes"])) / 2**20
    reused = f", {record['segments_reused']} segments from an earlier run" if record["segments_reused"] else ""
    talk.result(
        f"{record['output']}: {record['size']}, {record['frames']} frames, {megabytes:.1f} MiB, "
        f"{record['seconds']} s, {record['frames_per_second']} fps, audit ok{reused}"
    )
    if "quality" in record:
        talk.result(f"quality against the {_quality_text(record['quality'])}")


def _quality_text(quality: Any) -> str:  # noqa: ANN401 - JSON values
    """Return a job's quality as one line."""
    vmaf = "" if quality["vmaf"] is None else f"VMAF {quality['vmaf']:.1f} (harmonic {quality['vmaf_harmonic']:.1f}), "
    flicker = "" if quality["flicker"] is None else f"flicker {quality['flicker']:.2f} levels, "
    return (
        f"{quality['against']}: PSNR-Y {quality['psnr_y']:.2f} dB, SSIM {quality['ssim']:.4f}, {vmaf}{flicker}"
        f"{quality['frames']} of {quality['frames_total']} frames"
    )
