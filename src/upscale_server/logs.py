"""Structured logs on stderr, and of the servers in a file too: an event name and facts, for people or for machines.

It decides how log lines look; what is logged is the business of the caller. stdout is never written to.
"""

from __future__ import annotations

import atexit
import logging
import os
import re
import select
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import structlog

from upscale_server.errors import DiskFull, StorageError
from upscale_server.events import Event, FramesDone
from upscale_server.log_file import RotatedFile
from upscale_server.log_queue import LogQueue, Sink
from upscale_server.redaction import redacted_in
from upscale_server.settings import LogLevel, LogStyle

PATIENCE_MS = 1000
"""How long a server's line waits once for whoever reads stderr."""
LAST_LINES_SECONDS = 3.0
"""How long the end of a server waits for its last lines to be written."""


class _CurrentStderr:
    """Write to whatever `sys.stderr` is now: a progress bar or a test may have replaced it since the start."""

    def write(self, text: str) -> int:
        """Pass the text on."""
        return sys.stderr.write(text)

    def flush(self) -> None:
        """Pass the flush on."""
        sys.stderr.flush()


class UnhinderedStderr(_CurrentStderr):
    """Write to stderr, but never wait long for its reader: a full pipe would otherwise stop a server for ever."""

    def __init__(self) -> None:
        self._patience = PATIENCE_MS

    def write(self, text: str) -> int:
        """Write a line; it is lost where nobody reads."""
        try:
            number = sys.stderr.fileno()
        except (OSError, ValueError):  # a test's, which is no file
            return super().write(text)
        left = text.encode("utf-8", "backslashreplace")
        with suppress(OSError):
            while left and self._has_room(number):
                # What is not longer than this finds room in a pipe that has any.
                left = left[os.write(number, left[: select.PIPE_BUF]) :]
        return len(text)

    def flush(self) -> None:
        """Do nothing: each line is written at once."""

    def _has_room(self, number: int) -> bool:
        watched = select.poll()
        watched.register(number, select.POLLOUT)
        found = bool(watched.poll(self._patience))
        self._patience = PATIENCE_MS if found else 0  # the next line does not wait for the same reader again
        return found


class _FromLibraries(logging.Handler):
    """Turn what libraries tell Python's own log into events of ours: one place to look, one form."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log a record of another library."""
        get_logger(library=record.name).log(
            record.levelno, "library_message", text=record.getMessage(), exc_info=record.exc_info
        )


def configure_server(level: LogLevel, style: LogStyle, path: Path) -> LogQueue:
    """Send all structured events, and the warnings of libraries, to stderr and to a file that is rotated.

    They are written by a thread, which the end of the process waits for; who wants to see them at once drains it.

    Raises:
        StorageError, DiskFull: the file cannot be written.
    """
    queue = LogQueue((RotatedFile(path), UnhinderedStderr()), _tell_of_dropped)
    atexit.register(queue.drain, LAST_LINES_SECONDS)
    configure(level, style, queue)
    root = logging.getLogger()
    root.handlers = [_FromLibraries(level=logging.WARNING)]
    root.setLevel(logging.WARNING)
    return queue


def configure_worker(level: LogLevel, style: LogStyle, path: Path | None, about: Mapping[str, str]) -> None:
    """Send the events of a server's worker process where the server's own go, at once: a worker ends without a word.

    Args:
        level: least severe event that is told.
        style: as of `configure`.
        path: the server's log, None for stderr alone.
        about: facts that every event gets, of whichever thread: what is being worked on; the worker changes them.
    """
    sinks: list[Sink] = [UnhinderedStderr()]
    with suppress(StorageError, DiskFull):  # the server opened it before; what a worker has to say goes to stderr
        sinks += [RotatedFile(path)] if path else []
    configure(level, style, _Each(sinks), about)


class _Each:
    """Write to several places, each as well as it can."""

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._sinks = sinks

    def write(self, text: str) -> int:
        """Pass the text on."""
        for sink in self._sinks:
            with suppress(OSError, ValueError):
                sink.write(text)
        return len(text)

    def flush(self) -> None:
        """Do nothing: each line is written at once."""


def _tell_of_dropped(count: int) -> None:
    get_logger().warning("log_lines_dropped", count=count)


def configure(
    level: LogLevel, style: LogStyle, sink: Sink | None = None, about: Mapping[str, str] | None = None
) -> None:
    """Send all structured events to stderr.

    Args:
        level: least severe event shown.
        style: `console` for `key=value` lines, `json` for one object per line.
        sink: another place to write to.
        about: facts that every event gets, as they are at its moment.
    """

    def with_about(_logger: object, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
        return {**(about or {}), **event}

    renderer: Any = structlog.processors.JSONRenderer()  # structlog has no common type for its renderers
    if style == "console":
        renderer = structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"], bool_as_flag=False)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            with_about,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _without_secrets,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.WriteLoggerFactory(sink or _CurrentStderr()),  # type: ignore[arg-type]
        cache_logger_on_first_use=False,
    )


def _without_secrets(_logger: object, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    return {name: redacted_in(value) for name, value in event.items()}


def bound_facts() -> dict[str, str]:
    """Return what is bound to this thread's events now, such as the job and the request that it is worked for."""
    return {name: str(value) for name, value in structlog.contextvars.get_contextvars().items()}


def get_logger(**facts: object) -> structlog.typing.FilteringBoundLogger:
    """Return a logger that adds `facts` to each event."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(**facts)
    return logger


def log_event(event: Event) -> None:
    """Log what happened in a job: an observer, at level `info`, since the command line shows warnings by itself.

    Frames are too many for a log and are left to the progress line.
    """
    if isinstance(event, FramesDone):
        return
    name = re.sub(r"(?<!^)(?=[A-Z])", "_", type(event).__name__).lower()
    get_logger().info(name, **asdict(event))
