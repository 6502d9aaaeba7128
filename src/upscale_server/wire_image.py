"""The words of the image server's replies: one shape for each.

Its requests are forms and queries, read in `web`; failures have the shape of all servers (`wire.Problem`).
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Shape(BaseModel):
    """A reply."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class BatchEntry(Shape):
    """One picture of a batch: where its result is, or what went wrong."""

    filename: str = Field(description="as it was sent")
    temp_path: str | None = Field(None, description="the result on the server's machine, until it expires")
    output_size: str | None = Field(None, description="such as 3840x2160")
    file_size_mb: float | None = Field(None, description="bytes / 2**20")
    url: str | None = Field(None, description="fetches the result; a path where the request's host is not ours")
    warnings: list[str] | None = Field(None, description="what could not be kept")
    error: str | None = Field(None, description="what went wrong; then there is only `code` beside it")
    code: str | None = Field(None, description="the error's code")


class UpscaledBatch(Shape):
    """What `POST /upscale_batch` answers, in the order of the files."""

    results: list[BatchEntry]
    total: int
    successful: int


class ModelsLoaded(Shape):
    """Which parts of TSD-SR are loaded, where the work is done and in which number format."""

    transformer: bool
    vae: bool
    device: str | None = Field(description="cuda or cpu; null until the models are loaded")
    dtype: str | None = Field(description="such as torch.float16; null until the models are loaded")


class ImageHealth(Shape):
    """What `GET /health` answers; while the models load, beside the words of a failure and with status 503."""

    status: str
    models_loaded: ModelsLoaded
    model: str | None = Field(description="what runs; null until it is loaded")
    engine: str | None
    process: int = Field(description="the process that answered, one of `workers`")
    workers: int = Field(description="processes on this port")
    running: int = Field(description="pictures that this process works on")
    waiting: int = Field(description="pictures that wait in it")
    room: int = Field(description="requests that it takes at once; the next one is answered with 429")


class ImageLimitsView(Shape):
    """What the image server refuses."""

    in_force: dict[str, int | float] = Field(description="environment variable -> what it is now; 0 may mean no bound")
    fixed: dict[str, int | float] = Field(description="bounds that no setting changes")


class ImageInfo(Shape):
    """What `GET /info` answers."""

    name: str
    version: str
    description: str
    device: str | None = Field(description="cuda or cpu; null until the models are loaded")
    cuda_available: bool
    gpu: str | None
    gpu_memory_gb: float | None
    endpoints: dict[str, str]
    model: str | None
    engine: str | None
    details: dict[str, str] = Field(description="facts of the model that runs")
    upscale: int = Field(description="factor of a request that names none")
    process_size: int = Field(description="processing size of a request that names none")
    process_size_has_effect: bool | None = Field(description="false where the model takes any size as it is")
    workers: int
    formats: dict[str, list[str]] = Field(description="what is read, what is written")
    limits: dict[str, int]
    settings: dict[str, str] = Field(description="limit -> environment variable")


class ImageStats(Shape):
    """What `GET /stats` answers; what is about a GPU is null where there is none. A GB is 2**30 bytes."""

    timestamp: str
    device: str | None
    dtype: str | None
    gpu_name: str | None
    gpu_memory_total_gb: float | None
    gpu_memory_reserved_gb: float | None = Field(description="held by this process's torch")
    gpu_memory_allocated_gb: float | None = Field(description="used by this process's torch")
    gpu_memory_free_gb: float | None = Field(description="free on the device, whoever uses the rest")
    model: str | None
    engine: str | None
    process: int
    uptime_seconds: float
    running: int
    waiting: int
    done: int
    failed: int
