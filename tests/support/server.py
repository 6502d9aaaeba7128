"""Starts real servers as a user does, in processes of their own, and serves them sources from loopback.

Everything waits for facts: a line in the log, an answer, the end of a process.
"""

from __future__ import annotations

import functools
import re
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.support.cli_runner import COMMAND, environment_for

READY_SECONDS = 240
"""Longest start: processes, imports and loading on a busy machine; a limit and no expectation."""
STOP_SECONDS = 60
LOOPBACK = {"UPSCALE_FETCH__ALLOWED_NETWORKS": '["127.0.0.0/8", "::1/128"]'}
"""Lets a server fetch what `serving` serves."""


@dataclass(slots=True)
class Server:
    """A running server; `lines` is what it has said on stderr so far."""

    process: subprocess.Popen[str]
    state: Path
    lines: list[str] = field(default_factory=list)
    url: str = ""
    _said: threading.Condition = field(default_factory=threading.Condition)
    _reader: threading.Thread | None = None

    def read(self) -> None:
        """Collect stderr until the process ends."""
        assert self.process.stderr is not None
        with self.process.stderr as lines:
            for line in lines:
                with self._said:
                    self.lines.append(line.rstrip("\n"))
                    self._said.notify_all()
        with self._said:
            self.process.wait()
            self._said.notify_all()

    def listen(self) -> None:
        """Begin to collect."""
        self._reader = threading.Thread(target=self.read, daemon=True)
        self._reader.start()

    def line(self, pattern: str, seconds: float = READY_SECONDS) -> re.Match[str]:
        """Return the first line that matches, as soon as there is one."""

        def found() -> re.Match[str] | None:
            return next((match for line in self.lines if (match := re.search(pattern, line))), None)

        with self._said:
            self._said.wait_for(lambda: found() or self.process.poll() is not None, seconds)
            match = found()
        if match is None:
            raise AssertionError(f"the server has not said {pattern!r}:\n" + "\n".join(self.lines))
        return match

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, wait for the end and return the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(STOP_SECONDS)
        if self._reader is not None:
            self._reader.join(STOP_SECONDS)
        return code


@contextmanager
def starting(
    state: Path, *flags: str | Path, environment: Mapping[str, str] | None = None, command: Sequence[str] | None = None
) -> Iterator[Server]:
    """Start a video server on a free port; it is stopped when the block ends, and must stop when it is told.

    Args:
        state: its state folder.
        flags: further flags of `upscale serve video`.
        environment: further variables.
        command: what to run in place of `upscale serve video`.
    """
    arguments = [*(command or (*COMMAND, "serve", "video")), "--port", "0", *map(str, flags)]
    variables = environment_for({"UPSCALE_STATE_DIR": str(state), **LOOPBACK, **(environment or {})})
    process = subprocess.Popen(
        arguments, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=variables
    )
    server = Server(process, state)
    server.listen()
    try:
        yield server
    finally:
        try:
            server.stop()
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise


@contextmanager
def running(state: Path, *flags: str | Path, environment: Mapping[str, str] | None = None) -> Iterator[Server]:
    """Start a video server and wait until its lanes are loaded."""
    with starting(state, *flags, environment=environment) as server:
        server.url = url_of(server)
        server.line(r"ready at http")
        yield server


def url_of(server: Server) -> str:
    """Return the address that a server says it listens on."""
    return server.line(r"server_starting.* url=(http://\S+)")[1]


class _Quiet(SimpleHTTPRequestHandler):
    """Serves a folder and says nothing."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Serve a folder on loopback and give its address, without a slash at the end."""
    handler = functools.partial(_Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{httpd.server_address[1]}"
        finally:
            httpd.shutdown()
            thread.join()
