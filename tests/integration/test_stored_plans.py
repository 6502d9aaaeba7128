"""A plan that was stored as JSON comes back as the same plan, whatever its source is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.clips import CASES
from upscale_server.plan import make_plan
from upscale_server.stored_plan import plan_from
from upscale_server.wish import Wish


@pytest.mark.parametrize("name", sorted(CASES))
def test_every_kind_of_source_comes_back(name: str, tmp_path: Path) -> None:
    """HDR, variable rates, rotations, refused streams: each keeps its values, their types and its digest."""
    case = CASES[name]
    path = case.write(tmp_path / f"clip{case.suffix}")
    plan = make_plan(path, Wish(scale=2, model="lanczos", container="matroska"))

    again = plan_from(json.loads(json.dumps(plan.as_record())))

    assert plan == again
    assert plan.digest == again.digest
