"""What has changed in the queue: each thing once, nothing left out, also where the database fails in between."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from upscale_server.errors import StorageError
from upscale_server.jobs.job import Asked, Job, NewJob, Progress, Source
from upscale_server.jobs.reader import JobReader
from upscale_server.jobs.store import JobStore
from upscale_server.service.queue_news import QueueNews

ASKED = Asked(Source("url", "http://127.0.0.1/a.mp4"))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JobStore]:
    """Give an empty queue."""
    opened = JobStore(f"sqlite:///{tmp_path}/jobs.db")
    yield opened
    opened.close()


@pytest.fixture
def news(store: JobStore) -> QueueNews:
    """Give somebody who has just begun to look."""
    found = QueueNews(store, lambda job: job.progress)
    found.begin()
    return found


def added(store: JobStore) -> Job:
    """Add a job."""
    return store.add(NewJob(ASKED, key_id="anna"), 100)


def told(news: QueueNews) -> list[tuple[str, str | None, int]]:
    """Look, and return each change's job, state and place."""
    return [(one.job_id, one.job and one.job.state, one.place) for one in news.look()]


def test_nothing_is_told_twice(store: JobStore, news: QueueNews) -> None:
    """A look after a look finds nothing."""
    job = added(store)

    assert [(job.id, "queued", 1)] == told(news)
    assert [] == told(news)


def test_what_was_there_before_is_no_news(store: JobStore) -> None:
    """It is in the snapshot of everybody who begins to listen."""
    added(store)
    later = QueueNews(store, lambda job: job.progress)
    later.begin()

    assert [] == later.look()


def test_places_are_told_when_the_queue_moves(store: JobStore, news: QueueNews) -> None:
    """A job that waits has news when one before it has gone, although nothing of its own has changed."""
    first, second = added(store), added(store)
    news.look()

    store.want(first.id, "canceled")

    assert [(first.id, "canceled", 0), (second.id, "queued", 1)] == told(news)


def test_frames_that_are_not_stored_are_told(store: JobStore) -> None:
    """A carried job's progress is asked for at every look; its silence is no news."""
    now = Progress()
    news = QueueNews(store, lambda _: now)
    job = added(store)
    news.begin()

    now = Progress("upscale", 5, 10)

    assert [job.id] == [one.job_id for one in news.look()]
    assert [] == news.look()


def test_a_job_that_came_and_ended_between_two_looks_is_told(store: JobStore, news: QueueNews) -> None:
    """The numbers of jobs leave no gap to fall into."""
    job = added(store)
    store.want(job.id, "canceled")

    assert [(job.id, "canceled", 0)] == told(news)


def test_a_job_that_is_tried_again_is_told(store: JobStore, news: QueueNews) -> None:
    """Finished jobs are not looked at again and again; one that begins anew is."""
    job = added(store)
    store.want(job.id, "canceled")
    news.look()

    store.retry(job.id, 100)

    assert [(job.id, "queued", 1)] == told(news)


def test_removed_jobs_are_told_with_their_owner(store: JobStore, news: QueueNews) -> None:
    """Also where as many have come as have gone, and where one came and went unseen."""
    job, unseen = added(store), added(store)
    store.want(job.id, "canceled")
    news.look()
    store.want(unseen.id, "canceled")
    store.remove(job.id)
    store.remove(unseen.id)
    new = added(store)

    found = news.look()

    assert {(job.id, "anna", None), (unseen.id, "anna", None)} == {
        (one.job_id, one.owner, one.job) for one in found if one.job is None
    }
    assert [new.id] == [one.job_id for one in found if one.job is not None]
    assert [] == news.look()


@pytest.mark.parametrize("question", ["pulse", "after", "some", "owners"])
def test_nothing_is_lost_where_the_database_fails(
    store: JobStore, news: QueueNews, monkeypatch: pytest.MonkeyPatch, question: str
) -> None:
    """Whichever question fails, the next look tells everything."""
    old, other = added(store), added(store)
    store.want(old.id, "canceled")
    news.look()
    store.remove(old.id)
    store.want(other.id, "paused")
    new = added(store)

    def fail(*_: object) -> None:
        raise StorageError("the database does not answer")

    with monkeypatch.context() as patch:
        patch.setattr(JobReader, question, fail)
        with pytest.raises(StorageError):
            news.look()

    assert {(old.id, None, 0), (other.id, "paused", 0), (new.id, "queued", 1)} == set(told(news))
