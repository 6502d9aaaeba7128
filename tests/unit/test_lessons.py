"""What a finished job teaches: its own time and size beside what was said, and nothing that is not its own."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from tests.support.finished_jobs import measured_of
from upscale_server.audit import Audit
from upscale_server.bystanders import Bystanders, Spent
from upscale_server.calibration import Calibration
from upscale_server.events import FramesDone
from upscale_server.job_record import Predicted
from upscale_server.lessons import Lesson
from upscale_server.media.types import Segment
from upscale_server.pipeline import Result
from upscale_server.plan import Plan, make_plan
from upscale_server.wish import Wish


@dataclass
class Clock:
    """A clock that the test sets."""

    now: float = 100.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@dataclass
class Job:
    """A job that takes ten seconds, two of them before its first frames, and makes a file of 70 000 bytes."""

    plan: Plan
    folder: Path
    calibration: Calibration = field(init=False)
    clock: Clock = field(default_factory=Clock)
    lanes: int = 1
    others: float = 0.0

    def __post_init__(self) -> None:
        self.calibration = Calibration.in_folder(self.folder)
        self.lesson = Lesson(self.plan, self.calibration, self.lanes, self.clock, self.watch)

    def watch(self) -> Bystanders:
        """Watch a machine of two cores on which `others` cores are taken by others, and the rest by the job."""
        return Bystanders(lambda: Spent(self.clock.now * (2 - self.others), self.clock.now * 2, 2), self.clock)

    def result(self, **values: object) -> Result:
        """Do the work."""
        path = self.folder / "out"
        path.write_bytes(bytes(70_000))
        self.clock.now += 2
        self.lesson(FramesDone(3))
        self.clock.now += 1
        self.lesson(FramesDone(3))
        self.clock.now += 7
        return replace(Result(path, Audit(()), (), 0, self.plan), **values)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def plan(bundled_clip: Path) -> Plan:
    """Give a plan of the bundled clip."""
    return make_plan(bundled_clip, Wish(scale=2, model="lanczos"))


@pytest.fixture
def job(plan: Plan, tmp_path: Path) -> Job:
    """Give a job that is about to begin."""
    return Job(plan, tmp_path)


def test_a_job_teaches_its_time_its_start_and_its_size(job: Job) -> None:
    """The next one of its kind is predicted by it."""
    told = job.lesson.end(job.result(), alone=True)

    (learned,) = job.calibration.jobs()
    assert (10.0, 2.0, 70_000) == (learned.seconds, learned.start_seconds, learned.byte_count)
    assert {"seconds": 10.0, "byte_count": 70_000} == told["actual"]
    assert pytest.approx(10.0) == job.calibration.predict(job.plan).seconds


def test_the_report_holds_what_was_said_before(plan: Plan, tmp_path: Path) -> None:
    """Not what would be said now."""
    calibration = Calibration.in_folder(tmp_path)
    calibration.keep_measured(plan, measured_of((25, 24_000, 1000), seconds=5.0))
    job = Job(plan, tmp_path)
    job.calibration.keep_measured(plan, measured_of((25, 99_000, 1000), seconds=50.0))

    told = job.lesson.end(job.result(), alone=True)

    assert {"seconds": "measured", "byte_count": "measured"} == told["predicted"]["basis"]
    assert pytest.approx(0.5 + plan.frame_count * 0.2 * 0.88, abs=0.05) == told["predicted"]["seconds"]
    (learned,) = job.calibration.jobs()
    assert pytest.approx(0.2) == learned.piece_seconds
    assert told["predicted"]["byte_count"] == learned.predicted.byte_count


def test_a_job_teaches_how_many_lanes_it_kept_busy(plan: Plan, tmp_path: Path) -> None:
    """Its one segment kept one of four."""
    job = Job(plan, tmp_path, lanes=4)

    job.lesson.end(job.result(), alone=True)

    (learned,) = job.calibration.jobs()
    assert (4, 1.0) == (learned.lanes, learned.at_work)


@pytest.mark.parametrize(
    ("values", "alone"),
    [({}, False), ({"reused": 1}, True), ({"memory_steps": 1}, True)],
    ids=["beside others", "gone on with", "in a smaller memory"],
)
def test_a_job_that_was_disturbed_teaches_its_size_alone(job: Job, values: dict[str, object], *, alone: bool) -> None:
    """Its bytes are the same whatever happened around it."""
    told = job.lesson.end(job.result(**values), alone=alone)

    (learned,) = job.calibration.jobs()
    assert (None, None, 70_000) == (learned.seconds, learned.start_seconds, learned.byte_count)
    assert 10.0 == told["actual"]["seconds"]


@pytest.mark.parametrize(("others", "seconds"), [(0.25, 10.0), (0.35, None)], ids=["hardly busy", "busy"])
def test_a_job_beside_other_programs_teaches_its_size_alone(
    plan: Plan, tmp_path: Path, others: float, seconds: float | None
) -> None:
    """The command line shares the machine with whatever else runs there: 15 % of two cores are let pass."""
    job = Job(plan, tmp_path, others=others)

    told = job.lesson.end(job.result(), alone=True)

    (learned,) = job.calibration.jobs()
    assert (seconds, 70_000) == (learned.seconds, learned.byte_count)
    assert 10.0 == told["actual"]["seconds"]


def test_a_job_is_predicted_for_the_lanes_that_it_has(plan: Plan, tmp_path: Path) -> None:
    """Two segments on two lanes take half of what they take on one."""
    two = replace(plan, segments=tuple(Segment(place, place, place + 1, place) for place in range(2)))
    Calibration.in_folder(tmp_path).keep_measured(two, measured_of((25, 24_000, 1000), seconds=5.0))

    one_lane, two_lanes = (Job(two, tmp_path, lanes=lanes).lesson.predicted.seconds or 0.0 for lanes in (1, 2))

    assert pytest.approx((one_lane - 0.5) / 2, abs=0.1) == two_lanes - 0.5  # both are told in tenths


def test_a_prediction_that_fails_costs_no_job(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is wrong with what was remembered, the job begins, and nothing was predicted."""
    monkeypatch.setattr(Calibration, "measured", _broken)

    job = Job(plan, tmp_path)

    assert Predicted() == job.lesson.predicted
    assert 70_000 == job.lesson.end(job.result(), alone=True)["actual"]["byte_count"]


def test_a_lesson_that_cannot_be_learned_loses_no_result(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """The work is done by then; it is told what it took."""
    monkeypatch.setattr(Calibration, "learn", _broken)

    assert {"seconds": 10.0, "byte_count": 70_000} == job.lesson.end(job.result(), alone=True)["actual"]


def _broken(*_given: object) -> None:
    message = "a damaged file"
    raise TypeError(message)


def test_a_job_done_by_another_plan_teaches_nothing(job: Job) -> None:
    """Made again smaller, or by the fallback: what was said of the first plan is not held against it."""
    coarser = replace(job.plan, encoder=replace(job.plan.encoder, crf=30))

    told = job.lesson.end(job.result(plan=coarser), alone=True)

    assert [] == job.calibration.jobs()
    assert 70_000 == told["actual"]["byte_count"]


def test_a_size_that_a_limit_decided_does_not_teach_sizes(plan: Plan, tmp_path: Path) -> None:
    """It says something about the limit."""
    limited = replace(plan, max_bytes=70_000)
    job = Job(limited, tmp_path)
    job.calibration.keep_measured(limited, measured_of((25, 24_000, 1000)))

    job.lesson.end(job.result(), alone=True)

    (learned,) = job.calibration.jobs()
    assert (0, None) == (learned.source_bytes, learned.piece_bytes)
