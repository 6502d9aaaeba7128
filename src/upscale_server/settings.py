"""Every setting of the product, read once at the door, so that nothing below it looks at the environment.

It holds values and their reasons; what they do is the business of the parts that are handed them.
"""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, TypeGuard, get_origin

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from upscale_server.cluster_settings import RaySettings
from upscale_server.edge_settings import Http, Quotas
from upscale_server.errors import BadRequest
from upscale_server.image_settings import ImageSettings, Tsdsr
from upscale_server.server_settings import Fetch, Jobs, Previews, Sources, Storage, Subnet, Webhooks, Workers

PREFIX = "UPSCALE_"

LogLevel = Literal["debug", "info", "warning", "error"]
LogStyle = Literal["console", "json"]


def default_state_dir() -> Path:
    """Return the user's own state folder (XDG base directory specification), never a world-writable one."""
    base = os.environ.get("XDG_STATE_HOME", "")
    return (Path(base) if base else Path.home() / ".local" / "state") / "upscale-server"


class Limits(BaseModel):
    """What is refused before any work is done, because it would exhaust the machine."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_source_side: int = Field(
        16_384, ge=16, le=65_535,
        description="longest side of a source, pixels; the largest that HEVC level 6.2 and the JPEG decoders share",
    )  # fmt: skip
    max_pixels: int = Field(
        35_389_440, ge=256,
        description="pixels of a video frame; 8192x4320, the largest picture of HEVC and AV1 level 6",
    )  # fmt: skip
    max_image_pixels: int = Field(
        50_000_000, ge=256, le=178_000_000,
        description="pixels of a still; a 50 MP camera fits, a decompression bomb does not. "
        "The ceiling is Pillow's own",
    )  # fmt: skip
    max_output_side: int = Field(
        16_384, ge=16, le=65_535,
        description="longest side of a result, pixels; WebP and the video encoders hold no more",
    )  # fmt: skip
    max_seconds: float = Field(
        0.0, ge=0,
        description="longest video, seconds; 0 means no bound: an archive has films of any length. "
        "Strangers' deserve one",
    )  # fmt: skip
    max_frames: int = Field(0, ge=0, description="most frames of a video, on which the work depends; 0 means no bound")


class Settings(BaseSettings):
    """All settings; each is an environment variable `UPSCALE_NAME`, a nested one `UPSCALE_GROUP__NAME`."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True, populate_by_name=True
    )

    limits: Limits = Field(default_factory=Limits, description="what is refused before any work is done")
    state_dir: Path = Field(
        default_factory=default_state_dir,
        description="folder for what must outlive a run (compiled models, logs, jobs); the user's own state folder",
    )
    log_level: LogLevel = Field(
        "warning", description="least severe event shown; the progress line already says that work goes on"
    )
    log_style: LogStyle = Field("console", description="`console` for people, `json` for log collectors")
    model_path: str = Field(
        "", validation_alias=AliasChoices("UPSCALE_MODEL_PATH", "MODEL_PATH"),
        description="model of the video server, a name or an ONNX file; empty means the built-in one",
    )  # fmt: skip
    max_workers: int = Field(
        12, ge=1, le=64, validation_alias=AliasChoices("UPSCALE_MAX_WORKERS", "MAX_WORKERS"),
        description="ceiling of the lanes; the real number comes from the device",
    )  # fmt: skip
    temp_dir: Path | None = Field(
        None, validation_alias=AliasChoices("UPSCALE_TEMP_DIR", "TEMP_DIR"),
        description="folder for unfinished work; a folder in the state folder when not set",
    )  # fmt: skip
    output_dir: Path | None = Field(
        None, validation_alias=AliasChoices("UPSCALE_OUTPUT_DIR", "OUTPUT_DIR"),
        description="folder of the local store; a folder in the state folder when not set",
    )  # fmt: skip
    public_url: str = Field("", description="address that links begin with; empty means the request's own host")
    allowed_hosts: tuple[str, ...] = Field(
        (), description="hosts besides loopback that a keyless server answers to and links are made for, a JSON list"
    )
    api_keys: SecretStr = Field(
        SecretStr(""), description="keys that callers must give, separated by commas; `sha256:HEX` hides one"
    )
    metrics_open: bool = Field(default=False, description="`/metrics` needs no key, for a scraper that has none")
    database_url: SecretStr = Field(
        SecretStr(""), description="SQLAlchemy address of the jobs' database; empty means SQLite in the state folder"
    )
    executor: Literal["local", "ray"] = Field(
        "local", description="where segments run: in processes of this machine, or on the machines of a Ray cluster"
    )
    ray: RaySettings = Field(default_factory=RaySettings, description="the Ray cluster")
    http: Http = Field(default_factory=Http, description="what one connection may take")
    quotas: Quotas = Field(default_factory=Quotas, description="what one API key may ask for")
    fetch: Fetch = Field(default_factory=Fetch, description="how sources are downloaded")
    storage: Storage = Field(default_factory=Storage, description="where results go")
    jobs: Jobs = Field(default_factory=Jobs, description="how jobs wait and are held")
    sources: Sources = Field(default_factory=Sources, description="videos that wait for a plan, a preview or a job")
    previews: Previews = Field(default_factory=Previews, description="excerpts through several models")
    webhooks: Webhooks = Field(default_factory=Webhooks, description="telling other servers that a job has ended")
    workers: Workers = Field(default_factory=Workers, description="the resident worker processes")
    subnet: Subnet = Field(default_factory=Subnet, description="the face for the Vidaio subnet")
    image: ImageSettings = Field(default_factory=ImageSettings, description="the image server")
    tsdsr: Tsdsr = Field(default_factory=Tsdsr, description="TSD-SR, the diffusion model for stills")

    @field_validator("state_dir", "temp_dir", "output_dir", mode="before")
    @classmethod
    def _empty_means_default(cls, given: object, field: ValidationInfo) -> object:
        """Take an empty folder for none: as a path it would be the current folder."""
        if given != "":
            return given
        return default_state_dir() if field.field_name == "state_dir" else None

    @property
    def shares_jobs(self) -> bool:
        """Tell whether another server may do what this one takes: they share a queue, and a place for results."""
        return bool(self.database_url.get_secret_value()) and self.storage.kind != "local"


def known_names() -> tuple[str, ...]:
    """Return the environment variables that exist, in alphabetical order."""
    return tuple(sorted(name for name, _ in _names_in(Settings, PREFIX)))


def _names_in(group: type[BaseModel], prefix: str) -> Iterator[tuple[str, object]]:
    """Return the variables of a group, each with the type of its value."""
    for name, field in group.model_fields.items():
        yield f"{prefix}{name.upper()}", field.annotation
        if _is_group(field.annotation):
            yield from _names_in(field.annotation, f"{prefix}{name.upper()}__")


def _is_group(kind: object) -> TypeGuard[type[BaseModel]]:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def load_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Read the settings.

    Args:
        environment: the variables to check for unknown names; those of the process when None.

    Raises:
        BadRequest: a variable is unknown (the nearest known name is given) or a value is not allowed.
    """
    _refuse_unknown(os.environ if environment is None else environment)
    try:
        return Settings()
    except SettingsError as err:
        raise _not_json() from err
    except ValidationError as err:
        first = err.errors()[0]
        raise BadRequest(f"setting {_variable(first['loc'])} is {first['input']!r}: {first['msg'].lower()}") from err


def _not_json() -> BadRequest:
    """Return what to say of the first variable whose value should be JSON and is not."""
    kinds = {name: kind for name, kind in _names_in(Settings, PREFIX) if _is_group(kind) or get_origin(kind) is tuple}
    for name, value in sorted(os.environ.items()):
        if name.upper() not in kinds or _is_json(value):
            continue
        if _is_group(kinds[name.upper()]):
            hint = f"unset it; the group's settings begin with {name.upper()}__"
            return BadRequest(f"setting {name} is no JSON object, which a whole group would be", hint=hint)
        return BadRequest(f"setting {name} is {value!r}; expected a JSON list", hint='for example ["one", "two"]')
    return BadRequest("the settings cannot be read", hint=f"see the variables that begin with {PREFIX}")


def _is_json(value: str) -> bool:
    try:
        json.loads(value)
    except ValueError:
        return False
    return True


def _variable(place: tuple[int | str, ...]) -> str:
    """Return the variable that a faulty value came from; one with two names is told by the name that is set."""
    name = "__".join(str(part).upper() for part in place)
    if not name.startswith(PREFIX):
        return PREFIX + name
    return name if name in os.environ else name.removeprefix(PREFIX)


def _refuse_unknown(environment: Mapping[str, str]) -> None:
    known = known_names()
    for name in sorted(environment):
        if not name.upper().startswith(PREFIX) or name.upper() in known:
            continue
        nearest = difflib.get_close_matches(name.upper(), known, n=1)
        hint = f"did you mean {nearest[0]}?" if nearest else f"the settings are {', '.join(known)}"
        raise BadRequest(f"setting {name} does not exist", hint=hint)
