"""A stored plan is gone on with as long as it holds, and made anew when it does not."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from upscale_server.jobs.kept_plan import kept_plan
from upscale_server.plan import Plan, make_plan
from upscale_server.wish import Wish


@pytest.fixture
def source(bundled_clip: Path, tmp_path: Path) -> Path:
    """Give a source of our own."""
    return Path(shutil.copy(bundled_clip, tmp_path / "source"))


@pytest.fixture
def plan(source: Path) -> Plan:
    """Give a plan for it."""
    return make_plan(source, Wish(scale=2, model="lanczos"))


def stored(plan: Plan) -> dict[str, Any]:
    """Return a plan as it comes from the database."""
    return dict(json.loads(json.dumps(plan.as_record())))


def test_plan_that_holds_is_kept(plan: Plan, source: Path) -> None:
    """The same decisions and the same name of the work: finished segments are found again."""
    kept = kept_plan(stored(plan), source)

    assert kept is not None
    assert (plan, plan.digest) == (kept, kept.digest)


def test_there_may_be_none(source: Path) -> None:
    """A job that was never planned is planned."""
    assert kept_plan(None, source) is None


def test_plan_of_other_versions_is_not_kept(plan: Plan, source: Path) -> None:
    """Segments of two encoders never get into one file."""
    for versions in ({"upscale-server": "0.0.0"}, {"no-such-package": "1"}):
        assert kept_plan({**stored(plan), "made_with": versions}, source) is None


def test_plan_of_another_source_is_not_kept(plan: Plan, source: Path, tmp_path: Path) -> None:
    """A changed, moved or missing source is planned anew."""
    moved = Path(shutil.copy2(source, tmp_path / "elsewhere"))
    assert kept_plan(stored(plan), moved) is None
    assert kept_plan(stored(plan), tmp_path / "none") is None

    os.utime(source, ns=(1, 1))
    assert kept_plan(stored(plan), source) is None


def test_record_that_cannot_be_read_is_not_kept(source: Path) -> None:
    """What another release wrote costs a new plan and no job."""
    assert kept_plan({"strange": 1}, source) is None
