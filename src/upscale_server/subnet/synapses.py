"""What validators ask and are answered, field by field as their program defines it (Bittensor 10.5).

Values only. A list and its scalar twin are two generations of one field: whichever is given fills the other, and item 0
of the list is the scalar.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, Literal

from bittensor import Synapse
from pydantic import BaseModel, ConfigDict, Field, model_validator

PollStatus = Literal["processing", "completed", "failed", "unknown"]


class ContentLength(IntEnum):
    """The longest video that a miner takes, in seconds."""

    FIVE = 5
    TEN = 10


class Warrant(IntEnum):
    """Which kind of work a miner offers."""

    COMPRESSION = 1
    UPSCALING = 2


def in_step(values: Any, plural: str, single: str) -> Any:  # noqa: ANN401 - pydantic hands over whatever came in
    """Return raw fields in which a list and its scalar say the same; the list counts where they differ."""
    if not isinstance(values, dict):
        return values
    items, item = list(values.get(plural) or []), values.get(single)
    if not items and item:
        items = [item]
    return {**values, plural: items, **({single: items[0]} if items else {})}


class MinerPayload(BaseModel):
    """What is to be upscaled: up to a handful of addresses, each with its task."""

    model_config = ConfigDict(extra="ignore")

    reference_video_urls: list[str] = Field(default_factory=list)
    reference_video_url: str = ""
    maximum_optimized_size_mb: int = 100
    task_types: list[str] = Field(default_factory=list)
    task_type: str = "HD24K"

    @model_validator(mode="before")
    @classmethod
    def _in_step(cls, values: Any) -> Any:  # noqa: ANN401 - as pydantic hands it over
        urls = in_step(values, "reference_video_urls", "reference_video_url")
        return in_step(urls, "task_types", "task_type")


class MinerResponse(BaseModel):
    """Where the results are, in the order of the request; an empty text is one that failed."""

    model_config = ConfigDict(extra="ignore")

    optimized_video_urls: list[str] = Field(default_factory=list)
    optimized_video_url: str = ""

    @model_validator(mode="before")
    @classmethod
    def _in_step(cls, values: Any) -> Any:  # noqa: ANN401 - as pydantic hands it over
        return in_step(values, "optimized_video_urls", "optimized_video_url")


class JobResponse(BaseModel):
    """Whether a job was taken."""

    accepted: bool = False


class PollResponse(BaseModel):
    """How far a job is, and its results once it is completed."""

    job_id: str = ""
    status: PollStatus = "unknown"
    optimized_video_urls: list[str] = Field(default_factory=list)
    optimized_video_url: str = ""

    @model_validator(mode="before")
    @classmethod
    def _in_step(cls, values: Any) -> Any:  # noqa: ANN401 - as pydantic hands it over
        return in_step(values, "optimized_video_urls", "optimized_video_url")


class VideoUpscalingProtocol(Synapse):  # type: ignore[misc]  # bittensor has no types
    """Upscale and answer when it is done: the caller holds the line."""

    version: Any = None  # a text or a table of numbers, by the validator's release; it is echoed
    round_id: str | None = None
    miner_payload: MinerPayload = Field(default_factory=MinerPayload)
    miner_response: MinerResponse = Field(default_factory=MinerResponse)


class VideoUpscalingJobProtocol(Synapse):  # type: ignore[misc]  # bittensor has no types
    """Take a job and answer at once whether it was taken."""

    version: Any = None  # as above
    job_id: str = ""
    miner_payload: MinerPayload = Field(default_factory=MinerPayload)
    job_response: JobResponse = Field(default_factory=JobResponse)
    miner_response: MinerResponse = Field(default_factory=MinerResponse)


class VideoUpscalingPollProtocol(Synapse):  # type: ignore[misc]  # bittensor has no types
    """Say how far a job is."""

    version: Any = None  # as above
    job_id: str = ""
    poll_response: PollResponse = Field(default_factory=PollResponse)


class LengthCheckProtocol(Synapse):  # type: ignore[misc]  # bittensor has no types
    """Say how long a video may be."""

    version: Any = None  # as above
    max_content_length: ContentLength = ContentLength.FIVE


class TaskWarrantProtocol(Synapse):  # type: ignore[misc]  # bittensor has no types
    """Say which kind of work is offered."""

    version: Any = None  # as above
    warrant_task: Warrant = Warrant.UPSCALING
