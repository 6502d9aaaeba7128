"""What this server refuses, as it is in force: every bound among the settings, and those that no setting changes.

It decides nothing; a number that is not read here is read by whoever holds it.
"""

from __future__ import annotations

from typing import Any, get_args

from fastapi import APIRouter
from pydantic import BaseModel

from upscale_server.settings import PREFIX, Settings
from upscale_server.storage.urls import MAX_URL_LENGTH
from upscale_server.web.asking import MOST_KEY_CHARACTERS
from upscale_server.web.bodies import MAX_JSON_BYTES
from upscale_server.web.doorway import MOST_HEADERS
from upscale_server.web.form import MOST_FIELDS
from upscale_server.web.guard import HEAD_BYTES, Bounds
from upscale_server.web.image_form import BODY_SECONDS
from upscale_server.web.image_routes import Service
from upscale_server.wire_image import ImageLimitsView

VIDEO_GROUPS = ("limits", "http", "quotas", "fetch", "storage", "jobs", "sources", "previews", "webhooks", "workers")
IMAGE_GROUPS = ("limits", "http", "quotas", "image", "tsdsr")

Bound = int | float

router = APIRouter(tags=["server"])


@router.get("/limits", response_model=ImageLimitsView)
async def limits(service: Service) -> ImageLimitsView:
    """Give what is refused: each bound by the setting that changes it, and those that none changes."""
    return ImageLimitsView(
        in_force=in_force(service.settings, IMAGE_GROUPS), fixed=fixed() | {"body_seconds": BODY_SECONDS}
    )


def in_force(settings: Settings, groups: tuple[str, ...]) -> dict[str, Bound]:
    """Return every number among the settings of these groups, by the environment variable that sets it."""
    found: dict[str, Bound] = {}
    for name in groups:
        group: BaseModel = getattr(settings, name)
        for field, about in type(group).model_fields.items():
            if _is_number(about.annotation):
                found[f"{PREFIX}{name}__{field}".upper()] = getattr(group, field)
    return found


def fixed() -> dict[str, Bound]:
    """Return the bounds that no setting changes."""
    bounds = Bounds()
    return {
        "head_bytes": HEAD_BYTES,
        "headers": MOST_HEADERS,
        "json_bytes": MAX_JSON_BYTES,
        "form_parts": MOST_FIELDS,
        "url_characters": MAX_URL_LENGTH,
        "idempotency_key_characters": MOST_KEY_CHARACTERS,
        "reserved_connections": bounds.reserve,
        "stalled_reader_seconds": bounds.stalled_seconds,
        "slow_reader_seconds": bounds.slow_reader_seconds,
    }


def _is_number(kind: Any) -> bool:  # noqa: ANN401 - any annotation of a setting
    return kind in (int, float) or any(one in (int, float) for one in get_args(kind))
