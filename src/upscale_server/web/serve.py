"""Runs an application on a socket until it is told to stop, then drains it.

uvicorn speaks HTTP, `guard` bounds what a connection may cost. After the first SIGTERM or Ctrl-C no job is taken and
running segments end, while the door stays open: who asks is told so, and those who wait are answered. A second one ends
at once.
"""

from __future__ import annotations

import logging
import os
import resource
import socket
from types import FrameType

import uvicorn
from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool

from upscale_server.logs import get_logger
from upscale_server.web.app import Service
from upscale_server.web.guard import HEAD_BYTES, Bounds, guarded_by

LAST_ANSWERS_SECONDS = 15
"""How long answers may take to be read when everything else has stopped."""
OTHER_HANDLES = 512
"""Handles of a server that are no connections: files, databases, pipes to its workers."""


class DrainingServer(uvicorn.Server):
    """uvicorn, with our order of ending."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service
        self._signal: int | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Note a signal. It is not raised again at the end, so that a drained server exits with 0.

        Nothing is logged here: it runs between any two steps of the event loop's thread, which may hold the log's lock.
        """
        del frame
        if self.should_exit:
            # Nothing durable is lost by it: a job goes on from its finished segments, and our children end with us.
            os._exit(128 + sig)
        self._signal = sig
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Make sure of a handle for each connection that the guard lets in, and open the door."""
        allow_handles(Bounds.of(self._service.settings.http))
        await super().startup(sockets=sockets)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain the service while everybody is still answered, then close the door and what is left."""
        get_logger().info("stopping", signal=self._signal)
        await run_in_threadpool(self._service.stop)
        await super().shutdown(sockets)


class _ToOurLog(logging.Handler):
    """Pass on what uvicorn says, which is little and never about a request."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log one record."""
        if record.exc_info is None:
            get_logger().warning("http_server", message=record.getMessage()[:500])


def serve(app: FastAPI, door: socket.socket) -> None:
    """Serve until a signal, then drain.

    Args:
        app: made by `create_app`.
        door: a listening socket; it is closed at the end.
    """
    server_of(app).run(sockets=[door])


def allow_handles(bounds: Bounds) -> None:
    """Raise this process's soft limit of open files, often 1024, to what so many connections take, or to the hard one.

    Beyond it no connection is accepted at all, and probes wait with all others.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = bounds.connections + bounds.reserve + OTHER_HANDLES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def server_of(app: FastAPI) -> uvicorn.Server:
    """Return the server that has not begun yet; setting its `should_exit` does what a first signal does."""
    return DrainingServer(config_of(app), app.state.service)


def config_of(app: FastAPI) -> uvicorn.Config:
    """Return how uvicorn serves an application of ours."""
    settings = app.state.service.settings.http
    logger = logging.getLogger("uvicorn")
    logger.handlers, logger.propagate = [_ToOurLog(logging.WARNING)], False
    return uvicorn.Config(
        app,
        http=guarded_by(Bounds.of(settings)),
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        h11_max_incomplete_event_size=HEAD_BYTES,
        timeout_keep_alive=settings.keep_alive_seconds,
        timeout_graceful_shutdown=LAST_ANSWERS_SECONDS,
    )
