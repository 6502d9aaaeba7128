"""Tells every listener about all their jobs in one stream: one watcher looks, and what it finds is worded once for all.

A stream begins with a snapshot, or goes on where the listener's last one ended (`Last-Event-ID`): of each job that has
changed since then its newest state is told. Whoever is too far behind gets a snapshot again.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from fastapi import APIRouter, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from upscale_server.errors import Draining, UpscaleError
from upscale_server.jobs.job import Job
from upscale_server.logs import get_logger
from upscale_server.service import VideoService
from upscale_server.service.queue_news import Change
from upscale_server.web.events import HEARTBEAT_SECONDS, LOOK_SECONDS, EventStream
from upscale_server.web.links import relative_or_whole
from upscale_server.web.parts import Service, owner_of, places_to_wait
from upscale_server.web.views import Known, job_view, known_of, told_of

router = APIRouter(prefix="/v1/events", tags=["jobs"])

SNAPSHOT_JOBS = 100
MOST_KEPT = 1000
"""Jobs whose newest state is kept for those who come back; where more have changed meanwhile, there is a snapshot."""
LINGER_SECONDS = 60.0
"""How long is looked on when nobody listens: a page that is loaded again goes on where it was."""
_AFTER_FAULT_SECONDS = 1.0


@router.get("", response_class=Response, responses={200: {"content": {"text/event-stream": {}}}})
async def events(request: Request, service: Service) -> Response:
    """Watch all jobs: `jobs` with the newest 100 on connect, then `job` for each that changes and `removed`.

    `next` beside the newest jobs is the `after` with which `GET /v1/jobs` lists older ones; null where there are none.
    """
    if service.is_stopped:
        raise Draining("the server is stopping")
    watch: QueueWatch = request.app.state.queue_watch
    listener = Listener(owner_of(request), relative_or_whole(request, service.settings))
    told = watch.told(listener, request.headers.get("last-event-id", ""))
    return EventStream(told, places_to_wait(request), listener.owner)


@dataclass(frozen=True, slots=True)
class Listener:
    """Whose jobs are told of, and what links begin with."""

    owner: str
    base_url: str

    def hears(self, change: Change) -> bool:
        """Tell whether a change is this listener's business."""
        return not self.owner or change.owner == self.owner


@dataclass(frozen=True, slots=True)
class _Kept:
    """The newest change of a job, and its words; a mark stands where each listener's own address belongs."""

    number: int
    change: Change
    words: bytes


class QueueWatch:
    """The one watcher of an application; it lives in the event loop and looks in a thread while anybody listens."""

    def __init__(self, service: VideoService) -> None:
        self._service = service
        self._mark = secrets.token_hex(16)  # no caller can know it, so no job has it in its words
        self._begin_anew()
        self._listeners: list[Listener] = []
        self._task: asyncio.Task[None] | None = None

    def _begin_anew(self) -> None:
        self._epoch = secrets.token_hex(4)
        self._number = self._forgotten = 0
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._put_off: dict[str, Change] = {}
        self._is_ready = self._is_over = False
        self._news = asyncio.Event()

    async def told(self, listener: Listener, last_id: str) -> AsyncIterator[bytes]:
        """Yield events until the server stops or the listener goes."""
        with self._listening(listener):
            yield b"retry: 1000\n\n"
            while not self._is_ready and not self._is_over:
                if not await _happens(self._news, HEARTBEAT_SECONDS):
                    yield b": still here\n\n"
            epoch, seen, spoken = self._epoch, self._place_of(last_id), time.monotonic()
            while epoch == self._epoch and not self._is_over:
                news, number = self._news, self._number  # before anything is read: what changes meanwhile comes again
                try:
                    told = await self._told_since(listener, seen, number)
                except UpscaleError as err:  # the database does not answer: the stream waits for it
                    get_logger().warning("queue_not_told", detail=str(err), failure=type(err).__name__)
                    yield b": still here\n\n"
                    await asyncio.sleep(_AFTER_FAULT_SECONDS)
                    continue
                seen = number
                if told:
                    yield told
                    spoken = time.monotonic()
                if not await _happens(news, spoken + HEARTBEAT_SECONDS - time.monotonic()):
                    spoken = time.monotonic()
                    yield b": still here\n\n"

    @contextmanager
    def _listening(self, listener: Listener) -> Iterator[None]:
        self._listeners.append(listener)
        if self._task is None or self._task.done():
            self._begin_anew()
            self._task = asyncio.create_task(self._look_on())
        try:
            yield
        finally:
            self._listeners.remove(listener)

    def _place_of(self, last_id: str) -> int | None:
        """Return the number of an event id, None where it is none that can be gone on from."""
        epoch, _, number = last_id.partition("-")
        if epoch != self._epoch or not number.isdecimal() or len(number) > 18:
            return None
        return int(number) if self._forgotten <= int(number) <= self._number else None

    # ------------------------------------------------------------------------------------------------ looking

    async def _look_on(self) -> None:
        heard_at = time.monotonic()
        try:
            while not self._service.is_stopped and (self._listeners or time.monotonic() - heard_at < LINGER_SECONDS):
                began = time.monotonic()
                heard_at = began if self._listeners else heard_at
                await self._look_safely()
                # Never sooner, so that no job is told of more than four times a second.
                await asyncio.sleep(max(LOOK_SECONDS / 2, began + LOOK_SECONDS - time.monotonic()))
        finally:  # whoever listens comes again and finds another watcher, or a server that stops
            self._is_over = True
            self._wake()

    async def _look_safely(self) -> None:
        try:
            await self._look()
        except Exception as err:  # noqa: BLE001 - the one watcher outlives whatever one look meets
            if not self._service.is_stopped:
                get_logger().warning("queue_not_watched", detail=str(err), failure=type(err).__name__)
                await asyncio.sleep(_AFTER_FAULT_SECONDS)

    async def _look(self) -> None:
        if not self._is_ready:
            await run_in_threadpool(self._service.news.begin)
            self._is_ready = True
            self._wake()
            return
        changes = {**self._put_off, **{one.job_id: one for one in await run_in_threadpool(self._service.news.look)}}
        if not changes:
            return
        kept = await run_in_threadpool(self._in_words, list(changes.values()))
        for one in kept:
            self._kept[one.change.job_id] = one
            self._kept.move_to_end(one.change.job_id)
        self._number += len(kept)
        while len(self._kept) > MOST_KEPT:
            self._forgotten = self._kept.popitem(last=False)[1].number
        self._wake()

    def _wake(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    # ------------------------------------------------------------------------------------------------ words

    async def _told_since(self, listener: Listener, seen: int | None, number: int) -> bytes:
        """Return what a listener has not heard yet; all there is where that is not known any more."""
        if seen is None or seen < self._forgotten:
            return await run_in_threadpool(self._snapshot, listener, number)
        return self._since(listener, seen) if seen < number else b""

    def _since(self, listener: Listener, seen: int) -> bytes:
        """Return what has changed since an event, of each job the newest."""
        found: list[_Kept] = []
        for one in reversed(self._kept.values()):
            if one.number <= seen:
                break
            if listener.hears(one.change):
                found.append(one)
        address = json.dumps(listener.base_url)[1:-1].encode()
        return b"".join(one.words for one in reversed(found)).replace(self._mark.encode(), address)

    def _in_words(self, changes: list[Change]) -> list[_Kept]:
        """Return changes in words; one that finds none now is tried again at the next look, and delays no other."""
        found: list[_Kept] = []
        for change in changes:
            try:
                told = self._told_of(change)
            except Exception as err:  # noqa: BLE001 - whatever is wrong with one job is nothing to the others
                if change.job_id not in self._put_off:
                    get_logger().warning("job_not_told", job_id=change.job_id, detail=str(err))
                self._put_off[change.job_id] = change
                continue
            self._put_off.pop(change.job_id, None)
            number = self._number + len(found) + 1
            found.append(_Kept(number, change, self._event(number, *told)))
        return found

    def _told_of(self, change: Change) -> tuple[str, str]:
        if change.job is None:
            return "removed", f'{{"id":"{change.job_id}"}}'
        known = Known({change.job_id: change.place}, told_of(self._service, [change.job]))
        view = job_view(self._service, change.job, self._mark, known)
        return "job", view.model_dump_json()

    def _snapshot(self, listener: Listener, number: int) -> bytes:
        """Return the newest jobs of a listener as an event; one that finds no words is left out."""
        service = self._service
        found, following = service.jobs(None, SNAPSHOT_JOBS, None, listener.owner)
        known = known_of(service, found)
        views = [text for job in found if (text := self._shown(job, listener.base_url, known))]
        return self._event(number, "jobs", f'{{"jobs":[{",".join(views)}],"next":{json.dumps(following)}}}')

    def _shown(self, job: Job, base_url: str, known: Known) -> str:
        try:
            return job_view(self._service, replace(job, plan=None), base_url, known).model_dump_json()
        except Exception as err:  # noqa: BLE001 - as above
            get_logger().warning("job_not_told", job_id=job.id, detail=str(err))
            return ""

    def _event(self, number: int, kind: str, text: str) -> bytes:
        return f"id: {self._epoch}-{number}\nevent: {kind}\ndata: {text}\n\n".encode()


async def _happens(news: asyncio.Event, seconds: float) -> bool:
    """Wait for news, so many seconds at most; tell whether there are any."""
    try:
        async with asyncio.timeout(max(0.0, seconds)):
            await news.wait()
    except TimeoutError:
        return False
    return True
