"""The settings of a cluster: where it is, what one actor takes of a machine, and how pictures travel.

It holds values and their reasons; nothing here reads the environment.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field


class RaySettings(BaseModel):
    """Segments done by the machines of a Ray cluster."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    address: str = Field(
        "auto",
        description="address of the cluster's head, `host:6379`; `auto` is the cluster that this machine belongs to",
    )
    folder: Path | None = Field(
        None,
        description="folder that every machine sees at this path, through which pictures travel; "
        "not set means the object store of `UPSCALE_STORAGE__…`",
    )
    gpus_per_actor: float = Field(
        1.0, gt=0, le=1, description="share of a GPU that one actor takes; 0.5 puts two on each"
    )
    cpus_per_actor: float = Field(
        0.0, ge=0, description="cores that one actor takes on a machine without a GPU; 0 means all of them"
    )
    idle_seconds: float = Field(
        600.0, ge=10, description="how long an actor keeps its networks loaded when no server asks for it"
    )
