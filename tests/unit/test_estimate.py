"""The formulas of an estimate: size from pieces with keyframes apart, rough figures that say so, nothing invented."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.finished_jobs import job_of, measured_of
from upscale_server.calibration import Calibration
from upscale_server.estimate import estimate_of, picture_bytes
from upscale_server.media.types import Segment
from upscale_server.plan import Plan, make_plan
from upscale_server.sampling import Samples
from upscale_server.wish import Wish


@pytest.fixture(scope="module")
def plan(bundled_clip: Path) -> Plan:
    """Give a plan of the bundled clip: 150 frames, one segment, keyframes every 150."""
    return make_plan(bundled_clip, Wish(scale=2, model="lanczos"))


@pytest.fixture
def calibration(tmp_path: Path) -> Calibration:
    """Give an empty calibration."""
    return Calibration.in_folder(tmp_path)


def _long(plan: Plan, frames: int, segments: int) -> Plan:
    """Return the plan of a longer video whose source tells nothing of where its bytes are."""
    cuts = tuple(Segment(place, place, place + 1, place) for place in range(segments))
    return replace(plan, frame_count=frames, segments=cuts, samples=Samples())


def test_each_segment_and_each_gop_begins_with_a_keyframe(plan: Plan) -> None:
    """Two segments of 300 frames with a keyframe every 150: four of them, the rest as the pieces' other frames."""
    measured = measured_of((25, 900 + 24 * 10, 900), (25, 1100 + 24 * 10, 1100))

    assert 4 * 1000 + 596 * 10 == picture_bytes(_long(plan, 600, 2), measured)


def test_a_piece_that_is_the_whole_video_is_its_size(plan: Plan) -> None:
    """Nothing is left to guess."""
    assert 1240 == picture_bytes(_long(plan, 25, 1), measured_of((25, 1240, 1000)))


def test_a_picture_of_one_frame_is_a_keyframe(plan: Plan) -> None:
    """There is no other frame to divide by."""
    assert 1000 == picture_bytes(_long(plan, 1, 1), measured_of((1, 1000, 1000)))


def test_frames_weigh_where_the_source_spends_its_bytes(plan: Plan) -> None:
    """The source spends half as much again on the whole as its pieces let expect; most of that is believed."""
    measured = measured_of((25, 1240, 1000))  # 24 frames of 10 bytes, of which the source spent as many
    by_frames = 149 * 10
    harder = replace(_long(plan, 150, 1), samples=Samples(source_bytes=round(by_frames * 1.5)))

    assert pytest.approx(1000 + by_frames * 1.375, abs=1) == picture_bytes(harder, measured)  # whole bytes


def test_an_odd_source_moves_the_size_only_so_far(plan: Plan) -> None:
    """A source whose bytes are nearly all in one place may be odd and not hard."""
    odd = replace(_long(plan, 150, 1), samples=Samples(source_bytes=10**9))

    assert pytest.approx(1000 + 1490 * 1.75, abs=1) == picture_bytes(odd, measured_of((25, 1240, 1000)))


def test_the_size_is_the_picture_and_what_is_carried_over(plan: Plan, calibration: Calibration) -> None:
    """Sound and texts are copied as they are."""
    measured = measured_of((25, 124_000, 100_000))
    silent, loud = (replace(_long(plan, 25, 1), samples=Samples(other_bytes=more)) for more in (0, 5000))

    sizes = [estimate_of(one, calibration, measured).byte_count or 0 for one in (silent, loud)]

    assert 5000 == sizes[1] - sizes[0]


def test_a_limit_is_the_most_that_is_said(plan: Plan, calibration: Calibration) -> None:
    """A job over its limit is made smaller or fails; it is never larger."""
    limited = replace(plan, max_bytes=50_000)

    assert 50_000 == estimate_of(limited, calibration, measured_of((25, 90_000, 9000))).byte_count


def test_three_jobs_show_what_an_encoders_pieces_are_worth(plan: Plan, calibration: Calibration) -> None:
    """Outputs weighed a tenth more than their pieces said; so will this one."""
    for _ in range(3):
        calibration.learn(job_of(plan, byte_count=1100, piece_bytes=1000))

    estimate = estimate_of(_long(plan, 25, 1), calibration, measured_of((25, 124_000, 100_000)))

    assert (124_000 * 1.1, "measured") == (pytest.approx(estimate.byte_count), estimate.basis.byte_count)


def test_without_pieces_the_size_is_rough_and_says_so(plan: Plan, calibration: Calibration) -> None:
    """From the source's own bytes: twice as many for six steps of CRF."""
    fine, coarse = (replace(plan, encoder=replace(plan.encoder, crf=crf)) for crf in (20, 26))

    estimates = [estimate_of(one, calibration) for one in (fine, coarse)]

    pictures = [(one.byte_count or 0) - plan.samples.other_bytes for one in estimates]
    assert pytest.approx(2.0, rel=0.01) == pictures[0] / pictures[1]
    assert {"rough"} == {one.basis.byte_count for one in estimates}
    assert all((one.byte_count_error or 0) >= 0.5 for one in estimates)


def test_finished_jobs_show_how_an_encoder_goes_with_this_machines_sources(
    plan: Plan, calibration: Calibration
) -> None:
    """Pictures weighed twice what is usual from such a source; still a rough figure, but our own."""
    before = estimate_of(plan, calibration).byte_count or 0
    picture = plan.source.byte_count - plan.samples.other_bytes
    for _ in range(3):
        calibration.learn(job_of(plan, byte_count=2 * (before - plan.samples.other_bytes), source_bytes=picture))

    estimate = estimate_of(plan, calibration)

    assert 2 * (before - plan.samples.other_bytes) + plan.samples.other_bytes == pytest.approx(
        estimate.byte_count, abs=2
    )
    assert "rough" == estimate.basis.byte_count


@pytest.mark.parametrize("times", [500, 1 / 500], ids=["tiny sources", "hardly compressed ones"])
def test_odd_jobs_do_not_decide_a_rough_size(plan: Plan, calibration: Calibration, times: float) -> None:
    """One or two say nothing; more of them move it by a factor of three at most."""
    before = (estimate_of(plan, calibration).byte_count or 0) - plan.samples.other_bytes
    odd = job_of(plan, byte_count=round(10**6 * times), source_bytes=10**6)

    sizes = []
    for _ in range(3):
        calibration.learn(odd)
        sizes.append((estimate_of(plan, calibration).byte_count or 0) - plan.samples.other_bytes)

    assert [before, before] == sizes[:2]
    assert pytest.approx(before * 3 if times > 1 else before / 3, abs=2) == sizes[2]  # whole bytes


def test_short_odd_jobs_do_not_outvote_a_long_one(plan: Plan, calibration: Calibration) -> None:
    """A job of three frames is one keyframe."""
    before = (estimate_of(plan, calibration).byte_count or 0) - plan.samples.other_bytes
    picture = plan.source.byte_count - plan.samples.other_bytes
    calibration.learn(job_of(plan, byte_count=before, source_bytes=picture))
    for _ in range(3):
        calibration.learn(job_of(plan, frames=3, byte_count=10**8, source_bytes=10**6))

    after = (estimate_of(plan, calibration).byte_count or 0) - plan.samples.other_bytes

    assert pytest.approx(before, abs=2) == after  # whole bytes


@pytest.mark.slow
def test_a_network_that_was_never_timed_has_no_time(bundled_clip: Path, calibration: Calibration) -> None:
    """No general figure fits every machine's network."""
    estimate = estimate_of(make_plan(bundled_clip, Wish(scale=2, model="fast")), calibration)

    assert (None, None, "unknown") == (estimate.seconds, estimate.seconds_error, estimate.basis.seconds)


@pytest.mark.slow
def test_what_choosing_the_engine_measured_gives_a_rough_time(bundled_clip: Path, calibration: Calibration) -> None:
    """Two seconds for a million LR pixels, as measured when the engine was chosen, and the encoder's share."""
    plan = make_plan(bundled_clip, Wish(scale=2, model="fast"))
    record = {
        "model": "fast", "scale": 2, "engine": plan.engine, "precision": plan.precision,
        "measured": [
            {"engine": plan.engine, "precision": plan.precision, "seconds": 0.1, "pixels": 50_000, "fault": ""},
            {"engine": "other", "precision": plan.precision, "seconds": 9.0, "pixels": 50_000, "fault": ""},
        ],
    }  # fmt: skip
    calibration.path.with_name("choices.json").write_text(json.dumps({"some key": record}))
    network = 2.0 * plan.source.size.pixels * plan.frame_count / 1e6

    estimate = estimate_of(plan, calibration)

    assert "rough" == estimate.basis.seconds
    assert network < (estimate.seconds or 0.0) < 1.5 * network


def test_a_source_whose_header_counts_no_frame_is_estimated(plan: Plan, calibration: Calibration) -> None:
    """How many there are is seen when they are decoded; nothing may fail before."""
    for _ in range(5):
        calibration.learn(job_of(plan))

    estimate = estimate_of(replace(plan, frame_count=0), calibration, measured_of((25, 900, 100), seconds=1.0))

    assert (estimate.seconds or 0.0) >= 1.0


def test_the_disk_holds_the_segments_and_the_file_they_make(plan: Plan, calibration: Calibration) -> None:
    """Both are there until the work folder goes."""
    estimate = estimate_of(plan, calibration)

    assert 2 * (estimate.byte_count or 0) == estimate.disk_bytes


def test_memory_grows_with_the_picture(plan: Plan, bundled_clip: Path, calibration: Calibration) -> None:
    """Four times the pixels are held in as many frames."""
    larger = make_plan(bundled_clip, Wish(scale=4, model="lanczos"))

    small, large = (estimate_of(one, calibration).memory_bytes or 0 for one in (plan, larger))

    assert small < large < 4 * small


def test_the_record_has_the_documented_shape(plan: Plan, calibration: Calibration) -> None:
    """The API, the page and `--json` read these names."""
    record = estimate_of(plan, calibration).as_record()

    figures = {"seconds", "seconds_error", "byte_count", "byte_count_error", "memory_bytes", "disk_bytes"}
    assert figures | {"basis", "jobs_known"} == set(record)
    assert {"seconds": "rough", "byte_count": "rough"} == record["basis"]
    assert record == json.loads(json.dumps(record))


@pytest.mark.slow
@given(
    st.lists(st.tuples(st.integers(1, 60), st.integers(1, 10**7), st.integers(1, 10**6)), min_size=1, max_size=3),
    st.integers(1, 10**6),
    st.integers(1, 500),
    st.integers(0, 10**9),
)
def test_a_size_is_never_less_than_its_keyframes_and_never_absurd(
    plan: Plan, pieces: list[tuple[int, int, int]], frames: int, segments: int, source_bytes: int
) -> None:
    """Whatever was measured: keyframes, and each other frame at most twice as heavy as in the pieces."""
    measured = measured_of(*((count, lead if count == 1 else lead + rest, lead) for count, rest, lead in pieces))
    whole = replace(_long(plan, frames, min(segments, frames)), samples=Samples(source_bytes=source_bytes))
    lead = min(one.lead_bytes for one in measured.pieces)
    heaviest = max(one.byte_count for one in measured.pieces)

    found = picture_bytes(whole, measured)

    assert lead - 1 <= found
    assert found <= 1 + heaviest * max(frames, 2 * len(whole.segments)) * 2
