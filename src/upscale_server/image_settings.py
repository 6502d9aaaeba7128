"""The settings of the image server, a group of `settings`.

It holds values and their reasons; nothing here reads the environment.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class ImageSettings(BaseModel):
    """The image server."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(
        "auto",
        description="`auto`: TSD-SR where its weights are set and a GPU is there, else the built-in network; or "
        "`tsdsr`, a model's name, a file",
    )
    upscale: int = Field(2, ge=2, le=4, multiple_of=2, description="factor of a request that names none, 2 or 4")
    process_size: int = Field(128, ge=64, le=256, description="processing size of a request that names none")
    workers: int = Field(1, ge=1, le=64, description="processes on one port, each with its models loaded")
    running: int = Field(2, ge=1, le=16, description="pictures worked on at once in a process; one is read meanwhile")
    room: int = Field(64, ge=1, le=4096, description="requests in a process at once; the next one is answered with 429")
    max_bytes: int = Field(256 << 20, ge=1024, description="largest picture file, bytes; 50 MP at 16 bits fit")
    batch_files: int = Field(64, ge=1, le=1000, description="most files of a batch")
    batch_bytes: int = Field(1 << 30, ge=1024, description="most bytes of a batch, all files together")
    result_seconds: int = Field(3600, ge=60, le=604_800, description="how long a batch's results are kept")
    drain_seconds: float = Field(30.0, ge=0, description="how long a stopping server finishes what it has accepted")
