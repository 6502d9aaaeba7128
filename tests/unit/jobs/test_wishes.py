"""What a job asks of the plan."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from upscale_server.jobs.job import Asked, Job, Source
from upscale_server.jobs.wishes import wish_of
from upscale_server.settings import Settings

JOB = Job(id="0" * 32, asked=Asked(Source("file", "/a"), scale=2, profile="subnet"), state="queued",
          version=1, attempt=1, created_at=1.0, updated_at=1.0, number=7)  # fmt: skip


def test_padding_comes_from_the_number_alone(tmp_path: Path) -> None:
    """Jobs in a row differ by a byte each, whatever their names are; another attempt asks for the same."""
    settings = Settings(state_dir=tmp_path)
    first, again, later = (
        wish_of(job, settings).padding for job in (JOB, replace(JOB, id="f" * 32, attempt=2), replace(JOB, number=8))
    )

    assert (first, first + 1) == (again, later)
    assert 0 == wish_of(replace(JOB, asked=replace(JOB.asked, profile="general")), settings).padding
