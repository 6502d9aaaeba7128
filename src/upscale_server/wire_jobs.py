"""The words of the native API's jobs: what may be asked, and a job as its owner sees it.

It checks form only, as `wire` does.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, Field

from upscale_server.wire import LONGEST_URL, Megabytes, Name, Shape

StateWord = Literal["queued", "running", "paused", "succeeded", "failed", "canceled"]


class NewJobFields(Shape):
    """What may be asked of a job besides its source: beside an upload, as form fields or in the query."""

    task_type: Name | None = Field(None, description="SD2HD, SD24K, HD24K or 4K28K; one of task_type, target, scale")
    target: Name | None = Field(None, description="1080p, 4k, … or WIDTHxHEIGHT")
    scale: int | None = Field(None, description="2 or 4; 2 where nothing is given")
    fit: Literal["contain", "exact", "scale"] | None = Field(
        None, description="keep the aspect ratio, pad with bars to the exact box, or the factor exactly"
    )
    model: Name | None = Field(None, min_length=1, description="a model family such as `fast`")
    codec: Literal["h264", "hevc", "av1"] = Field("hevc", description="codec of the result")
    crf: int | None = Field(None, ge=0, le=63, description="quality, 0 is best; empty means the codec's own default")
    maximum_optimized_size_mb: Megabytes | None = Field(None, description="most MiB of the result")
    profile: Literal["general", "subnet"] = Field("general", description="which rules the result is held against")
    allow_partial: bool = Field(default=False, description="upscale what is there of a source that ends early")
    quality: bool = Field(default=False, description="measure VMAF, PSNR, SSIM and flicker of the result")
    webhook_url: str | None = Field(
        None, min_length=1, max_length=LONGEST_URL, description="told when the job has ended, http or https"
    )


class NewJobBody(NewJobFields):
    """What `POST /v1/jobs` takes as JSON."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"payload_url": "https://example.com/video.mp4", "target": "4k"},
                {"payload_url": "https://example.com/video.mp4", "scale": 2, "codec": "av1", "model": "fast"},
                {"source_id": "0f343b0931126a20f133d67c2b018a3b", "scale": 2},
            ]
        }
    )

    payload_url: str | None = Field(
        None, min_length=1, max_length=LONGEST_URL, description="where the video is, http or https"
    )
    source_id: str | None = Field(
        None, min_length=1, max_length=64, description="in the place of payload_url: what POST /v1/sources answered"
    )


class ProgressView(Shape):
    """How far a job is."""

    phase: str = Field(description="waiting, fetch, plan, upscale, join, audit, quality, store or done")
    frames_done: int
    frames_total: int
    fps: float
    eta_seconds: float | None


class ResultView(Shape):
    """What a succeeded job left."""

    url: str = Field(description="expires; ask again for a fresh one. A path where the request's host is not ours")
    path: str | None = Field(description="the file, where the job was asked for by path")
    file_size_mb: float
    byte_count: int
    seconds: float = Field(
        description="from the first claim of the job to its result, pauses included, without measuring quality"
    )
    quality_seconds: float | None = Field(description="what measuring quality took besides; null where none was")
    fallback: str | None = Field(description="why a Lanczos result was given, where one was")


class WebhookView(Shape):
    """How far the message about a job's end is, without its address."""

    state: Literal["waiting", "pending", "delivered", "given_up"] = Field(
        description="waiting for the job's end, to be sent or sent again, taken by its receiver, or not tried any more"
    )
    attempts: int = Field(description="tries so far")
    last_error: str | None = Field(description="why the last try failed")


class JobView(Shape):
    """A job as its owner sees it; times are ISO 8601 in UTC."""

    id: str
    state: StateWord
    wanted: Literal["canceled", "paused"] | None = Field(
        description="what was asked for and is not done yet; resume takes a pause back"
    )
    progress: ProgressView
    asked: dict[str, Any]
    plan: dict[str, Any] | None = Field(description="once it is decided; a list of jobs leaves it out")
    result: ResultView | None
    fault: dict[str, Any] | None
    webhook: WebhookView | None = Field(
        description="where `webhook_url` was given; a change of it is no event of the job, so ask for the job"
    )
    queue_position: int | None = Field(description="its place where it waits, 1 for the next one")
    created_at: str
    updated_at: str
    started_at: str | None
    finished_at: str | None
    attempt: int
    version: int


class SegmentView(Shape):
    """The small copy of one finished segment; its own times begin at 0."""

    index: int
    start_seconds: float = Field(description="where it belongs, from the first frame of the job: the `timestampOffset`")
    seconds: float
    url: str


class SegmentsView(Shape):
    """What can be watched of a job so far, for Media Source Extensions; no sound."""

    segments: list[SegmentView] = Field(description="in order; one that was not written is left out")
    total: int | None = Field(description="segments of the job; null until it is planned, as the following")
    duration_seconds: float | None
    width: int | None
    height: int | None
    mime: str | None = Field(description="for `addSourceBuffer`, the same for all; null while there is none")


class JobsView(Shape):
    """A page of jobs, newest first; `next` is the `after` of the next page."""

    jobs: list[JobView]
    next: str | None
