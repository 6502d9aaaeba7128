"""Takes a job in, whichever way its source comes: an address or a kept source in JSON, a form, or the file as the body.

Everything that can be refused is refused before a long upload is read.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from upscale_server.errors import BadRequest, Conflict, NotFound, WrongContentType
from upscale_server.jobs.codec import digest_of_asked, untold
from upscale_server.jobs.job import Asked, Job, Source
from upscale_server.service import VideoService
from upscale_server.service.sources import is_from_source
from upscale_server.web.asking import asked_by_body, asked_by_fields, check_one_source, idempotent, result_name
from upscale_server.web.bodies import checked, json_in
from upscale_server.web.faults import checked_by, shorten
from upscale_server.web.parts import owner_of
from upscale_server.web.places import Places
from upscale_server.web.uploads import received
from upscale_server.wire_jobs import NewJobBody, NewJobFields

UPLOAD_TYPES = ("application/octet-stream", "video/*")


def kind_of(request: Request) -> str:
    """Return the content type of a request that brings a video or names one.

    Raises:
        WrongContentType: it is none of those taken (415).
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in ("application/json", "multipart/form-data", "application/octet-stream") or kind.startswith("video/"):
        return kind
    raise WrongContentType(
        f"the content type is {shorten(kind) if kind else 'missing'}; expected application/json, multipart/form-data, "
        f"{' or '.join(UPLOAD_TYPES)}"
    )


async def handed_in(request: Request, service: VideoService) -> Job:
    """Return the job that a request hands in.

    Raises:
        WrongContentType: the content type is none of those taken (415).
        UpscaleError and its kinds: what is asked for could never be done, or no job is taken now.
    """
    kind = kind_of(request)
    if kind != "application/json":
        return await _by_upload(request, service, is_form=kind == "multipart/form-data")
    body = checked(NewJobBody, await json_in(request))
    check_one_source(body.source_id, body.payload_url)
    return await run_in_threadpool(_of_source if body.source_id else _of_address, request, service, body)


def _of_address(request: Request, service: VideoService, body: NewJobBody) -> Job:
    asked = asked_by_body(body, service.model_names())
    service.check_url(asked.source.location)
    return service.submit(idempotent(asked, request.headers.get("idempotency-key"), owner_of(request)))


def _of_source(request: Request, service: VideoService, body: NewJobBody) -> Job:
    try:
        return _of_kept_source(request, service, body)
    except NotFound:
        known = _handed_in_before(request, service, body)
        if known is None:
            raise
        return known


def _handed_in_before(request: Request, service: VideoService, body: NewJobBody) -> Job | None:
    """Return the job of the same request, whose source has gone since: its sender may never have got an answer."""
    key, owner = request.headers.get("idempotency-key"), owner_of(request)
    known = None if key is None else service.submitted(owner, key)
    if known is None or not is_from_source(known.asked.source.location, body.source_id or ""):
        return None
    again = asked_by_fields(body, service.model_names(), known.asked.source, known.asked.file_name)
    # The deadline counts from the moment of asking, and of a receiver's address not all is kept for ever.
    if untold(replace(again, deadline=known.asked.deadline)) != untold(known.asked):
        raise Conflict(
            f"Idempotency-Key was used for another request, which became job {known.id}",
            hint="use a new key for a new request",
        )
    return known


def _of_kept_source(request: Request, service: VideoService, body: NewJobBody) -> Job:
    with service.sources.lent(body.source_id or "", owner_of(request)) as lent:
        place, name = Source("upload", str(lent.path)), result_name(lent.source.file_name)
        asked = asked_by_fields(body, service.model_names(), place, name)
        job = _submit(request, service, asked, lent.source.sha256)
    if job.asked.source.location != str(lent.path):
        lent.path.unlink(missing_ok=True)  # the same request came before; its own link is used
    return job


async def _by_upload(request: Request, service: VideoService, *, is_form: bool) -> Job:
    query = dict(request.query_params)
    models = await run_in_threadpool(service.model_names)
    if not is_form:
        await run_in_threadpool(service.check_asked, _asked(query, models, Path(), ""))
    idempotent(Asked(Source("upload", "")), request.headers.get("idempotency-key"), "")
    await run_in_threadpool(service.check_room, owner_of(request))
    places: Places = request.app.state.uploading
    count = partial(service.quota.add, owner_of(request))  # at the end, or an upload would be held against itself
    with places.one(owner_of(request)):
        async with received(request, service.uploads, service.settings.fetch.max_bytes, count) as file:
            given = query | file.fields if is_form else query
            asked = _asked(given, models, file.path, file.file_name)
            job = await run_in_threadpool(_submit, request, service, asked, file.sha256)
    if job.asked.source.location != str(file.path):
        # The same request came before; its own upload is used. Gigabytes are not removed in an instant.
        await run_in_threadpool(file.path.unlink, missing_ok=True)
    return job


def _asked(given: dict[str, str], models: frozenset[str], path: Path, file_name: str) -> Asked:
    values = dict(given)
    file_name = values.pop("file_name", "") or file_name
    try:
        fields = NewJobFields.model_validate(values, strict=False)
    except ValidationError as err:
        raise checked_by(err) from err
    if len(file_name) > 1024:
        raise BadRequest(f"the file's name has {len(file_name)} characters; the limit is 1024")
    return asked_by_fields(fields, models, Source("upload", str(path)), result_name(file_name))


def _submit(request: Request, service: VideoService, asked: Asked, sha256: str) -> Job:
    # The place of an upload is another every time; what makes two requests the same is what was sent.
    same = digest_of_asked(replace(asked, source=Source("upload", sha256)))
    return service.submit(idempotent(asked, request.headers.get("idempotency-key"), owner_of(request), same))
