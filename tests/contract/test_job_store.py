"""What every database behind `JobStore` must do; run on SQLite, and on a real Postgres where one can be started."""

from __future__ import annotations

import stat
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text, update
from structlog.testing import capture_logs

from tests.support.postgres_server import Postgres
from upscale_server.errors import BadRequest, Conflict, JobDamaged, MissingExtra, NotFound, QueueFull, StorageError
from upscale_server.events import Event, JobBegun, JobEnded
from upscale_server.jobs.database import Database
from upscale_server.jobs.job import FOLLOWS, Asked, Claim, Job, NewJob, Outcome, Progress, Source, State, Wanted
from upscale_server.jobs.store import JobStore
from upscale_server.jobs.tables import jobs, schema

ASKED = Asked(Source("url", "https://example.org/a.mp4"), task="SD2HD", maximum_mb=12.5, file_name="ünïcödé")
OUTCOME = Outcome("results/x.mp4", 1234, 5.5, audit={"ok": True}, report={"model": "fast"})
LEASE = 30.0


class Clock:
    """Seconds that pass when a test says so; every look is a little later, so that times tell an order."""

    def __init__(self) -> None:
        self.now = 1_000_000.0
        self._lock = threading.Lock()

    def __call__(self) -> float:
        """Return the time."""
        with self._lock:
            self.now += 0.001
            return self.now


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Give the address of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/state/jobs.sqlite"
    started: Postgres = request.getfixturevalue("postgres")
    return started.new_database()


@pytest.fixture
def clock() -> Clock:
    """Give a clock that stands still."""
    return Clock()


@pytest.fixture
def store(url: str, clock: Clock) -> Iterator[JobStore]:
    """Give an empty store."""
    opened = JobStore(url, attempts=3, clock=clock)
    yield opened
    opened.close()


def added(store: JobStore, key_id: str = "", idempotency_key: str | None = None) -> Job:
    """Add a job where there is room."""
    return store.add(NewJob(ASKED, idempotency_key, key_id), room=100)


def claimed(store: JobStore, owner: str = "a") -> Claim:
    """Claim the next job."""
    claim = store.claim(owner, LEASE)
    assert claim is not None
    return claim


def test_job_comes_back_as_it_was_given(store: JobStore) -> None:
    """Nothing of what was asked is lost on the way through the database."""
    job = added(store, key_id="k1")

    found = store.get(job.id)

    assert ASKED == found.asked
    assert ("queued", 0, "k1", Progress()) == (found.state, found.attempt, found.key_id, found.progress)
    assert job == found


def test_ends_are_told_once_and_only_when_they_are_on_the_disk(url: str, clock: Clock) -> None:
    """Whoever counts is told of a first claim and of every end: by success, in the queue, of poison, unreadable."""
    told: list[Event] = []
    store = JobStore(url, attempts=1, clock=clock, observer=told.append)
    _, second, _, fourth = (added(store) for _ in range(4))
    store.want(second.id, "canceled")
    clock.now += 10
    claim = claimed(store)
    store.finish(claim, OUTCOME)
    with pytest.raises(Conflict):
        store.finish(claim, OUTCOME)
    store.hold(claimed(store), Progress("upscale"))
    store.take_back("a")
    with store._database.writing() as connection:
        connection.execute(update(jobs).where(jobs.c.id == fourth.id).values(asked=["no job"]))
    assert store.claim("a", LEASE) is None
    store.close()

    begun = [one for one in told if isinstance(one, JobBegun)]
    ends = [one for one in told if isinstance(one, JobEnded)]
    assert ["canceled", "succeeded", "failed", "failed"] == [one.outcome for one in ends]
    assert ["SD2HD", "SD2HD", "SD2HD", None] == [one.task for one in ends]
    assert [True, False, False, True] == [one.seconds is None for one in ends]
    assert [10, 10] == [pytest.approx(one.waited_seconds, abs=1) for one in begun]  # the clock goes on by milliseconds


def test_a_job_that_cannot_be_read_hides_no_other(store: JobStore) -> None:
    """Wherever many are asked for it is left out, also where it is the last of a page; it is logged once."""
    first, broken, last = (added(store) for _ in range(3))
    with store._database.writing() as connection:
        connection.execute(update(jobs).where(jobs.c.id == broken.id).values(asked=["no job"]))

    with capture_logs() as logged:
        page, after = store.page(None, 2)
        rest, end = store.page(after, 2)
        new = store.after(0)
        named = store.some([first.id, broken.id])

    assert ([last.id], [first.id], None) == ([job.id for job in page], [job.id for job in rest], end)
    assert [first.id, last.id] == [job.id for job in new]
    assert [first.id] == [job.id for job in named]
    assert [("job_unreadable", broken.id)] == [(one["event"], one["job_id"]) for one in logged]


@pytest.mark.parametrize("column", ["asked", "progress", "plan", "outcome", "fault"])
def test_a_column_that_is_no_json_hides_no_other_job(tmp_path: Path, column: str) -> None:
    """Half a value, as a torn file leaves it: the others are listed and claimed; asking for this one says what it is.

    SQLite alone: Postgres stores nothing in such a column that is no JSON.
    """
    store = JobStore(f"sqlite:///{tmp_path}/jobs.sqlite")
    broken, whole = added(store), added(store)
    tear(store, broken, column)

    with capture_logs() as logged:
        page, _ = store.page(None, 10)
        with pytest.raises(JobDamaged, match=f"{broken.id} is damaged"):
            store.get(broken.id)
    next_one = claimed(store).job
    store.close()

    assert [whole.id] == [job.id for job in page]
    assert whole.id == next_one.id
    assert [("job_unreadable", broken.id)] == [(one["event"], one["job_id"]) for one in logged]


def test_a_running_job_that_cannot_be_read_stops_no_start(tmp_path: Path) -> None:
    """Taken back from an owner that died it is failed, and the jobs behind it go on."""
    store = JobStore(f"sqlite:///{tmp_path}/jobs.sqlite")
    broken, whole = added(store), added(store)
    claimed(store)
    tear(store, broken, "progress")

    taken = store.take_back("a")
    next_one = claimed(store).job
    counts = store.counts()
    store.close()

    assert [] == taken
    assert whole.id == next_one.id
    assert (1, 1) == (counts["failed"], counts["running"])


def test_whoever_asks_for_a_damaged_job_is_told_so(tmp_path: Path) -> None:
    """Whatever is asked, by one kind of fault; nothing changes, and what stands in plain columns is still told."""
    store = JobStore(f"sqlite:///{tmp_path}/jobs.sqlite")
    waiting, ended = added(store, "anna", "again"), added(store)
    store.want(ended.id, "canceled")
    for job in (waiting, ended):
        tear(store, job, "asked")

    for ask in (
        lambda: store.get(waiting.id),
        lambda: store.want(waiting.id, "canceled"),
        lambda: store.want(waiting.id, "paused"),
        lambda: store.want(ended.id, "canceled"),
        lambda: store.retry(ended.id, 100),
        lambda: added(store, "anna", "again"),
    ):
        with pytest.raises(JobDamaged, match="is damaged"):
            ask()
    outlines = [store.outline(job.id) for job in (waiting, ended)]
    store.close()

    assert [("anna", "queued", None), ("", "canceled")] == [
        (outlines[0].key_id, outlines[0].state, outlines[0].finished_at), (outlines[1].key_id, outlines[1].state)
    ]  # fmt: skip


def test_a_damaged_job_can_be_removed_where_nobody_carries_it(tmp_path: Path) -> None:
    """It could never finish; one that is held is its owner's, and one that is whole is canceled first."""
    store = JobStore(f"sqlite:///{tmp_path}/jobs.sqlite")
    held, waiting, whole = (added(store) for _ in range(3))
    claimed(store)
    for job in (held, waiting):
        tear(store, job, "asked")
    with pytest.raises(JobDamaged):
        store.get(waiting.id)

    store.remove(waiting.id)
    refused = [held.id, whole.id]
    for job_id in refused:
        with pytest.raises(Conflict):
            store.remove(job_id)

    with pytest.raises(NotFound):
        store.outline(waiting.id)
    assert not store.has_unreadable
    store.close()


def test_a_job_that_is_damaged_in_hand_fails_when_it_is_let_go(tmp_path: Path) -> None:
    """Or whoever gives back what is not finished would meet it again and again, and take no other job."""
    store = JobStore(f"sqlite:///{tmp_path}/jobs.sqlite")
    broken = added(store)
    claim = claimed(store)
    tear(store, broken, "asked")

    with pytest.raises(Conflict, match="is damaged"):
        store.let_go(claim, "queued")
    state = store.outline(broken.id).state
    store.close()

    assert "failed" == state


def tear(store: JobStore, job: Job, column: str) -> None:
    """Leave half a value in a column."""
    with store._database.writing() as connection:
        connection.execute(update(jobs).where(jobs.c.id == job.id).values({column: text("'{\"half'")}))


def test_accepted_job_outlives_the_process(url: str) -> None:
    """Another store on the same database finds the job: it was on the disk when `add` returned."""
    first = JobStore(url)
    job = added(first)
    first.close()

    second = JobStore(url)

    assert job == second.get(job.id)
    second.close()


def test_servers_may_start_at_once_on_an_empty_database(url: str) -> None:
    """The first start makes the tables; others of the same moment wait for it and find them."""
    barrier = threading.Barrier(6)

    def start(_: int) -> JobStore:
        barrier.wait()
        return JobStore(url)

    with ThreadPoolExecutor(6) as pool:
        stores = list(pool.map(start, range(6)))
    numbers = [added(store).number for store in stores]

    assert list(range(1, 7)) == numbers
    for store in stores:
        store.close()


def test_names_cannot_be_guessed(store: JobStore) -> None:
    """An id is 128 random bits."""
    names = {added(store).id for _ in range(20)}

    assert 20 == len(names)
    assert all(len(name) == 32 and int(name, 16) >= 0 for name in names)


def test_no_two_jobs_ever_have_the_same_number(store: JobStore) -> None:
    """Numbers count up through removals, retries and submits at once: what is derived from them is one of a kind."""
    first, second = added(store), added(store)
    store.want(second.id, "canceled")
    store.remove(second.id)
    with ThreadPoolExecutor(8) as pool:
        later = list(pool.map(lambda _: added(store).number, range(8)))

    assert [1, 2] == [first.number, second.number]
    assert list(range(3, 11)) == sorted(later)
    store.want(first.id, "canceled")
    assert 1 == store.retry(first.id, room=99).number


def test_unknown_job_is_not_found(store: JobStore) -> None:
    """There is no answer about a job that does not exist."""
    for ask in (store.get, store.resume, lambda job_id: store.retry(job_id, 9), store.remove):
        with pytest.raises(NotFound):
            ask("0" * 32)


def test_full_queue_takes_no_more(store: JobStore) -> None:
    """Only so many jobs wait; a running one takes no room, and a paused one does."""
    store.add(NewJob(ASKED), room=2)
    store.add(NewJob(ASKED), room=2)
    with pytest.raises(QueueFull, match="UPSCALE_JOBS__ROOM"):
        store.add(NewJob(ASKED), room=2)

    claim = claimed(store)

    third = store.add(NewJob(ASKED), room=2)
    assert "queued" == third.state
    store.want(third.id, "paused")
    with pytest.raises(QueueFull):
        store.add(NewJob(ASKED), room=2)
    store.fail(claim, {"code": "x"})
    with pytest.raises(QueueFull):
        store.retry(claim.job.id, room=2)
    assert "queued" == store.resume(third.id).state, "it never gave up its place"


@pytest.mark.parametrize(
    ("wanted", "to", "after"),
    [
        ("canceled", "queued", "canceled"),
        ("canceled", "paused", "canceled"),
        ("paused", "queued", "paused"),
        ("paused", "canceled", "canceled"),
    ],
)
def test_wish_that_was_taken_is_not_forgotten_when_a_job_is_given_up(
    store: JobStore, wanted: Wanted, to: State, after: State
) -> None:
    """A cancel or pause that was answered before the job is let go is done, whatever it was let go for."""
    job = added(store)
    claim = claimed(store)
    store.want(job.id, wanted)

    assert after == store.let_go(claim, to).state


def test_pause_that_is_not_done_yet_can_be_taken_back(store: JobStore) -> None:
    """Resuming a job that is to be paused lets it go on, also when it is given up for the pause just then."""
    job = added(store)
    claim = claimed(store)
    store.want(job.id, "paused")

    back = store.resume(job.id)

    assert ("running", "", claim.job.attempt) == (back.state, back.wanted, back.attempt)
    assert "" == store.hold(claim, Progress("upscale"))
    with pytest.raises(Conflict, match="running"):
        store.resume(job.id)
    assert "queued" == store.let_go(claim, "paused").state
    assert job.id == claimed(store).job.id


def test_cancel_is_not_taken_back_by_a_resume(store: JobStore) -> None:
    """A cancel that was answered is done."""
    job = added(store)
    claimed(store)
    store.want(job.id, "canceled")

    with pytest.raises(Conflict):
        store.resume(job.id)


def test_signature_of_an_address_goes_with_success(store: JobStore) -> None:
    """A presigned query is kept while the job may be fetched again, and not for days after; duplicates still meet."""
    signed = replace(ASKED, source=Source("url", "https://example.org/a.mp4?X-Amz-Signature=hush#t"))
    done, failed = (store.add(NewJob(signed, key), room=9) for key in ("x", "y"))
    store.finish(claimed(store), OUTCOME)
    store.fail(claimed(store), {"code": "x"})

    assert replace(signed, source=Source("url", "https://example.org/a.mp4")) == store.get(done.id).asked
    assert signed == store.get(failed.id).asked
    assert done.id == store.add(NewJob(signed, "x"), room=9).id


def test_batch_is_stored_whole_or_not_at_all(store: JobStore) -> None:
    """One transaction: a batch that finds no room leaves none of itself behind, even if the server dies in it."""
    with pytest.raises(QueueFull):
        store.add_all([NewJob(ASKED)] * 3, room=2)
    assert 0 == store.counts()["queued"]

    taken = [job.id for job in store.add_all([NewJob(ASKED)] * 5, room=5)]
    assert [1, 2, 3, 4, 5] == [store.place(job_id) for job_id in taken]
    assert taken == [claimed(store).job.id for _ in taken], "in the order in which they were asked for"


def test_job_whose_bytes_are_elsewhere_is_left_to_its_server(store: JobStore) -> None:
    """An upload lies on one server's disk; another one that shares the queue takes what comes after it."""
    sent = store.add(NewJob(ASKED, home="b"), room=9)
    free = added(store)

    assert [free.id] == [claim.job.id for claim in (store.claim("a", LEASE), store.claim("a", LEASE)) if claim]
    assert sent.id == claimed(store, "b").job.id


def test_paused_jobs_that_nobody_touched_are_known(store: JobStore, clock: Clock) -> None:
    """The janitor asks for jobs that were paused long ago; one that waits is none of them."""
    job = added(store)
    added(store)
    store.want(job.id, "paused")

    assert [] == store.forsaken(clock.now - 10)
    assert [job.id] == [one.id for one in store.forsaken(clock.now + 10)]


def test_same_idempotency_key_is_the_same_job(store: JobStore) -> None:
    """A repeated request gets the job of the first one, whatever became of it, and even when the queue is full."""
    first = added(store, idempotency_key="x")

    assert first.id == store.add(NewJob(ASKED, "x"), room=1).id
    later = NewJob(replace(ASKED, deadline=77.0), "x")
    assert first.id == store.add(later, room=1).id, "a deadline counts from the moment of asking"


def test_idempotency_key_of_another_request_is_refused(store: JobStore) -> None:
    """A key stands for one request of one caller."""
    first = added(store, idempotency_key="x", key_id="alice")
    with pytest.raises(Conflict, match=first.id):
        store.add(NewJob(replace(ASKED, task="HD24K"), "x", "alice"), room=9)

    assert first.id != added(store, idempotency_key="x", key_id="bob").id


def test_caller_may_say_what_is_the_same_request(store: JobStore) -> None:
    """An upload lies elsewhere every time; the caller's digest decides."""
    here, there = (replace(ASKED, source=Source("upload", place)) for place in ("/a", "/b"))
    first = store.add(NewJob(here, "x", digest="same"), room=9)

    assert first.id == store.add(NewJob(there, "x", digest="same"), room=9).id
    with pytest.raises(Conflict):
        store.add(NewJob(here, "x", digest="other"), room=9)


def test_twenty_at_once_make_one_job(store: JobStore) -> None:
    """Duplicates that come at the same moment meet the same job."""
    barrier = threading.Barrier(20)

    def submit(_: int) -> str:
        barrier.wait()
        return added(store, idempotency_key="x").id

    with ThreadPoolExecutor(20) as pool:
        names = set(pool.map(submit, range(20)))

    assert 1 == len(names)
    assert 1 == store.counts()["queued"]


@pytest.mark.slow
def test_twenty_owners_claim_each_job_once(store: JobStore) -> None:
    """Two owners never hold the same job."""
    for _ in range(20):
        added(store)
    barrier = threading.Barrier(20)

    def take(number: int) -> str:
        barrier.wait()
        return claimed(store, f"owner {number}").job.id

    with ThreadPoolExecutor(20) as pool:
        names = list(pool.map(take, range(20)))

    assert 20 == len(set(names))
    assert store.claim("late", LEASE) is None


def test_jobs_are_claimed_in_the_order_they_came(store: JobStore) -> None:
    """The queue is fair, and a job knows its place in it."""
    jobs = [added(store) for _ in range(3)]

    assert [1, 2, 3] == [store.place(job.id) for job in jobs]
    assert [job.id for job in jobs] == [claimed(store).job.id for _ in range(3)]
    assert 0 == store.place(jobs[0].id)


def test_claim_counts_attempts_and_keeps_the_first_start(store: JobStore, clock: Clock) -> None:
    """`attempt` grows with each claim; `started_at` is when work on the job first began."""
    added(store)
    first = claimed(store)
    store.let_go(first, "queued")
    clock.now += 100

    second = claimed(store)

    assert (1, 2) == (first.job.attempt, second.job.attempt)
    assert first.job.started_at == second.job.started_at


def test_old_attempt_may_write_nothing(store: JobStore, clock: Clock) -> None:
    """A claim whose job went to another owner is fenced off, whatever it tries."""
    added(store)
    old = claimed(store, "a")
    clock.now += LEASE + 1
    new = claimed(store, "b")
    attempts: list[Callable[[], object]] = [
        lambda: store.hold(old, Progress("upscale")),
        lambda: store.keep_plan(old, {}),
        lambda: store.keep_upload(old, "u"),
        lambda: store.finish(old, OUTCOME),
        lambda: store.fail(old, {}),
        lambda: store.let_go(old, "queued"),
    ]

    for attempt in attempts:
        with pytest.raises(Conflict):
            attempt()

    assert old.job.id == new.job.id
    assert store.get(new.job.id) == new.job
    assert store.finish(new, OUTCOME).state == "succeeded"


def test_own_lease_is_not_taken_from_oneself(store: JobStore, clock: Clock) -> None:
    """After a sleep of the machine its jobs are still its own: two threads never work in one folder."""
    added(store)
    claimed(store, "a")
    clock.now += 10 * LEASE

    assert store.claim("a", LEASE) is None
    assert store.claim("b", LEASE) is not None


def test_held_lease_does_not_run_out(store: JobStore, clock: Clock) -> None:
    """A heartbeat keeps a job from other owners."""
    added(store)
    claim = claimed(store, "a")
    clock.now += LEASE - 1
    store.hold(claim, Progress())
    clock.now += LEASE - 1

    assert store.claim("b", LEASE) is None


def test_heartbeat_without_progress_is_no_news(store: JobStore) -> None:
    """`version` grows with what a watcher sees, not with every renewal."""
    added(store)
    claim = claimed(store)
    store.hold(claim, Progress("upscale", 5, 10))
    version = store.get(claim.job.id).version
    store.hold(claim, Progress("upscale", 5, 10))

    assert version == store.get(claim.job.id).version
    store.hold(claim, Progress("upscale", 6, 10))
    assert version + 1 == store.get(claim.job.id).version


def test_dead_servers_jobs_are_taken_back_at_once(store: JobStore) -> None:
    """A restarted server does not wait for its own leases; another's stay."""
    mine, theirs = added(store), added(store)
    claimed(store, "a")
    claimed(store, "b")

    taken = store.take_back("a")

    assert [mine.id] == [job.id for job in taken]
    assert ("queued", "running") == (store.get(mine.id).state, store.get(theirs.id).state)
    assert 1 == store.place(mine.id)


def test_wish_of_an_owner_is_done_when_the_server_died(store: JobStore) -> None:
    """A cancel or pause that the dead server did not get to is not forgotten."""
    for wanted in ("canceled", "paused"):
        added(store)
        claim = claimed(store, "a")
        store.want(claim.job.id, wanted)

        taken = store.take_back("a")

        assert [wanted] == [job.state for job in taken]


def test_job_that_kills_its_servers_is_poison(store: JobStore) -> None:
    """Three deaths at the same point fail a job, so that it takes no more servers along."""
    added(store)
    states = []
    for _ in range(3):
        claim = claimed(store, "a")
        store.hold(claim, Progress("upscale", segments_done=2))
        states.append(store.take_back("a")[0].state)

    failed = store.get(claim.job.id)

    assert ["queued", "queued", "failed"] == states
    assert failed.fault is not None
    assert ("internal", failed.id) == (failed.fault["code"], failed.fault["request_id"])
    assert "poison" in failed.fault["detail"]


def test_job_whose_measuring_kills_its_servers_is_no_poison(store: JobStore) -> None:
    """The result is whole by then; numbers are no reason to fail it."""
    added(store)
    for _ in range(3):
        store.hold(claimed(store, "a"), Progress("quality"))

        assert ["queued"] == [job.state for job in store.take_back("a")]


def test_job_that_gets_on_is_no_poison(store: JobStore) -> None:
    """A long job on a machine that restarts often is not given up while it comes further each time."""
    added(store)
    ways = [Progress("plan"), *(Progress("upscale", segments_done=number) for number in range(9)), Progress("join")]
    for reached in ways:
        claim = claimed(store, "a")
        store.hold(claim, reached)

        assert ["queued"] == [job.state for job in store.take_back("a")]


def test_dying_on_the_way_to_the_old_point_is_no_progress(store: JobStore) -> None:
    """Deaths at changing places before the furthest one count, too: the job never gets on."""
    added(store)
    states = []
    for segments_done in (5, 2, 4):
        claim = claimed(store, "a")
        store.hold(claim, Progress("upscale", segments_done=segments_done))
        states += [job.state for job in store.take_back("a")]

    assert ["queued", "queued", "failed"] == states


def test_deaths_of_several_servers_that_all_get_on_are_no_poison(store: JobStore, clock: Clock) -> None:
    """Each begins anew, so that each gets less far than the one before; the job kills none of them."""
    added(store)
    for owner, segments_done in (("a", 9), ("b", 6), ("c", 3), ("d", 1)):
        store.hold(claimed(store, owner), Progress("upscale", segments_done=segments_done))
        clock.now += LEASE + 1

    assert 5 == claimed(store, "e").job.attempt


@pytest.mark.parametrize(("phase", "deaths"), [("plan", 3), ("upscale", 32)])
def test_a_job_that_kills_one_server_after_the_other_is_poison(
    phase: str, deaths: int, store: JobStore, clock: Clock
) -> None:
    """At once where none comes to its segments; else when it has moved so often that nothing else explains it."""
    job = added(store)
    counted = 0
    while (claim := store.claim("ab"[counted % 2], LEASE)) is not None:
        store.hold(claim, Progress(phase, segments_done=1 if phase == "upscale" else 0))
        clock.now += LEASE + 1
        counted += 1

    assert ("failed", deaths) == (store.get(job.id).state, counted)


def test_waiting_job_is_cancelled_at_once_and_a_running_one_is_told(store: JobStore) -> None:
    """Where nobody carries a job nobody has to be waited for."""
    running, waiting = added(store), added(store)
    claim = claimed(store)

    assert "canceled" == store.want(waiting.id, "canceled").state
    assert ("running", "canceled") == (store.want(running.id, "canceled").state, store.hold(claim, Progress()))
    assert "canceled" == store.let_go(claim, "canceled").state
    assert "" == store.get(running.id).wanted


def test_wanting_twice_changes_nothing(store: JobStore) -> None:
    """A repeated cancel is answered like the first; a cancel is not taken back by a pause."""
    job = added(store)
    claimed(store)
    first = store.want(job.id, "canceled")

    assert first == store.want(job.id, "canceled")
    assert "canceled" == store.want(job.id, "paused").wanted


@pytest.mark.parametrize("state", ["succeeded", "failed", "canceled", "paused", "queued"])
def test_impossible_wishes_are_refused(state: State, store: JobStore) -> None:
    """Only steps of the table are taken; the answer names the state."""
    job = in_state(store, state)
    asks: dict[str, Callable[[], Job]] = {
        "canceled": lambda: store.want(job.id, "canceled"),
        "paused": lambda: store.want(job.id, "paused"),
        "resume": lambda: store.resume(job.id),
        "retry": lambda: store.retry(job.id, 9),
    }
    allowed = {
        "succeeded": set(),
        "failed": {"retry"},
        "canceled": {"canceled", "retry"},
        "paused": {"canceled", "paused", "resume"},
        "queued": {"canceled", "paused"},
    }[state]

    for name in sorted(set(asks) - allowed):
        with pytest.raises(Conflict, match=state):
            asks[name]()
    assert job == store.get(job.id)


def in_state(store: JobStore, state: State) -> Job:
    """Return a new job in a state."""
    job = added(store)
    if state == "queued":
        return job
    if state in ("paused", "canceled"):
        return store.want(job.id, state)
    claim = claimed(store)
    if state == "running":
        return claim.job
    return store.finish(claim, OUTCOME) if state == "succeeded" else store.fail(claim, {"code": "x"})


def test_outcome_comes_back_as_it_was_given(store: JobStore, clock: Clock) -> None:
    """What a job left is kept with it, and its end is dated."""
    added(store)
    claim = claimed(store)
    store.hold(claim, Progress("audit", 10, 24, segments_done=3))

    done = store.finish(claim, OUTCOME)

    assert OUTCOME == store.get(done.id).outcome
    assert Progress("done", 24, 24, segments_done=3) == done.progress
    assert done.finished_at == pytest.approx(clock.now, abs=0.1)


def test_cancel_that_comes_with_the_end_wins(store: JobStore) -> None:
    """Who was told that the job is being cancelled does not find it succeeded."""
    added(store)
    claim = claimed(store)
    store.want(claim.job.id, "canceled")

    ended = store.finish(claim, OUTCOME)

    assert ("canceled", None) == (ended.state, ended.outcome)


def test_cancel_that_comes_with_a_fault_wins(store: JobStore) -> None:
    """A cancel that was taken leaves nothing, and a failed job's work would stay for a retry."""
    added(store)
    claim = claimed(store)
    store.want(claim.job.id, "canceled")

    ended = store.fail(claim, {"code": "internal"})

    assert ("canceled", None) == (ended.state, ended.fault)


def test_a_pause_does_not_start_the_clock_anew(url: str, clock: Clock) -> None:
    """A resumed job began when it was first claimed: one wait is told of it, and a duration with its pause."""
    told: list[Event] = []
    store = JobStore(url, attempts=3, clock=clock, observer=told.append)
    added(store)
    first = claimed(store)
    clock.now += 3600
    store.want(first.job.id, "paused")
    store.let_go(first, "paused")
    store.resume(first.job.id)
    clock.now += 10
    again = claimed(store)
    store.finish(again, OUTCOME)
    store.close()

    assert first.job.started_at == again.job.started_at
    assert 1 == sum(isinstance(one, JobBegun) for one in told)
    durations = [one.seconds for one in told if isinstance(one, JobEnded)]
    assert [3610] == [pytest.approx(one, abs=1) for one in durations]  # the clock goes on by milliseconds


def test_retry_starts_the_clock_anew(store: JobStore, clock: Clock) -> None:
    """The time that a failed job lay about is no time that it took."""
    added(store)
    first = claimed(store)
    store.fail(first, {"code": "internal"})
    clock.now += 100
    store.retry(first.job.id, 10)

    assert 100 <= (claimed(store).job.started_at or 0) - (first.job.started_at or 0)


def test_plan_and_upload_stay_with_the_job(store: JobStore) -> None:
    """What the next attempt needs is there for it; a finished upload is forgotten."""
    added(store)
    claim = claimed(store)
    store.keep_plan(claim, {"size": "2x2", "half": 0.1, "none": None})
    store.keep_upload(claim, "an upload")
    store.let_go(claim, "queued")

    again = claimed(store)

    assert {"size": "2x2", "half": 0.1, "none": None} == again.job.plan
    assert "an upload" == again.job.upload_id
    store.keep_upload(again, None)
    assert store.get(again.job.id).upload_id is None


def test_resumed_and_retried_jobs_wait_behind_the_others(store: JobStore) -> None:
    """Nobody overtakes those who wait; a retry begins with a clean slate and keeps the plan."""
    paused = in_state(store, "paused")
    added(store)
    claim = claimed(store)
    store.keep_plan(claim, {"a": 1})
    failed = store.fail(claim, {"code": "x"})
    waiting = added(store)

    assert "queued" == store.resume(paused.id).state
    again = store.retry(failed.id, 9)

    assert [1, 2, 3] == [store.place(job.id) for job in (waiting, paused, failed)]
    assert (None, None, Progress(), {"a": 1}) == (again.fault, again.finished_at, again.progress, again.plan)


def test_retried_job_gets_all_its_attempts_again(store: JobStore) -> None:
    """Deaths of long ago do not count against a job that somebody wants tried again."""
    added(store)
    for _ in range(3):
        claim = claimed(store, "a")
        store.hold(claim, Progress("upscale"))
        store.take_back("a")
    store.retry(claim.job.id, 9)
    claimed(store, "a")

    assert ["queued"] == [job.state for job in store.take_back("a")]


def test_bystander_outlives_more_deaths(store: JobStore) -> None:
    """A job that is only downloaded is not what kills a server, and is failed after many more deaths, retryably."""
    job = added(store)
    for _ in range(29):
        store.hold(claimed(store, "a"), Progress("fetch"))
        assert ["queued"] == [one.state for one in store.take_back("a")]

    claimed(store, "a")
    assert ["failed"] == [one.state for one in store.take_back("a")]

    fault = store.get(job.id).fault
    assert fault is not None
    assert fault["retryable"] is True


def test_row_that_cannot_be_read_stops_no_other(store: JobStore, url: str) -> None:
    """One broken row is failed and the job behind it is taken."""
    broken, good = added(store), added(store)
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        connection.execute(update(jobs).where(jobs.c.id == broken.id).values(progress=[]))
    engine.dispose()

    assert good.id == claimed(store).job.id
    assert 1 == store.counts()["failed"]


def test_pages_hold_every_job_once(store: JobStore) -> None:
    """Newest first, by cursor, also by state and by key."""
    jobs = [added(store, key_id="alice" if number % 2 else "bob") for number in range(7)]
    store.want(jobs[0].id, "canceled")

    seen: list[str] = []
    after: str | None = None
    while True:
        page, after = store.page(after, 3)
        seen += [job.id for job in page]
        if after is None:
            break

    assert [job.id for job in reversed(jobs)] == seen
    assert [jobs[0].id] == [job.id for job in store.page(None, 9, "canceled")[0]]
    assert 3 == len(store.page(None, 9, key_id="alice")[0])
    assert ([], None) == store.page(None, 9, "failed")


@pytest.mark.parametrize("cursor", ["'; drop table", "1.5_a\0b", "1.5"])
def test_strange_cursor_is_refused(store: JobStore, cursor: str) -> None:
    """A cursor that is none of ours is the caller's mistake."""
    with pytest.raises(BadRequest, match="cursor"):
        store.page(cursor, 5)


@pytest.mark.parametrize("name", ["a\0b", "", "A" * 32, "0" * 32])
def test_a_name_that_is_none_is_no_job(store: JobStore, name: str) -> None:
    """Whatever a caller writes: databases differ in what they take for a text."""
    for ask in (store.get, store.outline):
        with pytest.raises(NotFound):
            ask(name)


def test_counts_name_every_state(store: JobStore) -> None:
    """A state without jobs counts 0."""
    in_state(store, "paused")
    in_state(store, "running")

    counts = store.counts()

    assert set(FOLLOWS) == set(counts)
    assert (1, 1, 0) == (counts["paused"], counts["running"], counts["failed"])


def test_only_finished_jobs_are_old_and_are_removed(store: JobStore, clock: Clock) -> None:
    """What is not over is never taken for old, however old it is."""
    done, running, paused = (in_state(store, state) for state in ("failed", "running", "paused"))
    clock.now += 1000

    assert [done.id] == [job.id for job in store.expired(clock.now)]
    assert [] == store.expired((done.finished_at or 0) - 1)
    for job in (running, paused):
        with pytest.raises(Conflict, match=job.state):
            store.remove(job.id)
    store.remove(done.id)
    with pytest.raises(NotFound):
        store.get(done.id)


def test_database_of_another_version_is_refused(url: str) -> None:
    """A server does not guess at tables that it does not know; its hint says what to do."""
    JobStore(url).close()
    database = Database(url)
    with database.writing() as connection:
        connection.execute(schema.update().values(version=99))
    database.close()

    with pytest.raises(StorageError, match="schema 99"):
        JobStore(url)


def test_server_whose_database_was_taken_over_writes_no_more(store: JobStore, url: str) -> None:
    """A newer server began beside it: what that one wrote would be lost on this one, so it stops before it begins."""
    job = added(store)
    database = Database(url)
    with database.writing() as connection:
        connection.execute(schema.update().values(version=99))
    database.close()

    with pytest.raises(StorageError, match="schema 99"):
        store.claim("a", LEASE)

    assert "queued" == store.get(job.id).state


def test_database_of_version_3_is_taken_over(url: str) -> None:
    """Jobs that the version before accepted go on after an update, in whatever state; nothing of them is lost."""
    store = JobStore(url)
    others = [in_state(store, state) for state in ("failed", "running", "succeeded")]
    job = store.add(NewJob(Asked(Source("url", "http://a/b.mp4")), idempotency_key="again", key_id="k"), 9)
    store.close()
    database = Database(url)
    with database.writing() as connection:
        connection.exec_driver_sql("ALTER TABLE upscale_jobs DROP COLUMN request_id")
        connection.exec_driver_sql("DROP TABLE upscale_deliveries")
        connection.execute(schema.update().values(version=3))
    database.close()

    store = JobStore(url)

    assert [job, *others] == [store.get(one.id) for one in (job, *others)]
    assert "" == store.get(job.id).request_id
    assert job == store.add(NewJob(Asked(Source("url", "http://a/b.mp4")), idempotency_key="again", key_id="k"), 9)
    store.close()


def test_damaged_sqlite_file_is_refused(tmp_path: Path) -> None:
    """A start on a damaged file fails and says what to do with it."""
    path = tmp_path / "jobs.sqlite"
    path.write_bytes(b"no database" * 1000)

    with pytest.raises(StorageError) as caught:
        JobStore(f"sqlite:///{path}")
    assert "backup" in str(caught.value.hint)


def test_sqlite_file_is_private(tmp_path: Path) -> None:
    """Addresses of sources may carry signatures, so nobody else reads the file or what SQLite lays beside it."""
    store = JobStore(f"sqlite:///{tmp_path}/jobs.sqlite")
    added(store)

    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}

    assert {0o600} == set(modes.values()), modes
    store.close()


def test_sqlite_waits_until_the_disk_has_it(tmp_path: Path) -> None:
    """Write-ahead log with full synchronisation: what was committed survives a power cut."""
    database = Database(f"sqlite:///{tmp_path}/jobs.sqlite")
    with database.reading() as connection:
        found = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")]
    database.close()

    assert ["wal", 2] == found


def test_address_that_is_none_is_named() -> None:
    """A wrong setting fails the start by its name and without its value, which may hold a password."""
    with pytest.raises(BadRequest, match="UPSCALE_DATABASE_URL") as caught:
        JobStore("secret")
    assert "secret" not in caught.value.detail


def test_missing_driver_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who gives a Postgres address without its driver is told what to install."""
    monkeypatch.setitem(sys.modules, "psycopg", None)

    with pytest.raises(MissingExtra) as caught:
        JobStore("postgresql://127.0.0.1:1/none")

    assert "upscale-server[postgres]" in str(caught.value.hint)


def test_pulse_tells_whether_anything_has_changed(store: JobStore) -> None:
    """Of unfinished jobs the version and the place, then the newest number and how many are kept."""
    first, second, third = (added(store) for _ in range(3))
    store.want(second.id, "paused")
    before = store.pulse()
    store.finish(claimed(store), OUTCOME)
    after = store.pulse()
    store.remove(first.id)

    assert [(first.id, 1, 1), (second.id, 2, 0), (third.id, 1, 2)] == [
        (head.id, head.version, head.place) for head in before.heads
    ]
    assert (third.number, 3) == (before.last_number, before.count)
    assert [(second.id, 0), (third.id, 1)] == [(head.id, head.place) for head in after.heads]
    assert (third.number, 2) == (store.pulse().last_number, store.pulse().count)


def test_jobs_are_found_by_name_and_by_number(store: JobStore) -> None:
    """However many are named; those that are gone are left out. Numbers tell what is new."""
    first, second, third = (added(store, key_id=key) for key in ("anna", "bert", "anna"))
    names = [f"{number:032x}" for number in range(1200)]

    assert {first.id, third.id} == {job.id for job in store.some([*names, first.id, third.id])}
    assert [] == store.some([])
    assert [second.id, third.id] == [job.id for job in store.after(first.number)]
    assert {first.id: "anna", second.id: "bert", third.id: "anna"} == store.owners()


SOME = Progress("upscale", 60, 600, segments_done=3)
"""Of a job of which something is finished, on the disk of the server that carries it."""


@pytest.mark.parametrize("to", ["queued", "paused"])
def test_a_job_that_was_begun_is_kept_for_its_server_as_long_as_that_took(
    to: State, store: JobStore, clock: Clock
) -> None:
    """Elsewhere it would begin anew: others leave it alone for as long as it was in work, then waiting is no use."""
    job = added(store)
    claim = claimed(store, "a")
    clock.now += 100
    store.hold(claim, SOME)
    if to == "paused":
        store.want(job.id, "paused")
    store.let_go(claim, to)
    if to == "paused":
        clock.now += 10_000
        store.resume(job.id)

    clock.now += 90
    early = store.claim("b", LEASE)
    again = claimed(store, "a")
    store.hold(again, Progress("fetch"))
    store.let_go(again, "queued", has_work=True)  # before it has counted what is there
    clock.now += 180
    still = store.claim("b", LEASE)
    clock.now += 600
    late = claimed(store, "b")

    assert (None, None) == (early, still)
    assert (job.id, 3) == (late.job.id, late.job.attempt)


def test_a_job_of_which_nothing_is_finished_is_kept_for_nobody(store: JobStore, clock: Clock) -> None:
    """Whoever is free takes it at once; so is one that was kept and is cancelled and retried, or whose server died."""
    job = added(store)
    claim = claimed(store, "a")
    clock.now += 100
    store.let_go(claim, "queued")
    first = claimed(store, "b")
    store.hold(first, SOME)
    clock.now += 1000
    second = claimed(store, "c")  # `b` fell silent
    store.hold(second, SOME)
    store.let_go(second, "queued")
    store.want(job.id, "canceled")
    store.retry(job.id, 100)
    third = claimed(store, "d")

    assert [job.id] * 3 == [one.job.id for one in (first, second, third)]


def test_a_job_is_kept_for_the_server_on_whose_disk_its_work_is(store: JobStore) -> None:
    """A file that only has to be stored, or segments of an earlier attempt, which this one has not counted."""
    file, nothing = added(store), added(store)
    for _ in range(2):
        store.hold(claimed(store, "a"), Progress("store"))
    store.take_back("a", {file.id}.__contains__)

    assert nothing.id == claimed(store, "b").job.id
    assert store.claim("b", LEASE) is None
    assert file.id == claimed(store, "a").job.id


@pytest.mark.parametrize("wanted", ["", "paused"])
def test_a_job_of_a_server_that_died_and_is_back_is_kept_for_it(wanted: Wanted, store: JobStore, clock: Clock) -> None:
    """It loads its models first; one that has nothing to do must not begin anew what is half done there."""
    job = added(store)
    claim = claimed(store, "a")
    clock.now += 100
    store.hold(claim, SOME)
    if wanted:
        store.want(job.id, wanted)
    store.take_back("a")
    if wanted:
        store.resume(job.id)

    early = store.claim("b", LEASE)
    again = claimed(store, "a")

    assert early is None
    assert (job.id, 2) == (again.job.id, again.job.attempt)


def test_a_pause_in_the_queue_gives_a_job_to_nobody_else(store: JobStore, clock: Clock) -> None:
    """It is kept as long as before, and from its resume on."""
    job = added(store)
    claim = claimed(store, "a")
    clock.now += 100
    store.hold(claim, SOME)
    store.let_go(claim, "queued")
    store.want(job.id, "paused")
    clock.now += 10_000
    store.resume(job.id)

    clock.now += 90
    assert store.claim("b", LEASE) is None
    clock.now += 20
    assert store.claim("b", LEASE) is not None


def test_nobody_waits_for_ever_for_a_server_that_has_worked_for_hours(store: JobStore, clock: Clock) -> None:
    """Ten minutes are enough for one that is replaced."""
    added(store)
    claim = claimed(store, "a")
    store.hold(claim, SOME)
    clock.now += 7 * 3600
    store.hold(claim, SOME)
    store.let_go(claim, "queued")

    clock.now += 590
    assert store.claim("b", LEASE) is None
    clock.now += 11
    assert store.claim("b", LEASE) is not None
