"""What the janitor removes and what it leaves alone."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
from sqlalchemy import update
from structlog.testing import capture_logs

from tests.support.job_parts import LocalLanes, Shelf, asked_of, parts_in
from upscale_server.errors import NotFound, StorageError
from upscale_server.jobs import janitor as rooms
from upscale_server.jobs.carry import object_key
from upscale_server.jobs.copies import Copies
from upscale_server.jobs.folder import JobFolder, uploads_folder
from upscale_server.jobs.janitor import Janitor
from upscale_server.jobs.job import Asked, Job, NewJob, Outcome, Source, State
from upscale_server.jobs.kept_sources import KeptSources, Known
from upscale_server.jobs.parts import Parts
from upscale_server.jobs.tables import jobs
from upscale_server.server_settings import Jobs, Storage

DAY = 86_400
LONG_AGO = 100 * DAY


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    """Give a server's parts that keep results for a day and at most 25 bytes of them."""
    made = parts_in(tmp_path, LocalLanes(), storage=Storage(keep_seconds=DAY, budget_bytes=25))
    yield made
    made.store.close()


def sweep(parts: Parts, *carried: str) -> None:
    """Sweep once, with jobs in hand."""
    Janitor(parts, lambda: frozenset(carried)).sweep()


def job_in(parts: Parts, state: State, fault: dict[str, object] | None = None) -> Job:
    """Return a job in a state, with a folder that holds finished work."""
    job = parts.store.add(NewJob(asked_of(Path("/source"))), 100)
    if state in ("paused", "canceled"):
        job = parts.store.want(job.id, state)
    elif state != "queued":
        claim = parts.store.claim("another" if state == "running" else parts.owner, 1000)
        assert claim is not None
        if state == "succeeded":
            stored(parts, job.id)
            job = parts.store.finish(claim, Outcome(object_key(job.id), 10, 1.0))
        elif state == "failed":
            job = parts.store.fail(claim, fault or {})
    work = JobFolder(parts.temp_dir, job.id).work("digest")
    work.mkdir(parents=True)
    (work / "segment-00000.json").write_text("{}")
    return job


def stored(parts: Parts, job_id: str, age: float = 0.0, key: str = "") -> Path:
    """Put ten bytes into the store."""
    path = cast("Shelf", parts.objects).root / (key or object_key(job_id))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"0123456789")
    os.utime(path, (time.time() - age,) * 2)
    return path


def has_folder(parts: Parts, job: Job) -> bool:
    """Tell whether a job's folder is there."""
    return JobFolder(parts.temp_dir, job.id).path.exists()


@pytest.mark.parametrize("state", ["queued", "running", "paused"])
def test_folder_of_a_job_that_goes_on_stays(state: State, parts: Parts) -> None:
    """What is finished is not made again after a restart; whoever holds a job may be ourselves under an older name."""
    job = job_in(parts, state)

    sweep(parts)

    assert has_folder(parts, job)


@pytest.mark.parametrize("state", ["succeeded", "failed", "canceled"])
def test_folder_of_a_job_that_needs_it_no_more_goes(state: State, parts: Parts) -> None:
    """A finished job leaves nothing."""
    job = job_in(parts, state)

    sweep(parts)

    assert not has_folder(parts, job)


def test_folder_of_a_job_in_hand_stays(parts: Parts) -> None:
    """Whatever the database says at this moment."""
    job = job_in(parts, "canceled")

    sweep(parts, job.id)

    assert has_folder(parts, job)


def test_folder_of_no_job_goes_and_a_strangers_stays(parts: Parts) -> None:
    """Only names that can be ours are removed."""
    ours = JobFolder(parts.temp_dir, "0" * 32)
    ours.make()
    theirs = ours.path.with_name("precious")
    theirs.mkdir()

    sweep(parts)

    assert (False, True) == (ours.path.exists(), theirs.exists())


def damage(parts: Parts, *damaged: Job) -> None:
    """Leave what cannot be read in rows."""
    with parts.store._database.writing() as connection:
        named = jobs.c.id.in_([job.id for job in damaged])
        connection.execute(update(jobs).where(named).values(asked=["no job"]))


def test_a_damaged_job_stops_no_sweep(parts: Parts) -> None:
    """Its own folder stays, since the database may be restored; those of others go, wherever it stands among them."""
    damaged, *others = (job_in(parts, "canceled") for _ in range(8))
    damage(parts, damaged)

    with capture_logs() as logged:
        sweep(parts)

    assert has_folder(parts, damaged)
    assert [] == [job.id for job in others if has_folder(parts, job)]
    assert [] == [one for one in logged if one["event"] == "sweep_failed"]


def test_a_damaged_job_lifts_no_budget(tmp_path: Path) -> None:
    """Its result stays for as long as it may be promised to a validator, and others make room; so do all copies."""
    parts = parts_in(tmp_path, LocalLanes(), storage=Storage(budget_bytes=25), jobs=Jobs(proxies_bytes=25))
    made = [job_in(parts, "succeeded") for _ in range(6)]
    forgotten = job_in(parts, "canceled")
    for number, job in enumerate(made):
        stored(parts, job.id, age=100 - number)
    for job in (*made, forgotten):
        Copies(parts.proxies_dir, job.id).path.mkdir(parents=True)
        (Copies(parts.proxies_dir, job.id).path / "copy").write_bytes(b"0123456789")
    damage(parts, made[0], forgotten)
    JobFolder(parts.temp_dir, forgotten.id).remove()

    with capture_logs() as logged:
        sweep(parts)
    results = [parts.objects.head(object_key(job.id)) is not None for job in made]
    copies = [Copies(parts.proxies_dir, job.id).path.exists() for job in (*made, forgotten)]
    parts.store.close()

    assert [] == [one for one in logged if one["event"] == "sweep_failed"]
    assert [True, False, False, False, False, True] == results
    assert [False, False, False, False, True, True, False] == copies


def test_half_a_copy_goes_when_nobody_has_the_job_in_hand(parts: Parts) -> None:
    """As a server that was killed leaves it, whose job another one finished; what is whole can be watched still."""
    job, ours = job_in(parts, "succeeded"), job_in(parts, "running")
    for one in (job, ours):
        folder = Copies(parts.proxies_dir, one.id).of("digest")
        folder.mkdir(parents=True)
        for name in ("00000.mp4", "00001.part.mp4"):
            (folder / name).touch()

    sweep(parts, ours.id)

    left = [
        sorted(path.name for path in Copies(parts.proxies_dir, one.id).of("digest").iterdir()) for one in (job, ours)
    ]
    assert [["00000.mp4"], ["00000.mp4", "00001.part.mp4"]] == left


def test_old_damaged_jobs_go_like_others(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their rows, folders and results: none stays for ever; what may be a miner's stays its six hours."""
    old = job_in(parts, "succeeded")
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 2 * DAY)
    damage(parts, old)
    monkeypatch.setattr(rooms, "PROMISED_SECONDS", 3 * DAY)
    sweep(parts)
    before = parts.store.outline(old.id).state

    monkeypatch.setattr(rooms, "PROMISED_SECONDS", DAY)
    sweep(parts)

    assert "succeeded" == before
    with pytest.raises(NotFound):
        parts.store.outline(old.id)
    assert (False, None) == (has_folder(parts, old), parts.objects.head(object_key(old.id)))


def test_work_that_a_retry_can_use_stays_for_a_day(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that was down for an hour costs no job; nobody's work stays for ever."""
    job = job_in(parts, "failed", {"retryable": True})
    sweep(parts)
    assert has_folder(parts, job)

    monkeypatch.setattr(rooms, "KEPT_WORK_SECONDS", 0)
    sweep(parts)

    assert not has_folder(parts, job)


def test_oldest_work_of_failed_jobs_goes_when_it_is_over_budget(tmp_path: Path) -> None:
    """What waits for a retry may not fill the disk; the newest stays, and what goes on is none of it."""
    parts = parts_in(tmp_path, LocalLanes(), jobs=Jobs(kept_bytes=250))
    older, newer, newest = (job_in(parts, "failed", {"retryable": True}) for _ in range(3))
    paused = job_in(parts, "paused")
    for job in (older, newer, newest, paused):
        (JobFolder(parts.temp_dir, job.id).path / "source").write_bytes(bytes(100))

    sweep(parts)

    assert [False, True, True, True] == [has_folder(parts, job) for job in (older, newer, newest, paused)]
    parts.store.close()


def test_old_jobs_go_with_their_results(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the time that results are kept nothing tells of a job."""
    job, waiting = job_in(parts, "succeeded"), job_in(parts, "queued")
    sweep(parts)
    assert parts.objects.head(object_key(job.id)) is not None

    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 2 * DAY)
    sweep(parts)

    assert parts.objects.head(object_key(job.id)) is None
    assert [waiting.id] == [one.id for one in parts.store.page(None, 10)[0]]


def test_results_that_no_job_names_go_by_age(parts: Parts) -> None:
    """What a crash left in the store is found; what is not ours is not touched."""
    ours = stored(parts, "0" * 32, LONG_AGO)
    theirs = stored(parts, "", LONG_AGO, "results/holiday.mp4")
    young = stored(parts, "1" * 32)

    sweep(parts)

    assert (False, True, True) == (ours.exists(), theirs.exists(), young.exists())


def test_oldest_results_go_when_they_are_over_budget(parts: Parts) -> None:
    """Thirty bytes of results and room for 25: the oldest one makes room."""
    paths = [stored(parts, f"{number}" * 32, age) for number, age in enumerate((30, 20, 10))]

    sweep(parts)

    assert [False, True, True] == [path.exists() for path in paths]


def test_miners_results_outlive_the_budget_for_six_hours(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Validators fetch late: a miner's result stays while its link works, and another one makes room."""
    jobs = [parts.store.add(NewJob(replace(asked_of(Path("/x")), profile="subnet")), 9) for _ in range(3)]
    paths = [stored(parts, job.id, age) for job, age in zip(jobs, (30, 20, 10), strict=True)]
    for job in jobs:
        claim = parts.store.claim(parts.owner, 1000)
        assert claim is not None
        parts.store.finish(claim, Outcome(object_key(job.id), 10, 1.0))

    sweep(parts)
    assert [True, True, True] == [path.exists() for path in paths]

    monkeypatch.setattr(rooms, "PROMISED_SECONDS", 0)
    sweep(parts)
    assert [False, True, True] == [path.exists() for path in paths]


def test_job_that_was_paused_and_forgotten_goes(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody's pause keeps a place in the queue and gigabytes of an upload for ever."""
    folder = uploads_folder(parts.temp_dir)
    folder.mkdir(parents=True)
    upload = folder / "sent"
    upload.write_bytes(b"x")
    job = parts.store.add(NewJob(Asked(Source("upload", str(upload)))), 100)
    parts.store.want(job.id, "paused")
    sweep(parts)
    assert (True, "paused") == (upload.exists(), parts.store.get(job.id).state)

    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 1.5 * DAY)
    sweep(parts)

    assert (False, 0) == (upload.exists(), parts.store.counts()["paused"])


def test_sweep_outlives_whatever_happens_in_it(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault that nobody foresaw does not end the thread that sweeps."""

    def burst(*_: object) -> None:
        message = "a bug"
        raise ValueError(message)

    monkeypatch.setattr(Shelf, "listed", burst)
    job = job_in(parts, "canceled")

    sweep(parts)

    assert not has_folder(parts, job)


def test_uploads_that_no_job_took_go(parts: Parts) -> None:
    """A request that died leaves its upload; one that is waiting for its job, or still being sent, stays."""
    folder = uploads_folder(parts.temp_dir)
    folder.mkdir(parents=True)
    untaken, taken, young = (folder / name for name in ("untaken", "taken", "young"))
    for path in (untaken, taken, young):
        path.write_bytes(b"x")
    for path in (untaken, taken):
        os.utime(path, (1, 1))
    parts.store.add(NewJob(Asked(Source("upload", str(taken)))), 100)

    sweep(parts)

    assert (False, True, True) == (untaken.exists(), taken.exists(), young.exists())


def test_an_upload_stays_where_a_job_cannot_be_read(parts: Parts) -> None:
    """The job may be another release's, which still wants it."""
    upload = uploads_folder(parts.temp_dir) / "sent"
    upload.parent.mkdir(parents=True)
    upload.write_bytes(b"x")
    os.utime(upload, (1, 1))
    job = parts.store.add(NewJob(Asked(Source("upload", str(upload)))), 100)
    with parts.store._database.writing() as connection:
        connection.execute(update(jobs).where(jobs.c.id == job.id).values(asked=["no job"]))

    sweep(parts)

    assert upload.exists()


def test_a_source_that_was_just_lent_is_a_young_upload(parts: Parts, tmp_path: Path) -> None:
    """A job is made from a source that came long ago: between its link and its row nothing takes the file away."""
    folder, source = uploads_folder(parts.temp_dir), tmp_path / "source"
    folder.mkdir(parents=True)
    source.write_bytes(b"x")
    os.utime(source, (1, 1))
    os.link(source, folder / "lent")

    sweep(parts)

    assert (folder / "lent").exists()


def test_expired_sources_go(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    """The janitor sweeps them with everything else."""
    sources = KeptSources(parts.temp_dir, parts.settings.sources)
    path = sources.begin()
    path.write_bytes(b"x")
    kept = sources.keep(path, Known("", "a.mp4", "hash", {}))
    now = time.time()

    sweep(parts)
    assert kept.path.exists()
    monkeypatch.setattr(time, "time", lambda: now + 2 * DAY)
    sweep(parts)

    assert not kept.path.exists()


@pytest.mark.parametrize(("retryable", "age", "stays"), [(True, 0, True), (True, 1.5 * DAY, False), (False, 0, False)])
def test_upload_of_a_failed_job_stays_for_a_day_where_a_retry_may_help(
    *, retryable: bool, age: float, stays: bool, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It failed before it took its upload: nobody but the sender has those bytes otherwise."""
    upload = uploads_folder(parts.temp_dir) / "sent"
    upload.parent.mkdir(parents=True)
    upload.write_bytes(b"x")
    os.utime(upload, (1, 1))
    parts.store.add(NewJob(Asked(Source("upload", str(upload)))), 100)
    claim = parts.store.claim(parts.owner, 1000)
    assert claim is not None
    parts.store.fail(claim, {"retryable": retryable})

    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + age)
    sweep(parts)

    assert stays == upload.exists()


def test_one_fault_hides_no_other(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that does not answer does not keep folders from being swept, nor the sweep from coming back."""

    def refuse(*_: object) -> None:
        message = "the store does not answer"
        raise StorageError(message)

    monkeypatch.setattr(Shelf, "listed", refuse)
    monkeypatch.setattr(Shelf, "sweep", refuse)
    job = job_in(parts, "canceled")

    sweep(parts)

    assert not has_folder(parts, job)


def test_no_job_begins_again_while_its_work_is_removed(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock that a retry waits for is held from the look at a job to the end of the removal."""
    tidying, held = threading.Lock(), []
    job_in(parts, "canceled")
    remove = JobFolder.remove

    def watched(folder: JobFolder) -> None:
        held.append(tidying.locked())
        remove(folder)

    monkeypatch.setattr(JobFolder, "remove", watched)
    Janitor(parts, frozenset, tidying).sweep()

    assert [True] == held
    assert not tidying.locked()
