"""Structured logs on stderr, and of the servers in a file too: an event name and facts, for people or for machines.

It decides how log lines look; what is logged is the business of the caller. stdout is never written to.
"""

from __future__ import annotations

import logging
import re
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import structlog

from upscale_server.events import Event, FramesDone
from upscale_server.log_file import RotatedFile
from upscale_server.settings import LogLevel, LogStyle


class _CurrentStderr:
    """Write to whatever `sys.stderr` is now: a progress bar or a test may have replaced it since the start."""

    def write(self, text: str) -> int:
        """Pass the text on."""
        return sys.stderr.write(text)

    def flush(self) -> None:
        """Pass the flush on."""
        sys.stderr.flush()


class Sink(Protocol):
    """Where lines go; each call of `write` is one whole line."""

    def write(self, text: str, /) -> int:
        """Take a line."""

    def flush(self) -> None:
        """Let go of what is held back."""


class _Both:
    """Write to stderr and to the servers' file; neither a closed terminal nor a full disk may stop a server."""

    def __init__(self, file: RotatedFile) -> None:
        self._sinks: tuple[Sink, ...] = (_CurrentStderr(), file)

    def write(self, text: str) -> int:
        """Pass the line on."""
        for sink in self._sinks:
            with suppress(OSError, ValueError):  # ValueError: stderr was closed
                sink.write(text)
        return len(text)

    def flush(self) -> None:
        """Pass the flush on."""
        for sink in self._sinks:
            with suppress(OSError, ValueError):
                sink.flush()


class _FromLibraries(logging.Handler):
    """Turn what libraries tell Python's own log into events of ours: one place to look, one form."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log a record of another library."""
        get_logger(library=record.name).log(
            record.levelno, "library_message", text=record.getMessage(), exc_info=record.exc_info
        )


def configure_server(level: LogLevel, style: LogStyle, path: Path) -> None:
    """Send all structured events, and the warnings of libraries, to stderr and to a file that is rotated.

    Raises:
        StorageError, DiskFull: the file cannot be written.
    """
    configure(level, style, _Both(RotatedFile(path)))
    root = logging.getLogger()
    root.handlers = [_FromLibraries(level=logging.WARNING)]
    root.setLevel(logging.WARNING)


def configure(level: LogLevel, style: LogStyle, sink: Sink | None = None) -> None:
    """Send all structured events to stderr.

    Args:
        level: least severe event shown.
        style: `console` for `key=value` lines, `json` for one object per line.
        sink: another place to write to.
    """
    renderer: Any = structlog.processors.JSONRenderer()  # structlog has no common type for its renderers
    if style == "console":
        renderer = structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"], bool_as_flag=False)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.WriteLoggerFactory(sink or _CurrentStderr()),  # type: ignore[arg-type]
        cache_logger_on_first_use=False,
    )


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
