"""What is told of a finished file: its audit, and how it was made, as plain JSON values.

It judges nothing.
"""

from __future__ import annotations

from typing import Any

from upscale_server.pipeline import Result
from upscale_server.plan import Plan
from upscale_server.records import record


def facts_of(plan: Plan, result: Result, warnings: list[dict[str, str]], fallback: str) -> dict[str, Any]:
    """Return the facts of a finished file; `fallback` is why another model made it than asked for, or empty."""
    return {
        "audit": {"ok": result.audit.ok, **record(result.audit)},
        "source_size": str(plan.source.size),
        "size": str(plan.target),
        "frames": result.frame_count,
        "segments": len(result.done),
        "segments_reused": result.reused,
        "frames_redone": sum(one.frames_redone for one in result.done),
        "stage_seconds": {
            stage: round(sum(getattr(one, f"{stage}_seconds") for one in result.done), 3)
            for stage in ("decode", "upscale", "encode")
        },
        "model": plan.model,
        "engine": plan.engine,
        "precision": plan.precision,
        "plan": plan.digest,
        "fallback": fallback or None,
        "warnings": warnings,
    }
