"""The words that callers and servers exchange: one shape for each request and each reply, unknown fields refused.

It checks form only; what a task means, whether a model exists and who may ask belong to those who answer.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

LONGEST_URL = 4096
"""Characters of an address; no server of note takes longer ones."""
Name = Annotated[str, Field(max_length=100)]
"""What a task, a size or a model is called."""
Megabytes = Annotated[float, Field(ge=0.001, le=2**23)]
"""A limit of a result's size: no video is a kB, and none has eight tebibytes."""


class Shape(BaseModel):
    """A body: no field beyond those named, no text where a number belongs."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


# ---------------------------------------------------------------------------------------- the documented contract


class UpscaleVideo(Shape):
    """What `POST /upscale-video` takes."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"payload_url": "https://example.com/video.mp4", "task_type": "HD24K", "maximum_optimized_size_mb": 100}
            ]
        }
    )

    payload_url: str = Field(min_length=1, max_length=LONGEST_URL, description="where the video is, http or https")
    task_type: Name = Field(description="SD2HD, SD24K, HD24K or 4K28K")
    maximum_optimized_size_mb: Megabytes | None = Field(
        None, description="the output has at most so many MiB, or the job fails with `output_too_large`"
    )


class UpscaledVideo(Shape):
    """What `POST /upscale-video` answers; both names of the address have the same value."""

    optimized_video_url: str
    uploaded_video_url: str
    processing_time: float = Field(description="seconds from the request to the result")
    task_type: str
    file_size_mb: float = Field(description="bytes / 2**20")
    job_id: str


# ---------------------------------------------------------------------------------------- the subnet miner's contract


class Upscale(Shape):
    """What `POST /upscale` takes: one to five videos, by path under the shared folder or by address."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"video_paths": ["https://example.com/a.mp4", "https://example.com/b.mp4"], "scale": 2, "task_id": "r1"}
            ]
        }
    )

    video_paths: list[str] = Field(min_length=1, max_length=5, description="paths or addresses")
    scale: int = Field(description="2 or 4")
    task_id: str = Field("", max_length=200, description="the caller's own name for the round")
    output_paths: list[str] | None = Field(None, description="where the results go, one for each path")
    codec: Literal["hevc", "av1"] = Field("hevc", description="codec of the results")
    deadline_seconds: float | None = Field(
        None, gt=0, le=31_536_000, description="answer by then, with a Lanczos result where the network cannot make it"
    )

    @model_validator(mode="before")
    @classmethod
    def _one_or_many(cls, given: Any) -> Any:  # noqa: ANN401 - whatever JSON holds comes here first
        """Take the older scalar fields `video_path` and `output_path` as lists of one; both forms must agree."""
        if not isinstance(given, dict):
            return given
        values = dict(given)
        for one, many in (("video_path", "video_paths"), ("output_path", "output_paths")):
            single = values.pop(one, None)
            if single is None:
                continue
            if values.get(many) is None:
                values[many] = [single]
            elif not isinstance(values[many], list) or values[many][:1] != [single]:
                msg = f"{one} and the first of {many} differ; give one of them"
                raise ValueError(msg)
        return values

    @model_validator(mode="after")
    def _aligned(self) -> Upscale:
        if self.output_paths is not None and len(self.output_paths) != len(self.video_paths):
            msg = f"{len(self.output_paths)} output_paths for {len(self.video_paths)} video_paths; expected one each"
            raise ValueError(msg)
        return self


class Upscaled(Shape):
    """What `POST /upscale` answers; lists are aligned with the request, the scalars are their first items."""

    success: bool = Field(description="all items succeeded")
    output_paths: list[str] = Field(description='"" for an item that failed or was asked for by address')
    output_urls: list[str] = Field(description='"" for an item that failed or was asked for by path')
    errors: list[str] = Field(description='"" for an item that succeeded')
    output_path: str
    output_url: str
    error: str
    processing_time: float
    queue_position: int = Field(description="place of the first item when it was taken in, 0 where it ran at once")
    active_tasks: int
    queued_tasks: int


class QueueCounts(Shape):
    """What `GET /queue` answers."""

    active_tasks: int
    queued_tasks: int
    paused_tasks: int
    room: int = Field(description="jobs that may wait; the next one is answered with 429")
    room_left: int


# ---------------------------------------------------------------------------------------- how the server is


class LocalFolders(Shape):
    """Where the miner may exchange files with us."""

    remote_io_disabled: bool
    input_root: str | None
    output_root: str | None


class Health(BaseModel):
    """What `GET /health` answers where the workers are ready; the last two for miners only."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    status: str = Field(description='"healthy", or "ok" with UPSCALE_SUBNET__ENABLED')
    workers_ready: int
    max_workers: int
    supported_tasks: list[str]
    competition_local_io: LocalFolders | None = None
    queue: QueueCounts | None = None


class Stats(BaseModel):
    """What `GET /stats` answers: the documented configuration, then what was measured here."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    workers_ready: int
    max_workers: int
    task_worker_mapping: dict[str, int]
    task_resolution_mapping: dict[str, list[str | int]]
    task_lanes: dict[str, int] = Field(description="lanes that a task really gets on this device")
    engine: str
    device: str
    model: str
    version: str = Field(description="of the server's program")


class Alive(Shape):
    """What the probes answer."""

    status: Literal["alive", "ready"]


class LimitsView(Shape):
    """What is refused, and the settings to change it with."""

    max_source_bytes: int
    max_source_side: int
    max_pixels: int
    max_output_side: int
    max_json_bytes: int
    max_items: int
    room: int
    wait_seconds: float
    link_seconds: int
    keep_seconds: int
    codecs: list[str]
    tasks: list[str]
    targets: list[str]
    scales: list[int]
    models: list[str]
    settings: dict[str, str] = Field(description="limit -> environment variable")
    in_force: dict[str, int | float] = Field(description="environment variable -> what it is now; 0 may mean no bound")
    fixed: dict[str, int | float] = Field(description="bounds that no setting changes")


class Problem(BaseModel):
    """What every failure answers (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    retryable: bool
    request_id: str | None
    hint: str | None
    retry_after: int | None = Field(None, description="seconds; only where a source said when it has time again")
