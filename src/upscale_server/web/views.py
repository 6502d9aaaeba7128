"""A job and the server's state as callers see them.

It asks the service and decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from upscale_server.errors import Canceled, UpscaleError
from upscale_server.jobs.job import Job
from upscale_server.jobs.view import Live, output_path, view_of
from upscale_server.service import VideoService
from upscale_server.web.links import joined
from upscale_server.wire import QueueCounts
from upscale_server.wire_jobs import JobView


def job_view(service: VideoService, job: Job, base_url: str, places: Mapping[str, int] | None = None) -> JobView:
    """Return a job for its owner.

    Args:
        service: asked for links and places; this touches the database.
        job: as stored.
        base_url: what links begin with; empty leaves the paths of a local store as they are.
        places: of the jobs that wait, where they are known already.
    """
    place = service.place(job) if places is None else places.get(job.id, 0)
    return view_of(job, Live(service.progress(job), place, _url(service, job, base_url)))


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


def _url(service: VideoService, job: Job, base_url: str) -> str:
    if job.outcome is None:
        return ""
    return joined(base_url, output_path(job) if job.outcome.output_path else service.results.link_of(job))
