"""A plan that was stored as JSON comes back as the same plan, under the same name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from upscale_server.errors import UpscaleError
from upscale_server.plan import Plan, make_plan
from upscale_server.stored_plan import plan_from
from upscale_server.wish import Wish

WISH = Wish(scale=2, model="lanczos", container="matroska")


def through_json(plan: Plan) -> dict[str, Any]:  # JSON values of many types
    """Return a plan's record as a database gives it back."""
    return dict(json.loads(json.dumps(plan.as_record())))


@pytest.mark.slow
@pytest.mark.parametrize(
    "wish",
    [
        Wish(scale=2, model="lanczos", start_seconds=1.0, duration_seconds=1.5),
        Wish(scale=2, model="lanczos", profile="subnet", padding=24),
        Wish(scale=2, model="lanczos", max_bytes=50_000_000),
        Wish(task="SD2HD", segment_seconds=1.0),
    ],
    ids=["trimmed", "subnet", "promised size", "network"],
)
def test_every_kind_of_wish_comes_back(wish: Wish, bundled_clip: Path) -> None:
    """What was asked for is in the plan and stays there."""
    plan = make_plan(bundled_clip, wish)

    again = plan_from(through_json(plan))

    assert plan == again
    assert plan.digest == again.digest


def test_field_that_an_older_release_did_not_write_has_its_default(bundled_clip: Path) -> None:
    """An update in the middle of a job does not lose it."""
    record = through_json(make_plan(bundled_clip, WISH))
    del record["padding"]

    assert 0 == plan_from(record).padding


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record.pop("source"),
        lambda record: record.update(unheard_of=1),
        lambda record: record.update(segments=5),
        lambda record: record["source"].update(time_base="1/0"),
        lambda record: record["source"].update(time_base="soon"),
    ],
    ids=["lacks a field", "unknown field", "another type", "zero", "no number"],
)
def test_record_that_is_none_is_refused(change: Callable[[dict[str, Any]], object], bundled_clip: Path) -> None:
    """A plan is never guessed."""
    record = through_json(make_plan(bundled_clip, WISH))
    change(record)

    with pytest.raises(UpscaleError, match="the stored plan cannot be read"):
        plan_from(record)
