"""A job as its owner sees it, from what is stored: the same in an answer and in a message to another server.

It asks nobody; what only a running server knows is given to it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from upscale_server.jobs.job import Asked, Job, Progress, Told
from upscale_server.wire_jobs import JobView, ProgressView, ResultView, WebhookView

MEBI = 2**20


@dataclass(frozen=True, slots=True)
class Live:
    """What is not stored with a job: its progress now, its place in the queue, a link to its result, who was told."""

    progress: Progress
    place: int = 0
    url: str = ""
    told: Told | None = None


def view_of(job: Job, live: Live) -> JobView:
    """Return a job for its owner."""
    return JobView(
        id=job.id,
        state=job.state,
        wanted=job.wanted or None,
        progress=_progress_view(live.progress),
        asked=asked_view(job.asked),
        plan=plan_view(job.plan),
        result=_result_view(job, live.url),
        fault=job.fault,
        webhook=_webhook_view(job, live.told),
        queue_position=live.place or None,
        created_at=iso(job.created_at),
        updated_at=iso(job.updated_at),
        started_at=None if job.started_at is None else iso(job.started_at),
        finished_at=None if job.finished_at is None else iso(job.finished_at),
        attempt=job.attempt,
        version=job.version,
    )


def asked_view(asked: Asked) -> dict[str, Any]:  # JSON values
    """Return what was asked for, without addresses, which may hold signatures, and without our own folders."""
    hidden = ("source", "output_path", "deadline", "webhook")
    kept = {name: value for name, value in asdict(asked).items() if name not in hidden}
    return {"source": asked.source.kind, **{name: value for name, value in kept.items() if value is not None}}


def output_path(job: Job) -> str:
    """Return where a job's result is asked for with the owner's key, whatever its store."""
    return f"/v1/jobs/{job.id}/output"


def iso(moment: float) -> str:
    """Return seconds since the epoch as ISO 8601 in UTC."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _progress_view(progress: Progress) -> ProgressView:
    return ProgressView(
        phase=progress.phase,
        frames_done=progress.frames_done,
        frames_total=progress.frames_total,
        fps=round(progress.fps, 2),
        eta_seconds=None if progress.eta_seconds is None else round(progress.eta_seconds, 1),
    )


def plan_view(plan: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return the plan without the paths of our folders."""
    if plan is None:
        return None
    source = {name: value for name, value in plan.get("source", {}).items() if name != "path"}
    return {**plan, "source": source}


def _webhook_view(job: Job, told: Told | None) -> WebhookView | None:
    if job.asked.webhook is None:
        return None
    if told is None or not job.is_finished:  # what was told of an earlier end is no news about this one
        return WebhookView(state="waiting", attempts=0, last_error=None)
    return WebhookView(state=told.state, attempts=told.attempts, last_error=told.last_error)


def _result_view(job: Job, url: str) -> ResultView | None:
    if job.outcome is None:
        return None
    return ResultView(
        url=url,
        path=job.outcome.output_path,
        file_size_mb=job.outcome.byte_count / MEBI,
        byte_count=job.outcome.byte_count,
        seconds=round(job.outcome.seconds, 3),
        quality_seconds=job.outcome.report.get("quality_seconds"),
        fallback=job.outcome.report.get("fallback") or None,
    )
