"""Turns what a caller wrote into what a job is asked for, and refuses at the door what could never be done.

The shapes are `wire`'s; what only the source can tell comes out in the job's plan.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from upscale_server.errors import BadRequest, BadScale, UnknownTask
from upscale_server.geometry import TASKS, target_of
from upscale_server.jobs.job import Asked, NewJob, Source
from upscale_server.media.encoders import CRF_MAX, encoder_named
from upscale_server.storage.names import clean_name
from upscale_server.storage.urls import parse_url
from upscale_server.web.faults import shorten
from upscale_server.wire import UpscaleVideo
from upscale_server.wire_jobs import NewJobBody, NewJobFields

SCALES = (2, 4)
"""What callers may ask for; the command line also knows 3, which no documented caller does."""
DEFAULT_SCALE = 2
MOST_KEY_CHARACTERS = 255
MOST_SIDE = 65_535
"""No setting allows a longer side, and a picture that is fitted into a box reaches one of the box's sides."""

_KEY = re.compile(r"[\x21-\x7e]+")
_MODEL = re.compile(r"[A-Za-z0-9._-]+")


def asked_by_video(body: UpscaleVideo) -> Asked:
    """Return what `POST /upscale-video` asks for.

    Raises:
        UnknownTask, BadUrl, BadScheme: a value that could never be done.
    """
    check_task(body.task_type)
    return Asked(
        source=Source("url", body.payload_url),
        task=body.task_type.upper(),
        maximum_mb=body.maximum_optimized_size_mb,
        file_name=name_of_url(body.payload_url),
    )


def asked_by_body(body: NewJobBody, models: Collection[str]) -> Asked:
    """Return what a JSON job with an address asks for; `models` are the names that exist.

    Raises:
        BadRequest and its kinds: a value that could never be done.
    """
    url = body.payload_url or ""
    return asked_by_fields(body, models, Source("url", url), name_of_url(url))


def asked_by_fields(fields: NewJobFields, models: Collection[str], source: Source, file_name: str) -> Asked:
    """Return what a job asks for whose source is known.

    Raises:
        BadRequest and its kinds: a value that could never be done.
    """
    _check_size(fields)
    check_model(fields.model, models)
    _check_crf(fields)
    return Asked(
        source=source,
        task=fields.task_type.upper() if fields.task_type else None,
        to=fields.target,
        scale=fields.scale if fields.scale or fields.task_type or fields.target else DEFAULT_SCALE,
        fit=fields.fit,
        model=fields.model,
        codec=fields.codec,
        crf=fields.crf,
        maximum_mb=fields.maximum_optimized_size_mb,
        profile=fields.profile,
        allow_partial=fields.allow_partial,
        quality=fields.quality,
        webhook=fields.webhook_url,
        file_name=file_name,
    )


def idempotent(asked: Asked, key: str | None, owner: str, digest: str = "") -> NewJob:
    """Return the job to store.

    Args:
        asked: what is asked for.
        key: the Idempotency-Key header.
        owner: the id of the caller's API key.
        digest: as in `NewJob`.

    Raises:
        BadRequest: the key is empty, too long or not printable ASCII.
    """
    if key is not None and (len(key) > MOST_KEY_CHARACTERS or not _KEY.fullmatch(key)):
        raise BadRequest(
            f"Idempotency-Key is {shorten(key)}; expected 1 to {MOST_KEY_CHARACTERS} printable ASCII characters"
        )
    return NewJob(asked, key, owner, digest)


def check_one_source(source_id: str | None, payload_url: str | None) -> None:
    """Refuse a request that names no source, or two.

    Raises:
        BadRequest: with the fields.
    """
    if source_id is None and payload_url is None:
        raise BadRequest("field payload_url is missing; give it, or source_id")
    if source_id is not None and payload_url is not None:
        raise BadRequest("fields payload_url and source_id are given; choose one")


def check_task(task: str) -> None:
    """Refuse a task that does not exist.

    Raises:
        UnknownTask: with those that do.
    """
    if task.upper() not in TASKS:
        raise UnknownTask(f"field task_type is {shorten(task)}; expected one of {', '.join(TASKS)}")


def check_scale(scale: int) -> None:
    """Refuse a factor that is not on offer.

    Raises:
        BadScale: with those that are.
    """
    if scale not in SCALES:
        raise BadScale(f"field scale is {scale}; expected {' or '.join(map(str, SCALES))}")


def name_of_url(url: str) -> str:
    """Return what a result is called whose source has this address: the source's own name and what was done to it.

    Raises:
        BadUrl, BadScheme: its form is wrong.
    """
    return result_name(parse_url(url).file_name)


def result_name(source_name: str) -> str:
    """Return what the result of a source of this name is called, without its suffix."""
    stem = clean_name(source_name, "").rpartition(".")[0] or clean_name(source_name, "")
    return f"{stem}_upscaled" if stem else "upscaled"


def _check_size(fields: NewJobFields) -> None:
    given = {"task_type": fields.task_type, "target": fields.target, "scale": fields.scale}
    named = [name for name, value in given.items() if value is not None]
    if len(named) > 1:
        raise BadRequest(f"fields {' and '.join(named)} are given; choose one")
    if fields.task_type is not None:
        check_task(fields.task_type)
    if fields.scale is not None:
        check_scale(fields.scale)
    if fields.profile == "subnet" and (fields.task_type or fields.target):
        raise BadRequest("profile subnet enlarges by a factor exactly; give scale and no task_type or target")
    box = target_of(fields.task_type, fields.target, fields.scale, fields.fit).box
    if box is not None and not 2 <= min(box.width, box.height) <= MOST_SIDE:
        raise BadRequest(f"field target is {shorten(fields.target)}; nothing can be enlarged to that")


def check_model(name: str | None, models: Collection[str]) -> None:
    """Refuse what is no name of a model that is here; a path would let a caller open files of this machine."""
    if name is None:
        return
    if not _MODEL.fullmatch(name) or name.endswith(".onnx"):
        raise BadRequest(f"field model is {shorten(name)}; expected a model's name and no path")
    if name not in models:
        raise BadRequest(f"field model is {shorten(name)}; expected one of {', '.join(sorted(models))}")


def _check_crf(fields: NewJobFields) -> None:
    worst = CRF_MAX[encoder_named(fields.codec)]
    if fields.crf is not None and fields.crf > worst:
        raise BadRequest(f"field crf is {fields.crf}; {fields.codec} takes 0 (best) to {worst}")
