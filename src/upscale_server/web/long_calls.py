"""Runs what may take minutes for a caller who waits, in threads of its own, and stops it where nobody waits any more.

The short calls of all other routes share the framework's threads and never queue behind these.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from starlette.requests import Request

from upscale_server.errors import Canceled, Draining
from upscale_server.service import VideoService
from upscale_server.stopping import Stop
from upscale_server.web.doorway import ClientGone

LOOK_SECONDS = 0.25
"""Between two looks whether the caller is still there."""

Found = TypeVar("Found")


class LongCalls:
    """The threads for long calls of one application.

    Args:
        most: how many there are; whoever calls bounds how many wait for them.
    """

    def __init__(self, most: int) -> None:
        self._limiter = CapacityLimiter(most)

    async def run(self, request: Request, service: VideoService, call: Callable[[Stop], Found]) -> Found:
        """Return what a call returns that asks now and then whether it should stop.

        Args:
            request: whose body has been read.
            service: a server that drains stops it, too.
            call: takes minutes at most.

        Raises:
            ClientGone: the caller hung up.
            Draining: the server is stopping.
        """
        gone = threading.Event()

        def stop() -> str:
            if service.is_draining:
                return "the server is stopping"
            return "the caller hung up" if gone.is_set() else ""

        watch = asyncio.create_task(_watch(request, gone))
        try:
            return await run_sync(call, stop, limiter=self._limiter)
        except Canceled as err:
            if gone.is_set():
                raise ClientGone from err
            raise Draining("the server is stopping; ask again after its restart") from err
        finally:
            gone.set()  # also where this task is cancelled: the thread ends soon then
            watch.cancel()
            with suppress(asyncio.CancelledError):
                await watch


async def _watch(request: Request, gone: threading.Event) -> None:
    while not await request.is_disconnected():  # noqa: ASYNC110 - the server tells whoever asks, and nobody else
        await asyncio.sleep(LOOK_SECONDS)
    gone.set()
