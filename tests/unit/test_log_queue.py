"""Logging holds nobody up: not a full pipe, not a slow disk; and the end of a process loses no line."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from upscale_server.log_queue import LogQueue

LINES = 3000
BUSY_SERVER = f"""
import sys
from pathlib import Path
from upscale_server import logs
logs.PATIENCE_MS = 20
logs.configure_server("info", "json", Path(sys.argv[1]))
for number in range({LINES}):
    logs.get_logger().info("request", number=number)
print("went on", flush=True)
"""


class Held:
    """A sink that takes its first line when it is let go."""

    def __init__(self) -> None:
        self.has_begun, self.may_go_on = threading.Event(), threading.Event()
        self.lines: list[str] = []

    def write(self, text: str) -> int:
        """Wait, then keep the line."""
        self.has_begun.set()
        self.may_go_on.wait()
        self.lines.append(text)
        return len(text)

    def flush(self) -> None:
        """Do nothing."""


class Closed(Held):
    """A sink that cannot be written to."""

    def write(self, text: str) -> int:
        """Refuse."""
        raise OSError(28, f"no space left for {text}")


def test_who_logs_never_waits_and_what_is_too_much_is_counted() -> None:
    """Lines beyond the bound are dropped while a sink hangs; their number is told when it goes on."""
    sink, dropped = Held(), list[int]()
    queue = LogQueue([sink], dropped.append, most=3)
    queue.write("first")
    sink.has_begun.wait()

    for number in range(10):
        queue.write(f"line {number}")
    waited_for = queue.drain(0.01)
    sink.may_go_on.set()
    queue.close(30)

    assert not waited_for
    assert ["first", "line 0", "line 1", "line 2"] == sink.lines
    assert [7] == dropped


def test_a_sink_that_refuses_costs_the_others_nothing() -> None:
    """A full disk does not silence stderr."""
    sink = Held()
    sink.may_go_on.set()
    queue = LogQueue([Closed(), sink], lambda _: None)

    queue.write("a")
    queue.write("b")
    queue.close(30)

    assert ["a", "b"] == sink.lines


@pytest.mark.slow
def test_a_stderr_that_nobody_reads_stops_nothing_and_the_file_has_every_line(tmp_path: Path) -> None:
    """More is logged than a pipe holds; the process goes on, ends by itself, and its file is whole."""
    command = [sys.executable, "-c", BUSY_SERVER, str(tmp_path / "server.log")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as server:
        assert server.stdout is not None
        said = server.stdout.read()
        code = server.wait()

    assert (b"went on\n", 0) == (said, code)
    assert LINES == len((tmp_path / "server.log").read_text().splitlines())
