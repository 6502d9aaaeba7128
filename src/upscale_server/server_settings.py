"""The groups of the video server's settings: how sources come, where results go, how jobs wait and who is told.

It holds values and their reasons; nothing here reads the environment.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr


class Fetch(BaseModel):
    """How sources are downloaded, and from where they may come."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    allowed_networks: tuple[str, ...] = Field(
        (),
        description="private networks that sources may come from, a JSON list of CIDRs such as "
        '`["10.1.0.0/16"]`; metadata services stay refused',
    )
    allowed_hosts: tuple[str, ...] = Field(
        (),
        description="hosts that sources may come from, a JSON list of `host` or `*.suffix`, either with `:port`; "
        "empty means any public host",
    )
    proxy: str = Field(
        "",
        description="HTTP proxy that sources and webhooks go through, `http://host:port`; names are then looked up "
        "there, and which addresses may be reached is its decision. The environment's proxies are never used",
    )
    max_bytes: int = Field(2 << 30, ge=1, description="largest source, bytes; ten minutes of 4K at 28 Mbit/s")
    connect_seconds: float = Field(10.0, gt=0, description="longest wait for a connection")
    idle_seconds: float = Field(15.0, gt=0, description="longest wait for the next bytes")
    least_bytes_per_second: int = Field(
        50_000, ge=0, description="slowest source, as the mean of twenty seconds; a slower one is holding a place"
    )
    total_seconds: float = Field(900.0, gt=0, description="longest download")
    attempts: int = Field(3, ge=1, le=10, description="tries to go on with a broken download")


class S3(BaseModel):
    """An object store that speaks S3: MinIO, Garage, R2, AWS."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    endpoint: str = Field("", description="address of the store; a name without scheme means https")
    public_endpoint: str = Field("", description="address that links are signed for; empty means `endpoint`")
    bucket: str = Field("upscaled", description="the bucket that results go to")
    region: str = Field("us-east-1", description="region that requests are signed for; MinIO's own default")
    access_key: SecretStr = Field(
        SecretStr(""), description="access key; empty means boto3's own search (files, roles)"
    )
    secret_key: SecretStr = Field(SecretStr(""), description="secret key")
    path_style: bool = Field(
        default=True, description="`endpoint/bucket/key` addresses, which every self-hosted store knows"
    )


class Storage(BaseModel):
    """Where results go and how long they stay."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["local", "s3"] = Field("local", description="`local`: the output folder; `s3`: an object store")
    s3: S3 = Field(default_factory=S3, description="the object store")
    link_seconds: int = Field(
        86_400, ge=60, le=604_800, description="how long a link works; S3 signs for 7 days at most"
    )
    keep_seconds: int = Field(
        604_800, ge=3_600, description="how long results and finished jobs are kept; links work no longer than that"
    )
    budget_bytes: int = Field(
        0, ge=0, description="most bytes of results kept by the local store, oldest removed first; 0 means no bound"
    )
    large_bytes: int = Field(20 << 20, ge=5 << 20, description="size from which an object is stored in parts")
    retry_seconds: float = Field(
        900.0, ge=0, description="how long storing is tried again; a restart of the store must not cost a job"
    )


class Jobs(BaseModel):
    """How many jobs wait and how they are held."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    room: int = Field(100, ge=1, description="jobs that may wait; the next one is answered with 429")
    lease_seconds: float = Field(30.0, ge=3, description="how long a silent owner keeps a job")
    attempts: int = Field(3, ge=1, description="times a job is begun when its server dies under it")
    wait_seconds: float = Field(3600.0, ge=1, description="longest blocking answer; the job itself goes on")
    drain_seconds: float = Field(30.0, ge=0, description="how long a stopping server lets a running segment end")
    seal_secret: SecretStr = Field(
        SecretStr(""),
        description="what hides signatures in stored addresses; empty means a key in the state folder. Servers that "
        "share a Postgres database need the same, and store addresses as they are without one",
    )
    kept_bytes: int = Field(
        20 << 30, ge=0, description="most bytes of failed jobs' work that wait for a retry, oldest removed first"
    )
    proxies: bool = Field(
        default=True,
        description="each finished segment also gets a small H.264 copy, to be watched while the job runs; "
        "on two cores the job takes 1 to 8 % longer for it",
    )
    proxies_bytes: int = Field(
        4 << 30, ge=0, description="most bytes of finished jobs' copies for watching, oldest removed first"
    )


class Workers(BaseModel):
    """The resident worker processes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    lanes: int = Field(
        0, ge=0, le=64, description="lanes, each a process with its models loaded; 0 means what the device holds"
    )
    desks: int = Field(
        2, ge=1, le=64,
        description="processes that look at sources, join and audit, a core each; more where many GPUs wait for audits",
    )  # fmt: skip
    release_seconds: float = Field(5.0, gt=0, description="how long a cancelled lane may take before it is killed")
    silent_seconds: float = Field(
        300.0, gt=0, description="longest time without a finished tile before a lane counts as hung"
    )
    source_silent_seconds: float = Field(
        60.0, gt=0, description="longest time without a packet or a frame before who reads a source is killed"
    )
    source_look_seconds: float = Field(
        120.0, gt=0,
        description="longest look at a source, whatever it shows, and a second more for each MB of it; an excerpt for "
        "a preview may take thirty times as long, and a second more for each 20 kB",
    )  # fmt: skip


class Subnet(BaseModel):
    """The face for the Vidaio subnet."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = Field(
        default=False, description='`/health` says `"ok"` and shows the local folders, as miners expect'
    )
    shared_root: Path | None = Field(
        None, description="folder under which `/upscale` takes and gives paths; none are taken without it"
    )


class Sources(BaseModel):
    """Videos that were sent or fetched and wait for a plan, a preview or a job."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    keep_seconds: int = Field(86_400, ge=60, description="how long a source waits; a job keeps its own")
    budget_bytes: int = Field(
        20 << 30, ge=0, description="most bytes of sources that wait; who holds most gives way; 0 means no bound"
    )


class Previews(BaseModel):
    """Excerpts of a video through several models, side by side."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    most_seconds: float = Field(10.0, gt=0, le=60, description="longest excerpt")
    most_models: int = Field(6, ge=1, le=16, description="most models side by side")
    room: int = Field(8, ge=1, description="previews that may wait; the next one is answered with 429")
    room_per_key: int = Field(3, ge=1, description="previews of one API key that may wait beside one being made")
    most_frames: int = Field(
        2400, ge=1, description="most frames of all sides of a preview together, a self-test's among them"
    )
    keep_seconds: int = Field(21_600, ge=60, description="how long a preview's files are kept")
    budget_bytes: int = Field(
        8 << 30, ge=0, description="most bytes of finished previews; who holds most gives way; 0 means no bound"
    )


class Webhooks(BaseModel):
    """Telling other servers that a job has ended."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    secret: SecretStr = Field(SecretStr(""), description="what deliveries are signed with; without it none are made")
    attempts: int = Field(8, ge=1, le=20, description="tries, each twice as long after the one before")
    timeout_seconds: float = Field(10.0, gt=0, le=60, description="longest wait for the receiver's answer")
