"""The subnet miner's routes: up to five videos in one blocking call, each by path or by address, and the queue.

Each video is a job of its own under the subnet's rules. A malformed call is a 400; an item that fails is told in
`errors` under status 200, which is what the caller reads.
"""

from __future__ import annotations

import os
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.concurrency import run_in_threadpool

from upscale_server.errors import BadRequest, SourceForbidden
from upscale_server.jobs.job import Asked, Job, NewJob, Source
from upscale_server.service import VideoService
from upscale_server.web.asking import check_scale, name_of_url, result_name
from upscale_server.web.bodies import body_of, documented
from upscale_server.web.links import base_url_of, joined
from upscale_server.web.parts import Service, owner_of, places_to_wait
from upscale_server.web.shared_root import LONGEST_NAME, input_under, output_under
from upscale_server.web.views import failure_of, queue_counts
from upscale_server.web.waiting import finished
from upscale_server.wire import QueueCounts, Upscale, Upscaled

router = APIRouter(tags=["subnet miner"])


@dataclass(frozen=True, slots=True)
class Item:
    """One video of a call: what is asked for, or why nothing can be."""

    asked: Asked | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Done:
    """What came of an item; two of the three are empty."""

    path: str = ""
    url: str = ""
    error: str = ""


@router.post("/upscale", response_model=Upscaled, openapi_extra=documented(Upscale))
async def upscale(request: Request, service: Service, body: Annotated[Upscale, Depends(body_of(Upscale))]) -> Upscaled:
    """Upscale one to five videos and answer when all are done; a path gives a path, an address gives an address."""
    with places_to_wait(request).one(owner_of(request)):
        return await _upscaled(request, service, body)


async def _upscaled(request: Request, service: VideoService, body: Upscale) -> Upscaled:
    began = time.monotonic()
    items = await run_in_threadpool(items_of, service, body)
    base_url = _base_url(request, service, items)
    news = [NewJob(item.asked, None, owner_of(request)) for item in items if item.asked is not None]
    jobs = await run_in_threadpool(service.submit_all, news)
    position = await run_in_threadpool(service.place, jobs[0]) if jobs else 0
    waiting = iter(jobs)
    done = [
        await _outcome(request, service, next(waiting), base_url) if item.asked else Done(error=item.error)
        for item in items
    ]
    counts = await run_in_threadpool(queue_counts, service)
    return Upscaled(
        success=not any(one.error for one in done),
        output_paths=[one.path for one in done],
        output_urls=[one.url for one in done],
        errors=[one.error for one in done],
        output_path=done[0].path,
        output_url=done[0].url,
        error=done[0].error,
        processing_time=round(time.monotonic() - began, 3),
        queue_position=position,
        active_tasks=counts.active_tasks,
        queued_tasks=counts.queued_tasks,
    )


@router.get("/queue", response_model=QueueCounts)
async def queue(service: Service) -> QueueCounts:
    """Give how many jobs run and wait."""
    return await run_in_threadpool(queue_counts, service)


def items_of(service: VideoService, body: Upscale) -> list[Item]:
    """Return what is asked for, item by item.

    Raises:
        BadScale, BadUrl, BadScheme, BadRequest: the call is malformed.
    """
    check_scale(body.scale)
    outputs = body.output_paths or [""] * len(body.video_paths)
    deadline = None if body.deadline_seconds is None else time.time() + body.deadline_seconds
    items = [
        _item(service, body, text, output, deadline) for text, output in zip(body.video_paths, outputs, strict=True)
    ]
    named = [item.asked.output_path for item in items if item.asked and item.asked.output_path]
    if len(set(named)) < len(named):
        raise BadRequest("two of output_paths are the same file")
    return items


def _item(service: VideoService, body: Upscale, text: str, output: str, deadline: float | None) -> Item:
    root = service.settings.subnet.shared_root
    if "://" not in text:
        source = input_under(root, text)
        target = output_under(root, output) if output else _beside(source, body.scale)
        return Item(_asked(body, Source("file", str(source)), result_name(source.name), deadline, str(target)))
    name = name_of_url(text)
    if output:
        raise BadRequest("an address in gives an address out; leave its place in output_paths empty")
    try:
        service.check_url(text)
    except SourceForbidden as err:
        return Item(error=err.detail)
    return Item(_asked(body, Source("url", text), name, deadline, None))


def _asked(body: Upscale, source: Source, name: str, deadline: float | None, output: str | None) -> Asked:
    return Asked(
        source=source,
        scale=body.scale,
        codec=body.codec,
        profile="subnet",
        deadline=deadline,
        output_path=output,
        file_name=name,
    )


def _beside(source: Path, scale: int) -> Path:
    """Return a new name beside a source; a long one is cut, so that what is added finds room."""
    added = f"_x{scale}_{secrets.token_hex(4)}.mp4"
    stem = os.fsencode(source.stem)[: LONGEST_NAME - len(added)]
    return source.with_name(stem.decode("utf-8", "ignore") + added)


def _base_url(request: Request, service: VideoService, items: list[Item]) -> str:
    """Return what links begin with; asked before any work, and only where a link will be needed."""
    needed = any(item.asked is not None and item.asked.output_path is None for item in items)
    return base_url_of(request, service.settings) if needed and service.settings.storage.kind != "s3" else ""


async def _outcome(request: Request, service: VideoService, job: Job, base_url: str) -> Done:
    job = await finished(request, service, job.id, owner_of(request))
    failure = failure_of(job)
    if failure is not None:
        return Done(error=failure.detail)
    if job.outcome is None:
        return Done(error=f"job {job.id} is {job.state} still; it goes on, see GET /v1/jobs/{job.id}")
    if job.outcome.output_path:
        return Done(path=job.outcome.output_path)
    return Done(url=await run_in_threadpool(lambda: joined(base_url, service.results.link_of(job))))
