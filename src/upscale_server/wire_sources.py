"""The words about sources, plans and models: what a video is, what would be done with it, and with which networks.

It checks form only, as `wire` does.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from upscale_server.wire import LONGEST_URL, Shape
from upscale_server.wire_jobs import NewJobFields

Address = Annotated[str, Field(min_length=1, max_length=LONGEST_URL)]


class NewSourceBody(Shape):
    """What `POST /v1/sources` takes as JSON."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"payload_url": "https://example.com/video.mp4"}]})

    payload_url: Address = Field(description="where the video is, http or https")


class TrackView(Shape):
    """A track of a source."""

    kind: str = Field(description="video, audio, subtitle, data or attachment")
    codec: str
    language: str | None
    title: str | None


class TraitView(Shape):
    """Something that a person should know about a source."""

    code: str
    level: Literal["info", "warning"]
    text: str = Field(description="a plain sentence")


class ProbeView(Shape):
    """What is in a source."""

    container: str
    codec: str
    width: int = Field(description="as stored, before it is turned")
    height: int
    display_aspect: str = Field(description="such as 16:9 or 1.778, as it is shown")
    sample_aspect: str | None = Field(description="such as 16:15; null where the pixels are square")
    rotation: int = Field(description="degrees, counter-clockwise")
    frames: int
    duration_seconds: float
    average_rate: float = Field(description="frames a second, for showing")
    variable_rate: bool
    interlaced: bool
    hdr: Literal["HDR10", "HLG", "PQ"] | None
    bit_depth: int
    pixel_format: str
    colour: str = Field(description="such as BT.709; `not stated` where the file does not say")
    bit_rate: int
    tracks: list[TrackView]
    chapters: int
    traits: list[TraitView]


class SourceView(Shape):
    """A video that is here and waits for a plan, a preview or a job; times are ISO 8601 in UTC."""

    id: str
    file_name: str
    byte_count: int
    created_at: str
    expires_at: str
    probe: ProbeView


class NewPlanBody(NewJobFields):
    """What `POST /v1/plan` takes: a job's fields and one source."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"source_id": "0f343b0931126a20f133d67c2b018a3b", "target": "4k"},
                {"payload_url": "https://example.com/video.mp4", "scale": 2, "measure": True},
            ]
        }
    )

    source_id: str | None = Field(None, min_length=1, max_length=64, description="what POST /v1/sources answered")
    payload_url: Address | None = Field(None, description="where the video is, http or https; it is kept as a source")
    measure: bool = Field(default=False, description="run three one-second pieces of it for a better estimate")


class PassView(Shape):
    """One run of a network over the whole picture."""

    model: str
    scale: int
    size_in: str
    size_out: str


class WarningView(Shape):
    """What a plan leaves out, rounds or converts."""

    code: str
    detail: str


class BasisView(Shape):
    """What an estimate rests on."""

    seconds: Literal["measured", "calibrated", "rough", "unknown"] = Field(
        description="three pieces of this source, this machine's own finished jobs, general figures, or nothing"
    )
    byte_count: Literal["measured", "rough", "unknown"]


class EstimateView(Shape):
    """What a job will take; null where that is not known."""

    seconds: float | None
    seconds_error: float | None = Field(description="relative, either way")
    byte_count: int | None
    byte_count_error: float | None = Field(description="relative, either way")
    memory_bytes: int | None
    disk_bytes: int | None
    basis: BasisView
    jobs_known: int = Field(description="finished jobs of this machine that it rests on")


class PlanView(Shape):
    """What would be done with a source."""

    source_id: str = Field(description="the source that was planned for; a job may take it")
    plan: dict[str, Any]
    target: str
    passes: list[PassView]
    model: str
    model_because: str
    engine: str
    precision: str
    device: str = Field(description="empty where it is not known before the job runs")
    warnings: list[WarningView]
    estimate: EstimateView


class ModelView(Shape):
    """A model that a job may ask for."""

    name: str
    scales: list[int]
    summary: str
    for_sources: str
    licence: str
    parameters: int
    domain: Literal["luma", "rgb"]
    default: bool = Field(description="what is taken for most videos where none is asked for")
    engine: str | None = Field(description="what was measured to be fastest here; null before it has run")
    seconds_per_megapixel: float | None = Field(
        description="network time for a million pixels of the source, measured here; null before it was"
    )
    frames_per_second: dict[str, float] | None = Field(description="of the network alone, by the source's size")


class ModelsView(Shape):
    """What `GET /v1/models` answers."""

    models: list[ModelView]
