"""Who worked at the same time as others is known, also after they left."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import cast

import pytest

from upscale_server.events import ignore
from upscale_server.workers.company import Company, Guest
from upscale_server.workers.desk import Desk
from upscale_server.workers.needs import PoolNeeds
from upscale_server.workers.pool import Pool


def test_one_who_meets_nobody_was_alone() -> None:
    """One job after the other shares nothing."""
    company, first, second = Company(), Guest(), Guest()

    with company.joined(first):
        pass
    with company.joined(second):
        pass

    assert first.alone
    assert second.alone


def test_both_who_meet_were_not_alone_and_stay_so() -> None:
    """The one that was there first is slowed down as well."""
    company, first, second = Company(), Guest(), Guest()

    with company.joined(first), company.joined(second):
        pass
    with company.joined(first):
        pass

    assert not first.alone
    assert not second.alone


def test_who_fails_has_left() -> None:
    """A job that ended with an error slows nobody down."""
    company, first, second = Company(), Guest(), Guest()

    with suppress(ValueError), company.joined(first):
        int("no number")
    with company.joined(second):
        pass

    assert second.alone


class NotedDesk:
    """A desk that asks, while it works, whether a job that is at work meanwhile is still alone."""

    def __init__(self, job: Guest) -> None:
        self.job = job
        self.alone: list[bool] = []

    def do(self, *_given: object) -> None:
        """Take note."""
        self.alone.append(self.job.alone)

    measure = do


@pytest.mark.parametrize(
    "work",
    [
        lambda pool: pool.write_excerpt(None, Path("excerpt.mp4"), ignore, str),
        lambda pool: pool.compare(Path("a.mp4"), Path("b.mp4"), ignore, str),
    ],
    ids=["an excerpt", "a comparison"],
)
def test_work_of_previews_at_the_desk_is_company(work: Callable[[Pool], object]) -> None:
    """It takes cores from a job that is timed meanwhile, whose time then says nothing."""
    pool, job = Pool(PoolNeeds()), Guest()
    desk = NotedDesk(job)
    pool._desk = cast("Desk", desk)

    with pool._company.joined(job):
        work(pool)

    assert [False] == desk.alone
