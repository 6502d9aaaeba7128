"""Structured logs on stderr: an event name and facts, for people or for machines.

It decides how log lines look; what is logged is the business of the caller. stdout is never written to.
"""

from __future__ import annotations

import logging
import re
import sys
from dataclasses import asdict
from typing import Any, TextIO

import structlog

from upscale_server.events import Event, FramesDone
from upscale_server.settings import LogLevel, LogStyle


class _CurrentStderr:
    """Write to whatever `sys.stderr` is now: a progress bar or a test may have replaced it since the start."""

    def write(self, text: str) -> int:
        """Pass the text on."""
        return sys.stderr.write(text)

    def flush(self) -> None:
        """Pass the flush on."""
        sys.stderr.flush()


def configure(level: LogLevel, style: LogStyle, stream: TextIO | None = None) -> None:
    """Send all structured events to stderr.

    Args:
        level: least severe event shown.
        style: `console` for `key=value` lines, `json` for one object per line.
        stream: another place to write to, for the servers' log file.
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
        logger_factory=structlog.PrintLoggerFactory(stream or _CurrentStderr()),  # type: ignore[arg-type]
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
