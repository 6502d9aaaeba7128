"""The simplest executor: this process, one segment after the other, models loaded once.

The command line uses it; it has no queue, no lease and no other process to lose.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from upscale_server.checkpoint import Done, WorkDir
from upscale_server.errors import OutOfMemory
from upscale_server.events import Observer
from upscale_server.logs import get_logger
from upscale_server.media.flush import EncoderStuck
from upscale_server.media.types import Segment
from upscale_server.models.base import Upscaler
from upscale_server.models.choices import Points
from upscale_server.models.ladder import at_working_point
from upscale_server.models.luma import FrameUpscaler
from upscale_server.models.working_point import WorkingPoint
from upscale_server.opening import Tools
from upscale_server.pipeline import Finished, finish_video, upscale_segment
from upscale_server.plan import Pass, Plan
from upscale_server.quality import Quality, fidelity_of
from upscale_server.workers.memory import give_memory_back, keep_blocks

Load = Callable[[Plan, Pass], Upscaler]


class InProcess:
    """Run segments here; a context manager that releases the models."""

    def __init__(self, load: Load, points: Points | None = None) -> None:
        """Make ready.

        Args:
            load: makes the upscaler of a pass, which is closed here.
            points: where working points are remembered; without, they last as long as this executor.
        """
        keep_blocks()
        self._load = load
        self._points = points or Points()
        self._loaded: dict[tuple[object, ...], Upscaler] = {}

    @property
    def at_once(self) -> int:
        """Tell that segments come one after the other."""
        return 1

    @property
    def alone(self) -> bool:
        """Tell that nothing else has these models."""
        return True

    def run(self, plan: Plan, segments: Sequence[Segment], work: WorkDir, observer: Observer) -> Iterator[Done]:
        """Yield each segment's record as it is finished.

        Raises:
            OutOfMemory: even the smallest working point does not fit; the models are released.
        """
        if not segments:
            return
        try:
            passes = tuple(self._at_working_point(plan, one, observer) for one in plan.passes)
            tools = Tools(FrameUpscaler(passes, plan.picture, plan.target, plan.source.colour))
            for segment in segments:
                try:
                    done = upscale_segment(plan, segment, tools, work, observer)
                except EncoderStuck as err:  # a race of the encoder's that the second time does not lose as well
                    get_logger().warning("encoder_stuck", segment=segment.index, cause=str(err))
                    done = upscale_segment(plan, segment, tools, work, observer)
                give_memory_back()
                yield done
        except OutOfMemory:
            self.close()  # the job may go on in another precision, and that needs the room
            raise

    def _at_working_point(self, plan: Plan, one: Pass, observer: Observer) -> Upscaler:
        asked = WorkingPoint(plan.lanes, plan.batch, one.size_in.pixels, plan.precision, plan.lower_precisions)
        return at_working_point(self._upscaler(plan, one), one.size_in, asked, self._points, observer)

    def finish(self, plan: Plan, done: Sequence[Done], work: WorkDir, observer: Observer) -> Finished:
        """Join and audit here."""
        return finish_video(plan, done, work, observer)

    def measure(self, plan: Plan, path: Path, observer: Observer) -> Quality:
        """Measure the finished file here."""
        return fidelity_of(plan, path, observer)

    def _upscaler(self, plan: Plan, one: Pass) -> Upscaler:
        key = (one.card.path or one.card.name, one.card.scale, plan.engine, plan.precision, plan.lanes)
        if key not in self._loaded:
            self._loaded[key] = self._load(plan, one)
        return self._loaded[key]

    def close(self) -> None:
        """Release the models; safe to call twice."""
        for upscaler in self._loaded.values():
            upscaler.close()
        self._loaded.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
