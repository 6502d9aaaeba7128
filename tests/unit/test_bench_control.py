"""What `bench_control` does to a jobs' database is what servers do, and its Postgres is a real one."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import select

from benchmarks.bench_control import Measuring, summary
from benchmarks.control_load import (
    FILM_SEGMENTS,
    RENEWALS,
    WORKS,
    Callers,
    Opened,
    Rate,
    fill,
    opened,
    plan_like,
    rate_of,
)
from tests.support.postgres_server import running_postgres
from upscale_server.jobs.tables import jobs


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Give the address of an empty database."""
    return f"sqlite:///{tmp_path}/jobs.sqlite"


def states(server: Opened) -> Counter[str]:
    """Count the jobs in each state."""
    with server.database.reading() as connection:
        return Counter(connection.execute(select(jobs.c.state)).scalars())


def test_a_life_leads_one_job_to_its_end(url: str) -> None:
    """Handed in, claimed, renewed as often as is said, finished; nothing is left running."""
    with opened(url) as server:
        step = WORKS["life"](server)

        step()
        step()

        assert {"succeeded": 2} == states(server)
        found = server.store.page(None, limit=1)[0][0]
        assert RENEWALS == found.progress.frames_done
        assert plan_like(1) == found.plan


def test_jobs_that_wait_are_claimed_one_by_one(url: str) -> None:
    """What is written past the store can be claimed like what was handed in, and new numbers follow on."""
    with opened(url) as server:
        fill(server, 2500)
        step = WORKS["claim"](server)

        step()
        WORKS["submit"](server)()

        assert {"queued": 2500, "running": 1} == states(server)
        assert 2501 == server.store.page(None, limit=1)[0][0].number


@pytest.mark.parametrize("work", ["renew", "renew_film", "renew_by_row"])
def test_renewals_keep_the_lease_and_the_progress(url: str, work: str) -> None:
    """Every form of a renewal leaves later news and a later end of the lease."""
    with opened(url) as server:
        step = WORKS[work](server)
        columns = (jobs.c.version, jobs.c.lease_until, jobs.c.plan)
        with server.database.reading() as connection:
            before = connection.execute(select(*columns)).one()

        step()

        with server.database.reading() as connection:
            after = connection.execute(select(*columns)).one()
        assert before.version + 1 == after.version
        assert before.lease_until < after.lease_until
        assert plan_like(FILM_SEGMENTS if work == "renew_film" else 1) == after.plan


def test_a_plans_stand_in_is_as_large_as_a_plan() -> None:
    """Five thousand bytes and 75 for each segment, within a tenth."""
    assert len(json.dumps(plan_like(1))) == pytest.approx(4_950, rel=0.1)
    assert len(json.dumps(plan_like(720))) == pytest.approx(4_900 + 720 * 75, rel=0.1)


@pytest.mark.parametrize("callers", [Callers(3), pytest.param(Callers(2, are_servers=True), marks=pytest.mark.slow)])
def test_all_callers_work_from_the_same_moment_on(url: str, callers: Callers) -> None:
    """Every step of every caller is a job in the database, and the rate is that of all together."""
    rate = rate_of(url, "submit", callers, seconds=0.2)

    with opened(url) as server:
        stored = sum(states(server).values())
    assert rate.per_second == pytest.approx(stored / 0.2, rel=0.5)  # the last steps end a little later
    assert 0 < rate.p50_ms <= rate.p99_ms


@pytest.mark.slow
def test_a_process_that_fails_ends_the_measurement(url: str) -> None:
    """Nobody waits for callers that never come."""
    with pytest.raises(RuntimeError, match="LookupError: no job waits to be claimed"):
        rate_of(url, "claim", Callers(2, are_servers=True), seconds=0.1)


def test_names_of_callers_say_what_they_are() -> None:
    """One thread, four threads, sixteen processes."""
    named = [one.name for one in (Callers(1), Callers(4), Callers(16, are_servers=True))]

    assert ["1 thread", "4 threads", "16 processes"] == named


def test_rounds_begin_with_an_empty_database_each(tmp_path: Path) -> None:
    """What one round leaves does not slow the next one down."""
    made: list[str] = []

    def fresh() -> str:
        made.append(f"sqlite:///{tmp_path}/{len(made)}.sqlite")
        return made[-1]

    found = Measuring(fresh, seconds=0.05, rounds=3).of("submit", Callers(1), waiting=5)

    assert 3 == len(set(made))
    assert found["per_second"] > 0


def test_the_middle_of_the_rounds_is_told_with_the_ends() -> None:
    """A spread is part of a figure."""
    found = summary([Rate(10.0, 1.0, 2.0), Rate(30.0, 3.0, 4.0), Rate(20.0, 2.0, 9.0)])

    assert {"per_second": 20.0, "slowest_and_fastest": [10.0, 30.0], "p50_ms": 2.0, "p99_ms": 4.0} == found


@pytest.mark.slow
def test_postgres_is_durable_as_it_comes() -> None:
    """It waits for the disk with every commit, as the jobs' database must; renewals need no lock but their row's."""
    with running_postgres(settings={}) as server:
        asked = [server.ask(f"SHOW {one}")[0][0] for one in ("fsync", "synchronous_commit")]
        with opened(server.new_database()) as database:
            WORKS["life"](database)()
            renew = WORKS["renew_by_row"](database)
            with database.database.writing():  # the lock of all writers is taken meanwhile
                renew()
            found = states(database)

    assert ["on", "on"] == asked
    assert {"succeeded": 1, "running": 1} == found
