"""A job on the pool knows whether it had the pool for itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest

from upscale_server.checkpoint import Done, WorkDir
from upscale_server.events import Observer, ignore
from upscale_server.plan import Plan, make_plan
from upscale_server.wish import Wish
from upscale_server.workers.company import Company
from upscale_server.workers.crew import Crew
from upscale_server.workers.job_executor import JobExecutor
from upscale_server.workers.messages import FinishVideo, RunSegment


@dataclass
class Lane:
    """A crew that does everything at once and makes nothing."""

    def do(
        self, order: RunSegment | FinishVideo, job: object, observer: Observer, stop: Callable[[], str]
    ) -> Done | None:
        """Do an order."""
        del job, observer, stop
        return Done(order.segment.index, (), 0, "") if isinstance(order, RunSegment) else None


@pytest.fixture
def plan(bundled_clip: Path) -> Plan:
    """Give a plan of several segments."""
    return make_plan(bundled_clip, Wish(scale=2, model="lanczos", segment_seconds=1.0))


def _executor(company: Company) -> JobExecutor:
    crew = cast("Crew", Lane())
    return JobExecutor(lambda: crew, crew, lambda: 1, lambda: "", company)


def test_jobs_one_after_the_other_were_alone(plan: Plan, tmp_path: Path) -> None:
    """Their segments, their joining and their audit."""
    company, work = Company(), WorkDir(tmp_path, plan.digest)
    first, second = _executor(company), _executor(company)

    for one in (first, second):
        done = list(one.run(plan, plan.segments, work, ignore))
        one.finish(plan, done, work, ignore)

    assert first.alone
    assert second.alone


def test_jobs_whose_segments_run_at_the_same_time_were_not(plan: Plan, tmp_path: Path) -> None:
    """One has begun when the other comes; neither is told of as alone, then or later."""
    company, work = Company(), WorkDir(tmp_path, plan.digest)
    first, second = _executor(company), _executor(company)

    running = first.run(plan, plan.segments, work, ignore)
    next(running)
    list(second.run(plan, plan.segments, work, ignore))
    list(running)

    assert not first.alone
    assert not second.alone


def test_a_job_that_is_audited_beside_anothers_segments_was_not_alone(plan: Plan, tmp_path: Path) -> None:
    """The audit decodes two videos, and takes the cores for it."""
    company, work = Company(), WorkDir(tmp_path, plan.digest)
    first, second = _executor(company), _executor(company)
    done = list(first.run(plan, plan.segments, work, ignore))

    running = second.run(plan, plan.segments, work, ignore)
    next(running)
    first.finish(plan, done, work, ignore)
    list(running)

    assert not first.alone


def test_a_job_knows_how_many_of_its_segments_run_at_once() -> None:
    """As many as its task gets lanes."""
    crew = cast("Crew", Lane())

    assert 3 == JobExecutor(lambda: crew, crew, lambda: 3, lambda: "").at_once
