"""A program that is fed and asked for one answer: it may hang, fail or vanish, and it never outlives us.

It knows no samples and no scores. The trap: whoever waits for a stranger's program is silent meanwhile, so every wait
here is cut into slices with a sign of life between them.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from typing import IO

from upscale_server.errors import UpscaleError

SLICE_SECONDS = 0.25
"""Between two signs of life while the program is waited for."""
_SILENT_SECONDS = 60.0
"""Longest without a byte taken or given: a pair of 8K pictures takes libvmaf four seconds on two slow cores."""
_END_SECONDS = 5.0
_TOLD = 400
"""Characters of the program's complaint that are told."""
_KEPT = ("PATH", "LD_LIBRARY_PATH")
"""All of our environment that it gets: the rest may hold keys and secrets, which are none of its business."""
_STARTER = """
import ctypes, os, sys
getattr(ctypes.CDLL(None), "prctl", lambda *_: 0)(1, 9)
os.nice(10)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""
"""Becomes the program, which the kernel then kills when we die (1 is PR_SET_PDEATHSIG, see prctl(2)): a worker may be
killed itself, and what hangs does not notice that its input ended. As `preexec_fn` it might meet a held lock."""


def plain_environment() -> dict[str, str]:
    """Return the environment for a program that needs nothing of ours."""
    return {name: os.environ[name] for name in _KEPT if name in os.environ}


class Child:
    """The program at work; `close` ends it. One thread at a time, which outlives it.

    Args:
        command: the program and what it is told.
        beat: called at least four times a second while it is waited for; what it raises ends the wait.

    Raises:
        UpscaleError: it cannot be started.
    """

    def __init__(self, command: list[str], beat: Callable[[], object]) -> None:
        self._beat = beat
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the program that writes it
        starter = [sys.executable, "-I", "-S", "-c", _STARTER, str(os.getpid())]
        try:
            # In a group of its own: an interrupt at the terminal is ours to answer.
            self._process = subprocess.Popen(  # noqa: S603 - the command is ours
                [*starter, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said,
                env=plain_environment(), process_group=0,
            )  # fmt: skip
        except OSError as err:
            self._said.close()
            raise UpscaleError(f"the program that measures quality cannot be started: {err}") from err
        for pipe in (self._stdin, self._stdout):
            os.set_blocking(pipe.fileno(), False)

    def feed(self, samples: memoryview) -> None:
        """Give it bytes, all of them.

        Raises:
            UpscaleError: it ended, or takes nothing any more.
        """
        rest, pipe = samples.cast("B"), self._stdin.fileno()
        while rest:
            self._await(pipe, select.POLLOUT)
            with suppress(BlockingIOError):
                try:
                    rest = rest[os.write(pipe, rest) :]
                except BrokenPipeError as err:
                    raise self._failed() from err

    def answer(self) -> bytes:
        """Return what it says now that it has been given everything.

        Raises:
            UpscaleError: it failed, or says nothing.
        """
        with suppress(OSError):  # its end is told by its exit status
            self._stdin.close()
        pipe, parts = self._stdout.fileno(), [b"-"]
        while parts[-1]:
            self._await(pipe, select.POLLIN)
            parts.append(os.read(pipe, 1 << 16))
        if self._status() != 0:
            raise self._failed()
        return b"".join(parts[1:])

    def close(self) -> None:
        """End the program and whatever it started, and remove what it wrote; safe twice."""
        if self._process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        for pipe in (self._stdin, self._stdout):
            with suppress(OSError):
                pipe.close()
        self._said.close()

    @property
    def _stdin(self) -> IO[bytes]:
        assert self._process.stdin is not None  # noqa: S101 - it was asked for
        return self._process.stdin

    @property
    def _stdout(self) -> IO[bytes]:
        assert self._process.stdout is not None  # noqa: S101 - it was asked for
        return self._process.stdout

    def _await(self, pipe: int, event: int) -> None:
        """Wait until a pipe can be used."""
        poll = select.poll()
        poll.register(pipe, event)
        ends_at = time.monotonic() + _SILENT_SECONDS
        while not poll.poll(SLICE_SECONDS * 1000):
            self._beat()
            if time.monotonic() >= ends_at:
                raise UpscaleError(
                    f"the program that measures quality did nothing for {_SILENT_SECONDS:g} s and was ended"
                )

    def _status(self) -> int | None:
        """Return how it ended, None where it closed its pipe and lives on."""
        with suppress(subprocess.TimeoutExpired):
            return self._process.wait(_END_SECONDS)
        return None

    def _failed(self) -> UpscaleError:
        status = self._status()
        self._said.seek(0)
        said = self._said.read().decode(errors="replace").strip()
        return UpscaleError(f"the ffmpeg that measures quality ended with status {status}: {said[-_TOLD:] or 'silent'}")
