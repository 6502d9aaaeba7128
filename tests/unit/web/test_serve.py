"""How a server ends: what a signal may do, and when."""

from __future__ import annotations

import resource
import signal
import threading
from io import StringIO
from unittest.mock import Mock

import pytest
import structlog
import uvicorn

from upscale_server.web import serve
from upscale_server.web.guard import Bounds

ENOUGH_SECONDS = 20
"""A limit: what waits for itself never ends."""


class _Interrupted(StringIO):
    """A sink that a signal comes to while a line is written, in the thread that writes it."""

    def __init__(self, server: uvicorn.Server) -> None:
        super().__init__()
        self._server = server

    def write(self, text: str, /) -> int:
        """Take a line, after the signal."""
        self._server.handle_exit(signal.SIGTERM, None)
        return super().write(text)


def test_a_signal_that_meets_a_log_line_half_written_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread that it interrupts holds the log's lock: a handler that logs would wait for itself for ever."""
    server = serve.DrainingServer(uvicorn.Config(Mock()), Mock())
    sink = _Interrupted(server)
    logger = structlog.wrap_logger(structlog.WriteLogger(sink))
    monkeypatch.setattr(serve, "get_logger", lambda: logger)
    writing = threading.Thread(target=logger.info, args=("request",), daemon=True)

    writing.start()
    writing.join(ENOUGH_SECONDS)

    assert not writing.is_alive()
    assert server.should_exit


@pytest.mark.parametrize(
    ("limits", "expected"),
    [((256, 4096), 1116), ((256, 1000), 1000), ((256, resource.RLIM_INFINITY), 1116), ((2000, 4096), 2000)],
    ids=["raised", "as far as it may", "no hard limit", "enough"],
)
def test_there_is_a_handle_for_each_connection(
    monkeypatch: pytest.MonkeyPatch, limits: tuple[int, int], expected: int
) -> None:
    """With a soft limit of 256 a server would accept nobody any more while the guard still lets people in."""
    now = [limits]
    monkeypatch.setattr(resource, "getrlimit", lambda _: now[0])
    monkeypatch.setattr(resource, "setrlimit", lambda _, wanted: now.__setitem__(0, wanted))

    serve.allow_handles(Bounds(connections=4, reserve=600))

    assert (expected, limits[1]) == now[0]
