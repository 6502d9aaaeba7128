"""The plan for a second round: the same pictures, fewer bits, and an end where nothing smaller makes sense."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.clip_spec import Clip
from tests.support.clip_writer import write_clip
from upscale_server.media.encoders import CRF_MAX
from upscale_server.plan import Plan, make_plan
from upscale_server.shrink import smaller
from upscale_server.wish import Wish


@pytest.fixture(scope="module", params=["hevc", "h264", "av1"])
def plan(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """Give a plan whose output may have 100 000 bytes."""
    source = write_clip(Clip(), tmp_path_factory.mktemp("shrink") / "clip.mp4")
    return make_plan(source, Wish(model="lanczos", codec=request.param, max_bytes=100_000))


@pytest.mark.parametrize("reached", [0, 100_001, 150_000, 400_000])
def test_a_second_round_differs_in_the_encoder_alone(plan: Plan, reached: int) -> None:
    """Sizes, passes, segments and times stay; CRF rises and the rate falls by at least the excess."""
    again = smaller(plan, reached)

    assert again is not None
    assert plan == replace(again, encoder=plan.encoder)
    assert again.encoder.crf > plan.encoder.crf
    assert again.encoder.rate_kbit <= plan.encoder.rate_kbit * min(1.0, 100_000 / max(reached, 1))
    assert again.encoder.buffer_kbit <= plan.encoder.buffer_kbit
    assert again.digest != plan.digest


def test_there_is_an_end(plan: Plan) -> None:
    """Rounds end with None and not with settings that the encoder does not take."""
    rounds = 0
    again: Plan | None = plan
    while again is not None:
        assert again.encoder.crf <= CRF_MAX[again.encoder.codec]
        again, rounds = smaller(again, 130_000), rounds + 1

    assert rounds > 2


def test_an_excess_that_no_setting_can_answer_is_not_tried(plan: Plan) -> None:
    """A thousand times too large is not a matter of settings."""
    assert smaller(plan, 100_000_000) is None


def test_a_limit_that_was_kept_is_not_the_reason(plan: Plan) -> None:
    """An output within its limit that no longer shows its source does not get better by fewer bytes."""
    assert smaller(plan, 99_000) is None


def test_the_excess_is_the_pictures_alone(plan: Plan) -> None:
    """Where sound takes most of the limit, a small excess of the file is a large one of the picture."""
    beside_sound = replace(plan, encoder=replace(plan.encoder, rate_kbit=plan.encoder.rate_kbit // 10, buffer_kbit=1))

    alone, beside = smaller(plan, 103_000), smaller(beside_sound, 103_000)

    assert alone is not None
    assert beside is not None
    assert beside.encoder.crf > alone.encoder.crf


def test_without_a_limit_there_is_nothing_to_shrink_to(plan: Plan) -> None:
    """A plan that promised no size has no smaller one."""
    assert smaller(replace(plan, max_bytes=None), 1) is None
