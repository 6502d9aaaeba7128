"""What only a database can do that several servers share: one clock, no server that holds the others up, restarts.

A real Postgres stands on loopback; each store here is what one server has of it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing

import pytest
from sqlalchemy import func, select
from structlog.testing import capture_logs

from tests.support.killing import AT_LEISURE, wait_until
from tests.support.postgres_server import Postgres
from upscale_server.errors import Conflict, DatabaseAway, NotFound, StorageError
from upscale_server.jobs import opening
from upscale_server.jobs.database import Database
from upscale_server.jobs.deliveries import Delivery
from upscale_server.jobs.job import Asked, Claim, Job, NewJob, Outcome, Source
from upscale_server.jobs.opening import CONNECTIONS
from upscale_server.jobs.store import JobStore
from upscale_server.jobs.tables import jobs, schema
from upscale_server.jobs.usage import Used

pytestmark = pytest.mark.slow

ASKED = Asked(Source("url", "https://example.org/a.mp4"), webhook="https://example.org/hook")
LEASE = 30.0
HOUR = 3600.0


@pytest.fixture
def url(postgres: Postgres) -> str:
    """Give the address of an empty database."""
    return postgres.new_database()


@pytest.fixture
def stores(url: str) -> Iterator[tuple[JobStore, JobStore]]:
    """Give the stores of two servers that have been there for long."""
    with ExitStack() as stack:
        ours, theirs = (stack.enter_context(closing(JobStore(url))) for _ in range(2))
        for store in (ours, theirs):
            store._database._away_at = float("-inf")
        yield ours, theirs


def added(store: JobStore, key: str | None = None) -> Job:
    """Add a job where there is room."""
    return store.add(NewJob(ASKED, key), 10_000)


def messages(store: JobStore) -> list[Delivery]:
    """Take all messages that are due."""
    return list(iter(lambda: store.deliveries.take("a server", 8, LEASE, lambda _: True), None))


def soon(ask: Callable[[], Claim | None]) -> Claim:
    """Ask until there is something to claim."""
    claims: list[Claim] = []

    def is_there() -> bool:
        claims.extend(claim for claim in [ask()] if claim is not None)
        return bool(claims)

    wait_until(is_there, AT_LEISURE)
    return claims[0]


def test_a_server_whose_clock_is_wrong_takes_nobodys_job(
    stores: tuple[JobStore, JobStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Leases, messages and times go by the database's clock: one that is hours ahead, or behind, changes nothing."""
    ours, theirs = stores
    first, second = added(ours), added(ours)
    claim = ours.claim("ours", LEASE)
    assert claim is not None
    true = time.time
    for hours in (5, -5):
        monkeypatch.setattr(time, "time", lambda hours=hours: true() + hours * HOUR)
        taken = theirs.claim(f"theirs {hours}", LEASE)
        if taken is not None:
            theirs.want(taken.job.id, "canceled")
            theirs.let_go(taken, "canceled")
        late = added(theirs)
        ours.hold(claim, claim.job.progress)

        assert ("running", 1) == (ours.get(first.id).state, ours.get(first.id).attempt)
        assert second.created_at < late.created_at < second.created_at + HOUR
    sent, others = messages(theirs), messages(ours)

    assert "canceled" == ours.get(second.id).state
    assert len(sent) > 0
    assert [] == others  # they are leased, whatever the clock here says
    assert abs(true() - ours.now()) < HOUR


def test_a_day_is_the_databases(stores: tuple[JobStore, JobStore], monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that has used its day up has not a new one at a server whose clock is ahead."""
    ours, theirs = stores
    ours.usage.add("key", Used(10, 20))
    true = time.time

    monkeypatch.setattr(time, "time", lambda: true() + 48 * HOUR)
    theirs.usage.add("key", Used(1, 2))

    assert Used(11, 22) == theirs.usage.today("key") == ours.usage.today("key")


def test_a_server_that_stands_still_in_a_transaction_is_thrown_out(
    stores: tuple[JobStore, JobStore], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is stopped, or cut off, while it writes holds the others up for seconds; what it began is not there."""
    monkeypatch.setattr(opening, "STILL_SECONDS", 1)
    still = Database(url)
    job = added(stores[0])
    claims = []

    def write_slowly() -> None:
        with still.writing() as connection:
            connection.execute(jobs.update().values(state="failed"))
            claims.append(stores[1].claim("theirs", LEASE))  # waits for this writer, who does nothing meanwhile

    with pytest.raises(DatabaseAway):
        write_slowly()
    with still.writing():  # it is back when it goes on
        pass
    still.close()

    assert [job.id] == [claim.job.id for claim in claims if claim is not None]
    assert "running" == stores[0].get(job.id).state


def test_a_server_takes_no_more_connections_than_its_share(postgres: Postgres, url: str) -> None:
    """Forty threads that read and write at once wait for each other, and all have their turn."""
    most, over = 0, threading.Event()

    def watch() -> None:
        nonlocal most
        while not over.wait(0.02):
            most = max(most, len(postgres.connected(url)))

    with closing(JobStore(url)) as store, ThreadPoolExecutor(41) as crowd:
        watching = crowd.submit(watch)
        try:
            made = list(crowd.map(lambda _: store.get(added(store).id), range(100)))
        finally:
            over.set()
        watching.result()
        counts = store.counts()

    assert 100 == len({job.id for job in made}) == counts["queued"]
    assert 1 < most <= CONNECTIONS


def test_a_reader_sees_one_state(stores: tuple[JobStore, JobStore], url: str) -> None:
    """Whatever is written between its questions: a list and what is counted beside it agree."""
    database = Database(url)
    count = select(func.count()).select_from(jobs)
    added(stores[0])

    with database.reading() as connection:
        before = connection.execute(count).scalar_one()
        added(stores[1])
        meanwhile = connection.execute(count).scalar_one()
    with database.reading() as connection:
        afterwards = connection.execute(count).scalar_one()
    database.close()

    assert (1, 1, 2) == (before, meanwhile, afterwards)


@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_a_store_outlives_its_database(how: str, stores: tuple[JobStore, JobStore], postgres: Postgres) -> None:
    """While it is away every question is a fault that passes; then all goes on, with nothing lost and no new start."""
    ours, theirs = stores
    job = added(ours, "key")
    claim = ours.claim("ours", LEASE)
    assert claim is not None

    postgres.stop() if how == "stopped" else postgres.crash()
    for ask in (lambda: ours.get(job.id), lambda: added(theirs), lambda: ours.hold(claim, claim.job.progress)):
        with pytest.raises(DatabaseAway) as caught:
            ask()
        assert (503, True) == (caught.value.http_status, caught.value.retryable)
        assert str(postgres.port) not in caught.value.detail  # where it is, is told to the log alone
    postgres.start()

    ours.hold(claim, claim.job.progress)
    assert job.id == added(theirs, "key").id
    assert theirs.claim("theirs", LEASE) is None
    assert "succeeded" == ours.finish(claim, Outcome("results/a.mp4", 1, 1.0)).state


def test_an_outage_makes_nobody_silent_however_long_it_was(
    stores: tuple[JobStore, JobStore], url: str, postgres: Postgres
) -> None:
    """Leases ran out an hour ago; those who live renew theirs before who is back first, or begins, takes their jobs."""
    ours, theirs = stores
    added(ours)
    claim = ours.claim("ours", LEASE)
    assert claim is not None
    with ours._database.writing() as connection:
        connection.execute(jobs.update().values(lease_until=jobs.c.lease_until - HOUR))

    postgres.stop()
    with pytest.raises(DatabaseAway):
        theirs.get(claim.job.id)
    postgres.start()
    back = theirs.claim("theirs", LEASE)
    with closing(JobStore(url)) as fresh:
        begun = fresh.claim("one that begins", LEASE)
    later = soon(lambda: theirs.claim("theirs", 0.001))  # whose own patience is as short

    assert (None, None) == (back, begun)
    assert claim.job.id == later.job.id


def test_a_time_without_an_answer_makes_nobody_silent(stores: tuple[JobStore, JobStore]) -> None:
    """The database stood still and refused nobody, or the whole machine did: who is first takes no others' jobs."""
    ours, theirs = stores
    job = added(ours)
    assert ours.claim("ours", 0.0) is not None

    theirs._database._answered_at -= HOUR

    assert theirs.claim("theirs", LEASE) is None
    assert "running" == ours.get(job.id).state


def test_an_outage_is_told_of_when_it_begins_and_when_it_ends(
    stores: tuple[JobStore, JobStore], postgres: Postgres
) -> None:
    """And once a minute meanwhile, however many ask."""
    postgres.stop()
    with capture_logs() as logged:
        for _ in range(20):
            with pytest.raises(DatabaseAway):
                stores[0].counts()
        postgres.start()
        stores[0].counts()
        stores[0].counts()

    assert ["database_away", "database_back"] == [one["event"] for one in logged]


def test_what_fails_for_ever_is_no_outage(url: str) -> None:
    """A missing table is not waited for: a job that meets it would be done again for ever."""
    database = Database(url)

    with pytest.raises(StorageError, match="none_of_ours") as caught, database.writing() as connection:
        connection.exec_driver_sql("SELECT * FROM none_of_ours")
    database.close()

    assert (StorageError, 502) == (type(caught.value), caught.value.http_status)


def test_a_server_that_a_newer_one_took_over_from_is_not_ready(stores: tuple[JobStore, JobStore], url: str) -> None:
    """It can still tell of jobs; that it can do none is known before a proxy sends it one."""
    ours, _ = stores
    job = added(ours)
    newer = Database(url)
    with newer.writing() as connection:
        connection.execute(schema.update().values(version=99))
    newer.close()

    assert job == ours.get(job.id)
    with pytest.raises(DatabaseAway, match="schema 99"):
        ours.counts()


def test_writers_see_each_other_whatever_the_databases_default_is(postgres: Postgres, url: str) -> None:
    """An operator's stricter isolation would fail every writer that has waited for another one."""
    postgres.ask(f"ALTER DATABASE {url.rpartition('/')[2]} SET default_transaction_isolation = 'serializable'")

    with closing(JobStore(url)) as store, ThreadPoolExecutor(8) as crowd:
        made = list(crowd.map(lambda number: added(store, f"key {number % 10}").id, range(80)))

    assert 10 == len(set(made))


def test_two_servers_with_one_key_make_one_job(stores: tuple[JobStore, JobStore]) -> None:
    """Two hundred times both are handed the same key at the same moment: one of them makes the job, both return it."""
    meeting = threading.Barrier(2)

    def hand_in(store: JobStore) -> list[str]:
        ids = []
        for number in range(200):
            meeting.wait(60)
            ids.append(added(store, f"twin {number}").id)
        return ids

    with ThreadPoolExecutor(2) as both:
        ours, theirs = both.map(hand_in, stores)

    assert ours == theirs
    assert 200 == len(set(ours)) == stores[0].counts()["queued"]


def test_an_owner_that_fell_silent_can_change_nothing_any_more(stores: tuple[JobStore, JobStore]) -> None:
    """Whatever it tries through its claim: the row is the new owner's, byte for byte."""
    ours, theirs = stores
    job = added(ours)
    old = ours.claim("ours", 0.0)
    assert old is not None
    new = soon(lambda: theirs.claim("theirs", LEASE))
    row = theirs.get(job.id)

    for write in (
        lambda: ours.hold(old, old.job.progress), lambda: ours.keep_plan(old, {}), lambda: ours.keep_upload(old, "x"),
        lambda: ours.finish(old, Outcome("results/old.mp4", 1, 1.0)), lambda: ours.fail(old, {}),
        lambda: ours.let_go(old, "queued"),
    ):  # fmt: skip
        with pytest.raises(Conflict):
            write()

    assert row == theirs.get(job.id)
    assert (job.id, 2) == (new.job.id, new.job.attempt)
    with pytest.raises(NotFound):
        ours.get("0" * 32)
