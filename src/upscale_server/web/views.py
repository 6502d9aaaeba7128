"""A job and the server's state as callers see them.

It asks the service and decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from upscale_server.errors import Canceled, UpscaleError
from upscale_server.jobs.job import Job, Told
from upscale_server.jobs.view import Live, output_path, view_of
from upscale_server.service import VideoService
from upscale_server.web.links import joined
from upscale_server.wire import QueueCounts
from upscale_server.wire_jobs import JobView


@dataclass(frozen=True, slots=True)
class Known:
    """What was asked of the database for many jobs at once: places of those that wait, and who was told of an end."""

    places: Mapping[str, int]
    told: Mapping[str, Told]


def known_of(service: VideoService, jobs: Sequence[Job]) -> Known:
    """Return what is to be known of some jobs, by one question each, or none where nothing can be answered."""
    places = service.places() if any(job.state == "queued" for job in jobs) else {}
    return Known(places, told_of(service, jobs))


def job_view(service: VideoService, job: Job, base_url: str, known: Known | None = None) -> JobView:
    """Return a job for its owner.

    Args:
        service: asked for links and places; this touches the database.
        job: as stored.
        base_url: what links begin with; empty leaves the paths of a local store as they are.
        known: of several jobs, this one among them, where they are shown together.
    """
    place = service.place(job) if known is None else known.places.get(job.id, 0)
    told = (told_of(service, [job]) if known is None else known.told).get(job.id)
    return view_of(job, Live(service.progress(job), place, _url(service, job, base_url), told))


def told_of(service: VideoService, jobs: Sequence[Job]) -> Mapping[str, Told]:
    """Return who was told of the ends of some jobs; the database is asked only where somebody is to be told."""
    ended = [job.id for job in jobs if job.is_finished and job.asked.webhook is not None]
    return service.deliveries.of(ended) if ended else {}


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
