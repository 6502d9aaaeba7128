"""Servers of jobs as processes that kill themselves at a moment, as a power cut would.

    python -m tests.support.job_server FOLDER MOMENT...

A moment is `phase NAME`, `frames N`, `segment N` (the Nth of this server), `put`, `stored` or `never`; for each there
is a server, which ends when no job is left, and a line with how it ended. Finished segments are written to
FOLDER/made.txt, so that a test can see what was done twice.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from tests.support.job_parts import LocalLanes, Shelf, parts_in
from tests.support.killing import wait_until
from upscale_server.events import Event, FramesDone, PhaseStarted, SegmentDone
from upscale_server.jobs.job import State
from upscale_server.jobs.parts import Stop
from upscale_server.jobs.runner import Runner
from upscale_server.plan import Plan
from upscale_server.storage.base import About, Stored, UploadMemory
from upscale_server.wish import Limits, Wish

_STUCK_SECONDS = 60.0
"""A server has a second of work: one that takes a minute says where its threads stand, and ends."""
UNFINISHED: tuple[State, ...] = ("queued", "running", "paused")


class TrappedLanes(LocalLanes):
    """Lanes whose planning is a moment, too."""

    def plan(self, source: Path, wish: Wish, limits: Limits, stop: Stop) -> Plan:
        """Plan, if this is not the moment."""
        self.gate(PhaseStarted("plan", 0))
        return LocalLanes.plan(self, source, wish, limits, stop)


def die() -> NoReturn:
    """End as by a power cut."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


class Trap:
    """Dies at its moment."""

    def __init__(self, moment: str, made: Path) -> None:
        self._moment = moment
        self._made = made
        self._seen: Counter[str] = Counter()

    def __call__(self, event: Event) -> None:
        """Look at an event."""
        match event:
            case PhaseStarted(phase, _):
                self.at(f"phase {phase}")
            case FramesDone():
                self._seen["frames"] += 1
                self.at(f"frames {self._seen['frames']}")
            case SegmentDone(index):
                with self._made.open("a") as file:
                    file.write(f"{index}\n")
                self._seen["segment"] += 1
                self.at(f"segment {self._seen['segment']}")
            case _:
                pass

    def at(self, moment: str) -> None:
        """Die if this is the moment."""
        if moment == self._moment:
            die()


class TrappedShelf(Shelf):
    """A store that may be cut off before or after it took the file."""

    trap: Trap

    def put(self, path: Path, key: str, about: About, upload: UploadMemory) -> Stored:
        """Store a file."""
        self.trap.at("put")
        stored = super().put(path, key, about, upload)
        self.trap.at("stored")
        return stored


def serve(folder: Path, moment: str) -> None:
    """Serve until no job is left, or until the moment comes."""
    trap = Trap(moment, folder / "made.txt")
    shelf = TrappedShelf(folder / "objects")
    shelf.trap = trap
    parts = replace(parts_in(folder, TrappedLanes(trap)), objects=shelf)
    runner = Runner(parts)
    runner.start()
    wait_until(lambda: not any(parts.store.counts()[state] for state in UNFINISHED))
    runner.stop(0)
    parts.store.close()


def main() -> None:
    """Serve once for each moment; a fork of what is loaded is a new process without a new start."""
    for moment in sys.argv[2:]:
        child = os.fork()
        if not child:
            faulthandler.dump_traceback_later(_STUCK_SECONDS, exit=True)
            serve(Path(sys.argv[1]), moment)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)  # noqa: T201 - what the test reads


if __name__ == "__main__":
    main()
