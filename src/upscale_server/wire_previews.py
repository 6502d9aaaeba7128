"""The words about previews: what may be asked, and a preview as its owner sees it.

It checks form only, as `wire` does.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from upscale_server.wire import LONGEST_URL, Name, Shape
from upscale_server.wire_jobs import NewJobFields

Address = Annotated[str, Field(min_length=1, max_length=LONGEST_URL)]
PreviewState = Literal["queued", "running", "succeeded", "failed", "canceled"]


class NewPreviewBody(NewJobFields):
    """What `POST /v1/previews` takes: a job's fields, of which the size counts, one source, models and a time."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"source_id": "0f343b0931126a20f133d67c2b018a3b", "scale": 2, "models": ["fast", "fast-clean"]},
                {
                    "payload_url": "https://example.com/video.mp4",
                    "target": "4k",
                    "start_seconds": 60,
                    "self_test": True,
                },
            ]
        }
    )

    source_id: str | None = Field(None, min_length=1, max_length=64, description="what POST /v1/sources answered")
    payload_url: Address | None = Field(None, description="where the video is, http or https")
    models: list[Name] | None = Field(
        None, min_length=1, max_length=16, description="model families side by side; empty: the one a job would get"
    )
    start_seconds: float | None = Field(None, ge=0, le=31_536_000, description="empty: the middle of the video")
    seconds: float = Field(3.0, gt=0, le=60, description="how much of it")
    self_test: bool = Field(
        default=False, description="also make it smaller, restore it with each model, and measure the result"
    )


class CropView(Shape):
    """The part of the result that is shown, in its pixels."""

    x: int
    y: int
    width: int
    height: int


class QualityView(Shape):
    """How near the restored excerpt is to the original."""

    psnr_y: float = Field(description="dB")
    ssim: float
    vmaf: float | None
    flicker: float | None = Field(description="levels of 8 bits by which what was added changes between frames")


class BeforeView(Shape):
    """The source enlarged by bicubic."""

    name: Literal["before"]
    url: str
    quality: QualityView | None = Field(description="of bicubic, in a self-test")
    quality_fault: dict[str, Any] | None = Field(description="why it could not be measured")


class ItemView(Shape):
    """One model's side."""

    model: str
    state: Literal["queued", "running", "succeeded", "failed"]
    url: str | None
    fps: float | None = Field(
        description="frames upscaled and encoded in a second once the model is loaded, of the part that is shown where "
        "`crop` is set; on one lane, which jobs may have slowed down"
    )
    seconds: float | None
    byte_count: int | None
    fault: dict[str, Any] | None = Field(description="of a side that failed")
    quality: QualityView | None
    quality_fault: dict[str, Any] | None = Field(description="why a side that is there could not be measured")


class MadeView(Shape):
    """How far a preview is."""

    done: int = Field(description="frames of all sides")
    total: int = Field(description="0 before it is planned")


class SaidView(Shape):
    """What a person should know about a preview."""

    code: str
    detail: str


class PreviewView(Shape):
    """A preview as its owner sees it; times are ISO 8601 in UTC, sizes as stored, before a picture is turned."""

    id: str
    state: PreviewState
    fault: dict[str, Any] | None
    width: int | None
    height: int | None
    start_seconds: float | None
    seconds: float | None
    frames: int | None
    frame_times: list[float] = Field(description="when each frame is shown, in seconds from 0; the same in every file")
    progress: MadeView
    before: BeforeView | None
    items: list[ItemView]
    crop: CropView | None = Field(description="where the result is larger than browsers play")
    self_test: bool
    best: str | None = Field(description="what restored best in a self-test; `before` where no model helps")
    best_because: str | None
    warnings: list[SaidView]
    created_at: str
    expires_at: str
