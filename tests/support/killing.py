"""Starts the command, watches its work folder for facts, and kills it there as a power cut would.

The moments are facts on the disk: so many finished segments, the next one begun. Looking on for a random number of
times then moves the kill through the work on a segment.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from tests.support.cli_runner import COMMAND, environment_for

POLL_SECONDS = 0.004
"""How often the folder is looked at: far finer than the work of one segment."""
AT_LEISURE = 0.1
"""Seconds between two looks where only the fact matters and not its moment: looking takes the server's cores."""
LIMIT_SECONDS = 240


@dataclass(frozen=True, slots=True)
class Moment:
    """A state of the work folder: so many finished segments and the next one begun, then so many looks more."""

    finished: int
    looks_later: int = 0


@dataclass(frozen=True, slots=True)
class Marker:
    """A finished segment's record as the file system knows it: a redone one has another time or inode."""

    name: str
    inode: int
    modified_ns: int


def markers(work: Path) -> frozenset[Marker]:
    """Return the records of finished segments under a work folder."""
    found = set()
    for path in work.rglob("segment-*.json"):
        facts = path.stat()
        found.add(Marker(path.name, facts.st_ino, facts.st_mtime_ns))
    return frozenset(found)


def reached(work: Path, moment: Moment) -> Callable[[], bool]:
    """Return a question: has the folder come to a moment, or past it?"""
    looks = count()

    def is_there() -> bool:
        finished = len(markers(work))
        begun = finished > moment.finished or any(work.rglob("segment-*.part.mkv"))
        return finished >= moment.finished and begun and next(looks) >= moment.looks_later

    return is_there


def kill_when(arguments: list[str], condition: Callable[[], bool], how: int = signal.SIGKILL) -> int:
    """Run the command until a fact is there, then send it a signal; return the exit status.

    A command that ends by itself first ends the wait, too; its status says so.
    """
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment_for(),
        start_new_session=True,
    )
    try:
        wait_until(lambda: condition() or process.poll() is not None)
        if process.poll() is None:
            if how == signal.SIGKILL:
                os.killpg(process.pid, how)  # children, too: nothing survives a power cut
            else:
                process.send_signal(how)
        return process.wait(LIMIT_SECONDS)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_until(condition: Callable[[], bool], pause_seconds: float = POLL_SECONDS) -> None:
    """Wait for a fact, looking so often; fail loudly when it does not come."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"the awaited state did not come within {LIMIT_SECONDS} s")
        time.sleep(pause_seconds)
