"""Every setting of the product, read once at the door, so that nothing below it looks at the environment.

It holds values and their reasons; what they do is the business of the parts that are handed them.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from upscale_server.errors import BadRequest

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


class Settings(BaseSettings):
    """All settings; each is an environment variable `UPSCALE_NAME`, a nested one `UPSCALE_GROUP__NAME`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True)

    limits: Limits = Field(default_factory=Limits, description="what is refused before any work is done")
    state_dir: Path = Field(
        default_factory=default_state_dir,
        description="folder for what must outlive a run (compiled models, logs, jobs); the user's own state folder",
    )
    log_level: LogLevel = Field(
        "warning", description="least severe event shown; the progress line already says that work goes on"
    )
    log_style: LogStyle = Field("console", description="`console` for people, `json` for log collectors")


RESERVED = (
    "PUBLIC_URL", "ALLOWED_HOSTS", "API_KEYS", "DATABASE_URL", "EXECUTOR", "MODEL",
)  # fmt: skip
"""Documented names of the servers, which are not there yet; an environment may hold them already."""
RESERVED_GROUPS = ("FETCH__", "STORAGE__", "SUBNET__", "RAY__", "TSDSR__")


def known_names() -> tuple[str, ...]:
    """Return the environment variables that exist, in alphabetical order."""
    limits = [f"{PREFIX}LIMITS__{name.upper()}" for name in Limits.model_fields]
    return tuple(sorted([f"{PREFIX}{name.upper()}" for name in Settings.model_fields] + limits))


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
    except ValidationError as err:
        first = err.errors()[0]
        name = PREFIX + "__".join(str(part).upper() for part in first["loc"])
        raise BadRequest(f"setting {name} is {first['input']!r}: {first['msg'].lower()}") from err


def _is_reserved(name: str) -> bool:
    rest = name.upper().removeprefix(PREFIX)
    return rest in RESERVED or rest.startswith(RESERVED_GROUPS)


def _refuse_unknown(environment: Mapping[str, str]) -> None:
    known = known_names()
    for name in sorted(environment):
        if not name.upper().startswith(PREFIX) or name.upper() in known or _is_reserved(name):
            continue
        nearest = difflib.get_close_matches(name.upper(), known, n=1)
        hint = f"did you mean {nearest[0]}?" if nearest else f"the settings are {', '.join(known)}"
        raise BadRequest(f"setting {name} does not exist", hint=hint)
