"""Where a server's previews are made: planned, cut and measured at the desk, upscaled on the lanes beside jobs.

A preview holds a lane for about a second of video at a time: a job that comes waits for no more of it. No file is
opened in the server's own process.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from upscale_server.checkpoint import Done, WorkDir
from upscale_server.events import Observer
from upscale_server.jobs.parts import Lanes
from upscale_server.media.excerpt import Excerpt
from upscale_server.media.types import Segment
from upscale_server.pipeline import Executor, Finished
from upscale_server.plan import Plan
from upscale_server.quality import Quality
from upscale_server.stopping import Stop
from upscale_server.wish import Limits, Wish


class Desk(Lanes, Protocol):
    """Lanes whose desk also does what previews need; safe to call from several threads."""

    def write_excerpt(self, excerpt: Excerpt, path: Path, observer: Observer, stop: Stop) -> None:
        """Write an exact excerpt of a source.

        Raises:
            Canceled: `stop` gave a reason, which is its text.
            SourceError and its kinds: as `media.excerpt`.
        """

    def compare(self, reference: Path, distorted: Path, observer: Observer, stop: Stop) -> Quality:
        """Compare two videos of ours.

        Raises:
            Canceled: `stop` gave a reason, which is its text.
            UpscaleError and its kinds: as `quality.measure`.
        """


@dataclass(frozen=True, slots=True)
class OneAtATime:
    """An executor that holds one lane at most and asks for it again with every segment, behind the jobs that wait."""

    executor: Executor

    @property
    def at_once(self) -> int:
        """Return one."""
        return 1

    @property
    def alone(self) -> bool:
        """Tell whether no job was worked on beside it so far."""
        return self.executor.alone

    def run(self, plan: Plan, segments: Sequence[Segment], work: WorkDir, observer: Observer) -> Iterator[Done]:
        """Yield each segment's record in order."""
        for segment in segments:
            yield from self.executor.run(plan, [segment], work, observer)

    def finish(self, plan: Plan, done: Sequence[Done], work: WorkDir, observer: Observer) -> Finished:
        """Join and audit."""
        return self.executor.finish(plan, done, work, observer)

    def measure(self, plan: Plan, path: Path, observer: Observer) -> Quality:
        """Measure a finished file."""
        return self.executor.measure(plan, path, observer)


@dataclass(frozen=True, slots=True)
class ServerStudio:
    """A `Studio` for one preview, which `stop` can end at any time."""

    desk: Desk
    limits: Limits
    stop: Stop

    @property
    def executor(self) -> Executor:
        """Return what runs segments."""
        return OneAtATime(self.desk.executor(None, self.stop))

    def plan(self, source: Path, wish: Wish) -> Plan:
        """Decide about a source."""
        return self.desk.plan(source, wish, self.limits, self.stop)

    def write_excerpt(self, excerpt: Excerpt, path: Path, observer: Observer) -> None:
        """Write an exact excerpt."""
        self.desk.write_excerpt(excerpt, path, observer, self.stop)

    def measure(self, reference: Path, distorted: Path, observer: Observer) -> Quality:
        """Compare two videos."""
        return self.desk.compare(reference, distorted, observer, self.stop)
