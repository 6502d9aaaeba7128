"""A job and the server's state as callers see them.

It asks the service and decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from upscale_server.errors import Canceled, UpscaleError
from upscale_server.jobs.job import Asked, Job
from upscale_server.service import VideoService
from upscale_server.web.links import joined
from upscale_server.wire import QueueCounts
from upscale_server.wire_jobs import JobView, ProgressView, ResultView

MEBI = 2**20


def job_view(service: VideoService, job: Job, base_url: str, places: Mapping[str, int] | None = None) -> JobView:
    """Return a job for its owner.

    Args:
        service: asked for links and places; this touches the database.
        job: as stored.
        base_url: what links begin with; empty leaves the paths of a local store as they are.
        places: of the jobs that wait, where they are known already.
    """
    progress = service.progress(job)
    return JobView(
        id=job.id,
        state=job.state,
        wanted=job.wanted or None,
        progress=ProgressView(
            phase=progress.phase,
            frames_done=progress.frames_done,
            frames_total=progress.frames_total,
            fps=round(progress.fps, 2),
            eta_seconds=None if progress.eta_seconds is None else round(progress.eta_seconds, 1),
        ),
        asked=asked_view(job.asked),
        plan=_plan_view(job.plan),
        result=_result(service, job, base_url),
        fault=job.fault,
        queue_position=(service.place(job) if places is None else places.get(job.id)) or None,
        created_at=_iso(job.created_at),
        updated_at=_iso(job.updated_at),
        started_at=None if job.started_at is None else _iso(job.started_at),
        finished_at=None if job.finished_at is None else _iso(job.finished_at),
        attempt=job.attempt,
        version=job.version,
    )


def asked_view(asked: Asked) -> dict[str, Any]:  # JSON values
    """Return what was asked for, without addresses, which may hold signatures, and without our own folders."""
    hidden = ("source", "output_path", "deadline", "webhook")
    kept = {name: value for name, value in asdict(asked).items() if name not in hidden}
    return {"source": asked.source.kind, **{name: value for name, value in kept.items() if value is not None}}


def failure_of(job: Job) -> UpscaleError | None:
    """Return why a finished job has no result, as the error that its fault was; None where it has one."""
    if job.state == "canceled":
        return Canceled(f"job {job.id} was cancelled")
    if job.state != "failed":
        return None
    return Failed(job.fault or {})


class Failed(UpscaleError):
    """A job failed; its stored fault speaks."""

    def __init__(self, fault: dict[str, Any]) -> None:
        super().__init__(str(fault.get("detail", "the job failed")), hint=fault.get("hint"))
        self._fault = fault
        self.code = str(fault.get("code", UpscaleError.code))
        self.http_status = int(fault.get("status", UpscaleError.http_status))
        self.retryable = bool(fault.get("retryable"))
        self.retry_after = fault.get("retry_after")

    def _title(self) -> str:
        return str(self._fault.get("title", "The job failed"))


def queue_counts(service: VideoService) -> QueueCounts:
    """Return how many jobs run and wait."""
    counts = service.counts()
    return QueueCounts(
        active_tasks=counts.active,
        queued_tasks=counts.queued,
        paused_tasks=counts.paused,
        room=counts.room,
        room_left=counts.left,
    )


def _plan_view(plan: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return the plan without the paths of our folders."""
    if plan is None:
        return None
    source = {name: value for name, value in plan.get("source", {}).items() if name != "path"}
    return {**plan, "source": source}


def _result(service: VideoService, job: Job, base_url: str) -> ResultView | None:
    if job.outcome is None:
        return None
    path = job.outcome.output_path
    return ResultView(
        url=joined(base_url, f"/v1/jobs/{job.id}/output" if path else service.results.link_of(job)),
        path=path,
        file_size_mb=job.outcome.byte_count / MEBI,
        byte_count=job.outcome.byte_count,
        seconds=round(job.outcome.seconds, 3),
        fallback=job.outcome.report.get("fallback") or None,
    )


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
