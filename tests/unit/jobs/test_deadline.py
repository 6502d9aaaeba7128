"""When the network's work has to give way: the moment before which Lanczos can still be done."""

from __future__ import annotations

from pathlib import Path

import pytest

from upscale_server.jobs.deadline import FIXED_SECONDS, MARGIN, SECONDS_PER_MEGAPIXEL, Deadline
from upscale_server.plan import Plan, make_plan
from upscale_server.wish import Wish


@pytest.fixture(scope="module")
def plan(bundled_clip: Path) -> Plan:
    """Give the plan of 150 frames of 960x540."""
    return make_plan(bundled_clip, Wish(scale=2, model="lanczos"))


def test_reserve_grows_with_the_pixels_and_the_crowd(plan: Plan) -> None:
    """What Lanczos needs follows from the output's pixels, and from who else uses the lanes."""
    alone = FIXED_SECONDS + MARGIN * SECONDS_PER_MEGAPIXEL * 960 * 540 * 150 / 1e6

    assert alone == pytest.approx(Deadline(0.0, plan).reserve_seconds)
    assert alone == pytest.approx(Deadline(0.0, plan, crowd=0.3).reserve_seconds)
    assert 3 * (alone - FIXED_SECONDS) == pytest.approx(Deadline(0.0, plan, crowd=3).reserve_seconds - FIXED_SECONDS)


def test_deadline_has_come_when_the_reserve_begins(plan: Plan) -> None:
    """The moment is the deadline less the reserve."""
    reserve = Deadline(0.0, plan).reserve_seconds

    assert not Deadline(1000.0, plan, clock=lambda: 999.0 - reserve).has_come
    assert Deadline(1000.0, plan, clock=lambda: 1001.0 - reserve).has_come


def test_no_deadline_never_comes(plan: Plan) -> None:
    """Who set none waits as long as it takes; the fallback itself has none either."""
    assert not Deadline(None, plan, clock=lambda: 1e18).has_come
    assert not Deadline(1.0, plan, clock=lambda: 1e18).none().has_come
