"""The table of all figures: name, kind, labels, and what each one says; the documentation's table is held against it.

It counts nothing. A label's values come from our own words alone: no caller can make a new time series.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["counter", "gauge", "histogram"]
Server = Literal["video", "image"]

BOTH: tuple[Server, ...] = ("video", "image")
VIDEO: tuple[Server, ...] = ("video",)
IMAGE: tuple[Server, ...] = ("image",)

_REQUEST_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1200)
"""From a health check to the longest that a documented caller waits for its video."""
_JOB_SECONDS = (1, 5, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400, 43200, 86400)
_PICTURE_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_BATCHES = (1, 2, 4, 8, 16, 32)


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure; `buckets` are a histogram's upper bounds."""

    name: str
    kind: Kind
    about: str
    labels: tuple[str, ...] = ()
    servers: tuple[Server, ...] = BOTH
    buckets: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Reading:
    """A number that was asked for just now: of a figure of the table, with the values of its labels in their order."""

    name: str
    value: float
    labels: tuple[str, ...] = ()


FIGURES: tuple[Figure, ...] = (
    Figure("upscale_build_info", "gauge", "Always 1; the labels say what runs.", ("version", "python", "server")),
    Figure("upscale_ready", "gauge", "1 where a job or a picture would be worked on now, else 0."),
    # ------------------------------------------------------------------------------------------------ jobs
    Figure("upscale_jobs", "gauge", "Jobs that are stored now, by state.", ("state",), VIDEO),
    Figure("upscale_queue_depth", "gauge", "Jobs that wait for a lane.", (), VIDEO),
    Figure("upscale_queue_room", "gauge", "Jobs that may wait, paused ones among them.", (), VIDEO),
    Figure(
        "upscale_jobs_total", "counter", "Jobs that this process ended, by outcome and task (or `custom`).",
        ("outcome", "preset"), VIDEO,
    ),
    Figure(
        "upscale_job_duration_seconds", "histogram",
        "From the first claim of a job to its end, pauses included; a retry begins anew.", ("outcome",), VIDEO,
        _JOB_SECONDS,
    ),
    Figure(
        "upscale_queue_wait_seconds", "histogram",
        "From being queued by a caller to the first claim; once for a job that is paused and resumed.", (), VIDEO,
        _JOB_SECONDS,
    ),
    Figure(
        "upscale_webhooks", "gauge",
        "Messages about the ends of stored jobs: pending, delivered or given_up. They go with their jobs.",
        ("state",), VIDEO,
    ),
    # ------------------------------------------------------------------------------------------------ pictures
    Figure("upscale_pictures", "gauge", "Pictures that wait or are worked on.", ("state",), IMAGE),
    Figure("upscale_pictures_total", "counter", "Pictures that came to an end, by outcome.", ("outcome",), IMAGE),
    Figure(
        "upscale_picture_duration_seconds", "histogram", "From reading a picture to its written answer.", (), IMAGE,
        _PICTURE_SECONDS,
    ),
    Figure("upscale_room", "gauge", "Requests that may be inside at once.", (), IMAGE),
    Figure("upscale_room_used", "gauge", "Requests that are inside.", (), IMAGE),
    # ------------------------------------------------------------------------------------------------ work
    Figure(
        "upscale_frames_total", "counter",
        "Frames of jobs, upscaled and encoded; previews are left out. Those that a dead worker's successor makes again "
        "count once; those of a job that is made again, in a lower precision or smaller, count again.",
        ("model", "device"), VIDEO,
    ),
    Figure(
        "upscale_output_pixels_total", "counter",
        "Pixels of the jobs' frames and of the pictures that were made, in the size of the output.",
    ),
    Figure(
        "upscale_stage_seconds_total", "counter",
        "Time in which a stage was at work, of finished segments and pictures; stages overlap.", ("stage",),
    ),
    Figure("upscale_batch_size", "histogram", "Frames in a batch, as each job was planned.", (), VIDEO, _BATCHES),
    Figure(
        "upscale_segments_resumed_total", "counter",
        "Segments that an earlier attempt had finished, found whole and not done again.", (), VIDEO,
    ),
    Figure(
        "upscale_oom_retries_total", "counter", "Times that memory did not suffice and less was asked of the device."
    ),
    Figure(
        "upscale_frame_guard_retries_total", "counter",
        "Frames that failed the numerical guard and were computed again in full precision.", (), VIDEO,
    ),
    # ------------------------------------------------------------------------------------------------ the machine
    Figure("upscale_lanes", "gauge", "Worker processes of the video server, by state.", ("state",), VIDEO),
    Figure("upscale_model_loaded", "gauge", "Processes that hold the server's model ready.", ("model",)),
    Figure(
        "upscale_model_load_seconds", "gauge",
        "How long the newest load of the server's model took, self-test and warm-up included; the slowest process's.",
        ("model",),
    ),
    Figure(
        "upscale_gpu_memory_bytes", "gauge",
        "Memory of the first visible GPU: total, used and free as its driver tells, reserved and allocated by torch in "
        "the process that answers. Absent where there is no GPU.",
        ("kind",),
    ),
    Figure("upscale_disk_free_bytes", "gauge", "Free space where a folder lies.", ("folder",)),
    Figure("upscale_disk_size_bytes", "gauge", "Size of the file system where a folder lies.", ("folder",)),
    Figure(
        "upscale_worker_up", "gauge",
        "Of the image server's processes: 1 for one that told its figures for this answer, 0 for one that did not.",
        ("worker",), IMAGE,
    ),
    # ------------------------------------------------------------------------------------------------ HTTP
    Figure(
        "upscale_http_requests_total", "counter",
        "Answers by route template, method and status. `route` is `none` where no route answered: unknown paths, and "
        "what the door refused. An answer that broke off counts as 500, whatever its head said, and as 499 where the "
        "server let go of it.",
        ("route", "method", "code"),
    ),
    Figure(
        "upscale_http_request_duration_seconds", "histogram",
        "From a request's head to the end of its answer; streams of events last for hours, so look at single routes.",
        ("route", "method"), BOTH, _REQUEST_SECONDS,
    ),
)  # fmt: skip
