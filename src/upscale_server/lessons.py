"""What a finished job tells beside what was said of it before: the record that the next predictions are made with.

It watches and reckons; keeping is `calibration`'s business. What it cannot reckon is logged and unknown, because a job
is worth more than what it teaches.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from upscale_server.bystanders import Bystanders
from upscale_server.calibration import Calibration
from upscale_server.estimate import estimate_of, picture_bytes, source_picture_bytes
from upscale_server.events import Event, FramesDone
from upscale_server.job_record import JobRecord, Predicted
from upscale_server.logs import get_logger
from upscale_server.measured import Measured, encoder_key, lanes_at_work, output_megapixels, way_key
from upscale_server.pipeline import Result
from upscale_server.plan import Plan


@dataclass(slots=True)
class Lesson:
    """A job that is being watched: made before its work begins, an observer of it, ended once.

    `lanes` are the segments that can run at the same time. `clock` gives seconds, `bystanders` begin to watch the
    machine; both can be replaced in tests.
    """

    plan: Plan
    calibration: Calibration
    lanes: int = 1
    clock: Callable[[], float] = time.monotonic
    bystanders: Callable[[], Bystanders] = Bystanders
    predicted: Predicted = field(init=False, default=Predicted())
    _measured: Measured | None = field(init=False, default=None)
    _others: Bystanders = field(init=False)
    _begun: float = field(init=False)
    _first_frames: float | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        """Say what is expected, and begin to count."""
        try:
            self._measured = self.calibration.measured(self.plan)
            self.predicted = estimate_of(self.plan, self.calibration, self._measured, lanes=self.lanes).predicted
        except Exception as err:  # noqa: BLE001 - whatever the file holds, the job is done without a prediction
            self._measured = None
            get_logger().warning("job_not_predicted", cause=f"{type(err).__name__}: {err}")
        self._others, self._begun = self.bystanders(), self.clock()

    def __call__(self, event: Event) -> None:
        """Take note of an event."""
        if self._first_frames is None and isinstance(event, FramesDone):
            self._first_frames = self.clock()

    def end(self, result: Result, *, alone: bool) -> dict[str, Any]:  # JSON values of several types
        """Teach the calibration what the job really took, and return both as a report holds them.

        Args:
            result: of the work.
            alone: nothing else of this process was worked on meanwhile. The time of a job that was not, from which
                other programs took the processor, that went on with what an earlier run left, or that memory forced
                to begin again, is told and teaches nothing; nor does anything of a job that in the end was done by
                another plan.
        """
        seconds, byte_count = self.clock() - self._begun, result.path.stat().st_size
        try:
            if (result.plan.encoder, result.plan.passes) == (self.plan.encoder, self.plan.passes):
                whole = not result.reused and not result.memory_steps and result.plan == self.plan
                teaches = alone and whole and not self._others.disturbed
                self.calibration.learn(self._record(byte_count, seconds if teaches else None))
        except Exception as err:  # noqa: BLE001 - the result is there, and nothing may lose it now
            get_logger().warning("job_not_learned_from", cause=f"{type(err).__name__}: {err}")
        predicted = {
            "seconds": self.predicted.seconds,
            "byte_count": self.predicted.byte_count,
            "basis": {"seconds": self.predicted.seconds_basis, "byte_count": self.predicted.byte_count_basis},
        }
        return {"predicted": predicted, "actual": {"seconds": round(seconds, 3), "byte_count": byte_count}}

    def _record(self, byte_count: int, seconds: float | None) -> JobRecord:
        plan, measured = self.plan, self._measured
        first = self._first_frames
        return JobRecord(
            way=way_key(plan),
            encoder=encoder_key(plan),
            pixels=plan.target.pixels,
            megapixels=output_megapixels(plan),
            frames=plan.frame_count,
            byte_count=byte_count,
            source_bytes=source_picture_bytes(plan) if plan.max_bytes is None else 0,
            other_bytes=plan.samples.other_bytes + plan.padding,
            seconds=seconds,
            start_seconds=None if seconds is None or first is None else first - self._begun,
            piece_seconds=measured.seconds_per_frame if measured and seconds is not None else None,
            piece_bytes=picture_bytes(plan, measured) if measured and plan.max_bytes is None else None,
            predicted=self.predicted,
            lanes=self.lanes,
            at_work=lanes_at_work(plan, self.lanes),
        )
