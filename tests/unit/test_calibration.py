"""What finished jobs teach: robust rates of the same way of working, honest errors, a bounded file that may be lost."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.finished_jobs import job_of, measured_of
from upscale_server.calibration import MOST_JOBS, Calibration, Judged
from upscale_server.estimate import estimate_of
from upscale_server.job_record import JobRecord, Predicted
from upscale_server.measured import output_megapixels
from upscale_server.media.types import Segment
from upscale_server.plan import Plan, make_plan
from upscale_server.wish import Wish


@pytest.fixture(scope="module")
def plan(bundled_clip: Path) -> Plan:
    """Give a plan of the bundled clip."""
    return make_plan(bundled_clip, Wish(scale=2, model="lanczos"))


@pytest.fixture
def calibration(tmp_path: Path) -> Calibration:
    """Give an empty calibration."""
    return Calibration.in_folder(tmp_path)


def test_without_jobs_and_pieces_the_time_is_unknown(calibration: Calibration, plan: Plan) -> None:
    """A number without support would be an invention."""
    timing = calibration.predict(plan)

    assert (None, None, "unknown", 0) == (timing.seconds, timing.error, timing.basis, timing.jobs_known)


def test_a_job_like_a_finished_one_takes_as_long(calibration: Calibration, plan: Plan) -> None:
    """The plainest lesson."""
    calibration.learn(job_of(plan))

    timing = calibration.predict(plan)

    assert (pytest.approx(10.0), "calibrated", 1) == (timing.seconds, timing.basis, timing.jobs_known)


def test_twice_the_frames_take_twice_as_long_after_the_start(calibration: Calibration, plan: Plan) -> None:
    """The start is paid once."""
    calibration.learn(job_of(plan))

    assert pytest.approx(1.0 + 18.0) == calibration.predict(replace(plan, frame_count=2 * plan.frame_count)).seconds


def test_one_job_that_was_disturbed_does_not_move_the_rest(calibration: Calibration, plan: Plan) -> None:
    """A median, not a mean."""
    for seconds in (10.0, 10.0, 300.0, 10.0, 10.0):
        calibration.learn(job_of(plan, seconds=seconds))

    assert pytest.approx(10.0) == calibration.predict(plan).seconds


def test_jobs_of_like_size_count_more(calibration: Calibration, plan: Plan) -> None:
    """Two of this size against three of frames sixteen times as large, at another rate."""
    for pixels, seconds in ((1, 10.0), (1, 10.0), (16, 55.0), (16, 55.0), (16, 55.0)):
        calibration.learn(job_of(plan, pixels=plan.target.pixels * pixels, seconds=seconds))

    assert pytest.approx(10.0) == calibration.predict(plan).seconds


@pytest.mark.parametrize(
    "other",
    [
        {"way": "another model"},
        {"seconds": None},
    ],
    ids=["another way of working", "no time of its own"],
)
def test_other_jobs_do_not_teach_the_time(calibration: Calibration, plan: Plan, other: dict[str, object]) -> None:
    """A job that shared the lanes has no time, and another model's says nothing."""
    calibration.learn(job_of(plan, **other))

    assert "unknown" == calibration.predict(plan).basis


def test_pieces_give_the_time_without_a_job(calibration: Calibration, plan: Plan) -> None:
    """A frame took a tenth of a second in the pieces: in the whole a little less, and a start."""
    timing = calibration.predict(plan, measured_of((25, 900, 100), seconds=2.5))

    assert (pytest.approx(0.5 + plan.frame_count * 0.1 * 0.88), "measured") == (timing.seconds, timing.basis)


def test_jobs_show_what_pieces_are_worth(calibration: Calibration, plan: Plan) -> None:
    """Three jobs took half of what their pieces said; so will this one."""
    for _ in range(3):
        calibration.learn(job_of(plan, piece_seconds=2 * 9.0 / plan.frame_count))

    timing = calibration.predict(plan, measured_of((25, 900, 100), seconds=2.5))

    assert pytest.approx(1.0 + plan.frame_count * 0.1 / 2) == timing.seconds
    assert pytest.approx(0.1) == timing.error


def test_one_disturbed_piece_does_not_move_the_time(calibration: Calibration, plan: Plan) -> None:
    """The median of the pieces' rates is what counts."""
    calm = measured_of((25, 900, 100), (25, 900, 100), (25, 900, 100), seconds=2.5)
    disturbed = replace(calm, pieces=(*calm.pieces[:2], replace(calm.pieces[2], seconds=60.0)))

    assert calibration.predict(plan, calm) == calibration.predict(plan, disturbed)


def test_the_error_that_is_said_is_the_spread_that_was_seen(calibration: Calibration, plan: Plan) -> None:
    """Four of five jobs lie within it."""
    for seconds in (11.0, 11.0, 11.0, 16.0, 31.0):
        calibration.learn(job_of(plan, seconds=seconds))

    assert pytest.approx(0.5) == calibration.predict(plan).error


def test_a_job_on_one_lane_says_what_four_lanes_take(calibration: Calibration, plan: Plan) -> None:
    """Five segments on four lanes take two rounds: as long as two segments on one."""
    calibration.learn(job_of(plan, lanes=4))
    five = replace(plan, segments=tuple(Segment(place, place, place + 1, place) for place in range(5)))

    assert pytest.approx(1.0 + 9.0 * 2 / 5) == calibration.predict(five, lanes=4).seconds


def test_pieces_on_one_lane_say_what_four_lanes_take(calibration: Calibration, plan: Plan) -> None:
    """The pieces are made one after the other, on one lane of those that there are."""
    measured = measured_of((25, 900, 100), seconds=2.5)
    four = replace(plan, segments=tuple(Segment(place, place, place + 1, place) for place in range(4)))

    alone, together = (calibration.predict(one, measured, lanes=4).seconds or 0.0 for one in (plan, four))

    assert pytest.approx((alone - 0.5) / 4) == together - 0.5


def test_a_job_on_one_lane_between_others_does_not_move_the_time_on_eight(calibration: Calibration, plan: Plan) -> None:
    """The command line and the other tasks of a server have other lanes than this job."""
    many = replace(plan, segments=tuple(Segment(place, place, place + 1, place) for place in range(8)))
    for _ in range(5):
        calibration.learn(job_of(many, lanes=8, at_work=8.0))
    calm = calibration.predict(many, lanes=8)

    calibration.learn(job_of(many, seconds=73.0, lanes=1, at_work=1.0))

    assert (pytest.approx(10.0), calm.error) == (calm.seconds, calibration.predict(many, lanes=8).error)
    assert pytest.approx(10.0) == calibration.predict(many, lanes=8).seconds
    assert pytest.approx(73.0) == calibration.predict(many, lanes=1).seconds


def test_short_jobs_do_not_outvote_a_long_one(calibration: Calibration, plan: Plan) -> None:
    """Three jobs of three frames are mostly beginning and end."""
    calibration.learn(job_of(plan))
    for _ in range(3):
        few = {"frames": 3, "megapixels": 3 * plan.target.pixels / 1e6}
        calibration.learn(job_of(plan, **few))

    assert pytest.approx(10.0) == calibration.predict(plan).seconds


_DAMAGE: list[tuple[str, object]] = [
    *(("job", (name, value)) for name in ("byte_count", "lanes", "pixels", "frames", "source_bytes", "other_bytes")
      for value in (math.inf, "x", None, 1.5, True, -1, 10**400)),
    *(("job", (name, value)) for name in ("seconds", "start_seconds", "piece_seconds", "piece_bytes", "at_work",
                                                "megapixels")
      for value in (math.inf, math.nan, "x", -1.0, 1e-300, 1e300, True, [])),
    *(("job", (name, value)) for name in ("way", "encoder") for value in (None, 3, {})),
    *(("job", ("predicted", {name: value})) for name in ("seconds", "byte_count", "seconds_basis")
      for value in (math.inf, "x", [])),
    *(("pieces", (name, value)) for name in ("frame_count", "byte_count", "lead_bytes", "source_bytes", "timed_frames")
      for value in (math.inf, "x", None, 1.5, -1, 10**400)),
    *(("pieces", ("seconds", value)) for value in (math.inf, math.nan, "x", None, -1.0, 1e-300, 1e300)),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "damage"), _DAMAGE)
def test_a_damaged_figure_is_passed_over(
    calibration: Calibration, plan: Plan, kind: str, damage: tuple[str, object]
) -> None:
    """A wrong type, infinity, or a number that nothing measures: as if it had never been kept."""
    calibration.learn(job_of(plan, piece_seconds=0.1, piece_bytes=1000))
    calibration.keep_measured(plan, measured_of((25, 900, 100), seconds=2.5))
    records = json.loads(calibration.path.read_text())
    (record,) = (found for key, found in records.items() if key.startswith(kind))
    (record["pieces"][0] if kind == "pieces" else record).update([damage])
    calibration.path.write_text(json.dumps(records))

    measured = calibration.measured(plan)

    assert [] == calibration.jobs() if kind == "job" else measured is None
    assert (estimate_of(plan, calibration, measured).seconds or 0.0) < 1e6
    assert calibration.errors().seconds.count <= 1


def test_errors_are_medians_of_earnest_predictions(calibration: Calibration, plan: Plan) -> None:
    """Rough figures promise nothing and are not judged; a job without a time judges the size alone."""
    frames = plan.frame_count
    for seconds, byte_count, basis in ((11.0, 1100, "measured"), (12.0, 1300, "calibrated"), (15.0, 1000, "measured")):
        calibration.learn(job_of(plan, predicted=Predicted(seconds, byte_count * frames, basis, "measured")))
    calibration.learn(job_of(plan, seconds=None, predicted=Predicted(99.0, 1500 * frames, "measured", "measured")))
    calibration.learn(job_of(plan, predicted=Predicted(99.0, 9000 * frames, "rough", "rough")))

    errors = calibration.errors()

    assert (pytest.approx(0.2), 3) == (errors.seconds.median, errors.seconds.count)
    assert (pytest.approx(0.2), 4) == (errors.byte_count.median, errors.byte_count.count)


def test_nothing_is_judged_where_nothing_was_predicted(calibration: Calibration) -> None:
    """No error is not an error of zero."""
    assert Judged(None, 0) == calibration.errors().seconds


def test_only_the_newest_jobs_are_kept(calibration: Calibration, plan: Plan) -> None:
    """The file does not grow for ever, and what is measured on pieces is not pushed out by jobs."""
    calibration.keep_measured(plan, measured_of((25, 900, 100)))
    record = {"way": "x", "encoder": "x", "pixels": 1, "megapixels": 1.0, "frames": 1, "byte_count": 1,
              "source_bytes": 0, "other_bytes": 0, "predicted": {}}  # fmt: skip
    written = json.loads(calibration.path.read_text())
    calibration.path.write_text(json.dumps(written | {f"job:{place}": record for place in range(MOST_JOBS)}))

    calibration.learn(job_of(plan))

    assert MOST_JOBS == len(calibration.jobs())
    assert job_of(plan) == calibration.jobs()[-1]
    assert "job:0" not in json.loads(calibration.path.read_text())
    assert calibration.measured(plan) is not None


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_text("not json"),
        lambda path: path.write_text('["a list"]'),
        lambda path: path.write_text('{"job:1": {"frames": "many"}, "job:2": 7, "pieces:1": {"pieces": [{}]}}'),
        lambda path: path.unlink(),
    ],
    ids=["no JSON", "another kind of JSON", "other records", "gone"],
)
def test_an_unreadable_file_is_an_empty_one(
    calibration: Calibration, plan: Plan, spoil: Callable[[Path], None]
) -> None:
    """A state folder may be lost at any time; no job may fail by that."""
    calibration.learn(job_of(plan))
    spoil(calibration.path)

    assert [] == calibration.jobs()
    assert "unknown" == calibration.predict(plan).basis
    assert Judged(None, 0) == calibration.errors().byte_count


def test_records_of_another_kind_are_passed_over(calibration: Calibration, plan: Plan) -> None:
    """A later release may write more, or otherwise; what can be read is read."""
    calibration.learn(job_of(plan))
    ((key, good),) = json.loads(calibration.path.read_text()).items()
    bad = [{**good, "frames": "many"}, {**good, "pixels": 0}, {**good, "predicted": 3}, {**good, "seconds": "ten"}]
    both = {f"job:{place}": one for place, one in enumerate(bad)} | {key: {**good, "unheard_of": 1}}
    calibration.path.write_text(json.dumps(both))

    assert [job_of(plan)] == calibration.jobs()


def test_nothing_is_lost_when_many_learn_at_once(calibration: Calibration, plan: Plan) -> None:
    """Two jobs of a server may end in the same moment."""
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: Calibration(calibration.path).learn(job_of(plan)), range(20)))

    assert 20 == len(calibration.jobs())


def test_a_folder_that_cannot_be_written_costs_no_job(plan: Plan) -> None:
    """What cannot be remembered is forgotten."""
    calibration = Calibration.in_folder(Path("/proc/nowhere"))

    calibration.learn(job_of(plan))

    assert [] == calibration.jobs()


def test_measured_pieces_are_found_again_for_the_same_bytes_elsewhere(calibration: Calibration, plan: Plan) -> None:
    """A page measures an upload, and the job that follows has its own copy of it."""
    calibration.keep_measured(plan, measured_of((25, 900, 100), seconds=1.0))
    elsewhere = replace(plan, source=replace(plan.source, path="/other.mp4", modified_ns=5), lanes=plan.lanes + 1)

    assert measured_of((25, 900, 100), seconds=1.0) == calibration.measured(elsewhere)
    assert calibration.measured(replace(plan, source=replace(plan.source, byte_count=5))) is None
    assert calibration.measured(replace(plan, encoder=replace(plan.encoder, crf=40))) is None


def test_what_is_hard_to_encode_takes_longer(calibration: Calibration, plan: Plan) -> None:
    """Jobs that took 50 ms for a million pixels and 30 ms for a megabit; with unknown bits their median is taken."""
    megapixels = output_megapixels(plan)
    for share in (0.02, 0.05, 0.1, 0.2, 0.3):
        megabits = share * megapixels
        seconds = 1.0 + 0.05 * megapixels + 0.03 * megabits
        calibration.learn(job_of(plan, seconds=seconds, byte_count=round(megabits * 1e6 / 8)))
    picture_bytes = round(0.25 * megapixels * 1e6 / 8)

    hard, unknown = calibration.predict(plan, None, picture_bytes), calibration.predict(plan)

    assert pytest.approx(1.0 + megapixels * (0.05 + 0.03 * 0.25), rel=1e-4) == hard.seconds
    assert pytest.approx(1.0 + megapixels * (0.05 + 0.03 * 0.1), rel=1e-4) == unknown.seconds


@pytest.mark.slow
@given(st.lists(st.tuples(st.floats(0.5, 5.0), st.integers(1, 9)), min_size=1, max_size=12), st.floats(0.1, 20))
def test_jobs_that_keep_a_rate_are_predicted_by_it(
    tmp_path_factory: pytest.TempPathFactory, plan: Plan, jobs: list[tuple[float, int]], rate: float
) -> None:
    """Whatever their lengths and sizes were, jobs of one rate predict exactly that rate."""
    calibration = Calibration.in_folder(tmp_path_factory.mktemp("rate"))
    for length, larger in jobs:
        megapixels = output_megapixels(plan) * length
        job = job_of(plan, megapixels=megapixels, seconds=1.0 + megapixels * rate, pixels=plan.target.pixels * larger)
        calibration.learn(job)

    assert pytest.approx(1.0 + output_megapixels(plan) * rate) == calibration.predict(plan).seconds


def test_a_record_comes_back_as_it_was(calibration: Calibration, plan: Plan) -> None:
    """What is kept is what was learned."""
    job: JobRecord = job_of(plan, piece_seconds=0.25, piece_bytes=12345)

    calibration.learn(job)

    assert [job] == calibration.jobs()
