"""A few seconds of a source through model and encoder, so that its job's time and size are known before it begins.

It makes the pieces that the plan chose and weighs them; what that says about the whole is reckoned in `estimate`.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from upscale_server.bystanders import Bystanders
from upscale_server.checkpoint import Done, WorkDir
from upscale_server.errors import OutOfMemory
from upscale_server.events import Event, FramesDone, Observer, PhaseStarted, SegmentDone, both
from upscale_server.measured import Measured, MeasuredPiece
from upscale_server.pipeline import Executor
from upscale_server.plan import Plan


def measure_pieces(plan: Plan, executor: Executor, work_dir: Path, observer: Observer) -> tuple[Plan, Measured | None]:
    """Make a plan's pieces, weigh and time them, and remove them again; None where the plan has none.

    A precision in which memory does not suffice is left for the next lower one, as the job would: the plan that worked
    is returned with them, because the figures are that one's.

    Args:
        plan: of the job.
        executor: what would run the job; it is stopped as a job is, and then raises `Canceled`.
        work_dir: a folder for the pieces; what else is in it stays.
        observer: told of the phase `measure` and its frames.

    Raises:
        Canceled: the executor was told to stop.
        SourceError and its kinds, DiskFull, OutOfMemory: as the job would.
    """
    if not plan.samples.pieces:
        return plan, None
    observer(PhaseStarted("measure", sum(one.frame_count for one in plan.samples.pieces)))
    while True:
        try:
            return plan, _measured(plan, executor, work_dir, observer)
        except OutOfMemory:
            if not plan.lower_precisions:
                raise
            plan = plan.in_precision(plan.lower_precisions[0])


def _measured(plan: Plan, executor: Executor, work_dir: Path, observer: Observer) -> Measured | None:
    asked = {one.segment.index: one for one in plan.samples.pieces}
    small = replace(plan, segments=tuple(one.segment for one in plan.samples.pieces))
    folder = work_dir / f"pieces-{small.digest}"
    made: list[MeasuredPiece] = []
    try:
        work = WorkDir(folder, small.digest)
        for segment in small.segments:  # one after the other: each is timed
            clock, others = _Clock(), Bystanders()
            (done,) = executor.run(small, [segment], work, both(clock, observer))
            timed = executor.alone and not others.disturbed
            made.append(_weighed(done, asked[segment.index].source_bytes, clock, timed=timed))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    whole = tuple(one for one in made if one.frame_count)
    return Measured(whole) if whole else None


def _weighed(done: Done, source_bytes: int, clock: _Clock, *, timed: bool) -> MeasuredPiece:
    frames = len(done.times)
    timed_frames = frames - clock.first_frames if timed else 0
    return MeasuredPiece(frames, done.packet_bytes, done.lead_bytes, source_bytes, clock.seconds, max(0, timed_frames))


@dataclass(slots=True)
class _Clock:
    """Times a piece from its first frames to its end: what comes before them, a job meets once a segment at most.

    The network is loaded then, and a long GOP is decoded up to where the piece starts.
    """

    now: Callable[[], float] = time.monotonic
    first_frames: int = 0
    _first: float = 0.0
    _end: float = field(default=0.0)

    @property
    def seconds(self) -> float:
        """Return the time between the first frames and the end."""
        return max(0.0, self._end - self._first)

    def __call__(self, event: Event) -> None:
        """Take note of an event."""
        if isinstance(event, FramesDone) and not self.first_frames:
            self._first, self.first_frames = self.now(), event.count
        elif isinstance(event, SegmentDone):
            self._end = self.now()
