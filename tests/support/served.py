"""Serve a video service on loopback in a thread: real HTTP, real guard, real database, and workers of one's choice.

`IdlePool` stands in for the worker processes where no media is opened; it never claims to have done anything.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI

from upscale_server.errors import Canceled, UpscaleError
from upscale_server.jobs.carry import about, object_key
from upscale_server.jobs.job import Outcome
from upscale_server.media.look import Looked, look_at
from upscale_server.media.poster import poster_of
from upscale_server.plan import Plan, make_plan
from upscale_server.server_settings import Fetch
from upscale_server.service import VideoService
from upscale_server.settings import Settings
from upscale_server.stopping import Stop
from upscale_server.storage.base import UploadMemory
from upscale_server.web.serve import server_of
from upscale_server.web.video_app import create_app
from upscale_server.wish import Limits, Wish
from upscale_server.workers.status import LaneStatus, PoolStatus

LOADED = PoolStatus(ready=True, fault=None, lanes=(LaneStatus(0, 1, "ready", "openvino", "CPU", "f32", "fast"),))
LOADING = PoolStatus(ready=False, fault=None, lanes=(LaneStatus(0, 1, "starting"),))
BROKEN = PoolStatus(ready=False, fault="the model file is damaged", lanes=())


NO_TLS: dict[str, Any] = {"trust_env": False, "verify": False}
"""For clients of plain http on loopback: to load the authorities' certificates costs more than most tests."""


@dataclass(slots=True)
class IdlePool:
    """Workers that say how they are and do nothing; `hands_off` keeps the runner from giving them work."""

    said: PoolStatus = LOADED
    hands_off: bool = True
    asked: int = field(default=0)

    def start(self) -> None:
        """Start nothing."""

    def close(self, drain_seconds: float = 0.0) -> None:
        """Close nothing."""

    def status(self) -> PoolStatus:
        """Return what it was told to say."""
        if self.hands_off and threading.current_thread().name == "jobs-runner":
            return LOADING
        return self.said

    def most_lanes(self, task: str | None) -> int:
        """Return one lane, whatever the task is."""
        del task
        return 1

    def task_lanes(self) -> dict[str, int]:
        """Return one lane for each task."""
        return dict.fromkeys(("SD2HD", "SD24K", "HD24K", "4K28K"), 1)


@dataclass(slots=True)
class LookingPool(IdlePool):
    """Workers that also look at files and plan, in this process, as the desk does in its own; lanes do nothing."""

    def look(self, source: Path, stop: Stop) -> Looked:
        """Look at a file."""
        if stop():
            raise Canceled(stop())
        return look_at(source)

    def poster(self, source: Path, stop: Stop) -> bytes:
        """Make a picture of a file."""
        self.asked += 1
        if stop():
            raise Canceled(stop())
        return poster_of(source)

    def plan(self, source: Path, wish: Wish, limits: Limits, stop: Stop) -> Plan:
        """Plan here."""
        if stop():
            raise Canceled(stop())
        return make_plan(source, wish, limits)


@dataclass(frozen=True, slots=True)
class Served:
    """A running server: its service, its address, a client that talks to it, what a first signal does, its app."""

    service: VideoService
    url: str
    client: httpx.Client
    stop: Callable[[], None]
    app: FastAPI

    def post_raw(self, path: str, body: bytes | str, kind: str = "application/json") -> httpx.Response:
        """Post a body as it is."""
        return self.client.post(path, content=body, headers={"Content-Type": kind})


def settings_in(folder: Path, **more: Any) -> Settings:  # noqa: ANN401 - whatever settings hold
    """Return settings whose state is in a folder and that allow sources on loopback."""
    return Settings(**{"state_dir": folder, "fetch": Fetch(allowed_networks=("127.0.0.0/8",)), **more})


@contextmanager
def serving(service: VideoService, **headers: str) -> Iterator[Served]:
    """Serve until the block ends, then drain."""
    door = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{door.getsockname()[1]}"
    app = create_app(service)
    server = server_of(app)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [door]}, name="server")

    def stop() -> None:
        server.should_exit = True

    thread.start()
    try:
        with httpx.Client(base_url=url, headers=headers, timeout=60, **NO_TLS) as client:
            client.get("/livez").raise_for_status()  # waits in the door's queue until the server is there
            yield Served(service, url, client, stop, app)
    finally:
        stop()
        thread.join()


def finish_next(service: VideoService, folder: Path, content: bytes = b"0123456789") -> str:
    """End the job that waits longest with success, as a runner would, and return its id; its result is these bytes."""
    claim = service._store.claim(service._name, 60)
    if claim is None:
        raise LookupError("no job waits")
    made = folder / f"{claim.job.id}.mp4"
    made.write_bytes(content)
    key = object_key(claim.job.id)
    service.results._objects.put(made, key, about(claim.job), UploadMemory(None, lambda _: None))
    service._store.finish(claim, Outcome(key, len(content), 1.5, audit={"ok": True}, report={"model": "fast"}))
    return claim.job.id


def fail_next(service: VideoService, error: UpscaleError) -> str:
    """End the job that waits longest with a fault and return its id."""
    claim = service._store.claim(service._name, 60)
    if claim is None:
        raise LookupError("no job waits")
    service._store.fail(claim, error.as_record(claim.job.id))
    return claim.job.id
