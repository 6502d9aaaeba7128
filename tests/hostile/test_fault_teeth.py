"""Guards against faults taken out one by one: what each keeps out then gets through, so the tests of it mean something.

Each is shown with and without its guard, on the part that has it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from upscale_server.cli import doors
from upscale_server.disk import naming_write_faults
from upscale_server.errors import BadRequest, Conflict, DiskFull, QueueFull, StorageError
from upscale_server.jobs import opening
from upscale_server.jobs.database import Database
from upscale_server.jobs.folder import JobFolder, Ready
from upscale_server.jobs.job import Asked, NewJob, Outcome, Source
from upscale_server.jobs.rows import Writer, row_of
from upscale_server.jobs.store import JobStore
from upscale_server.storage.retrying import Patience

LEASE = 30.0
PAGE = 4096


class Clock:
    """Seconds that pass when a test says so."""

    now = 1_000_000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """Give a clock that stands still."""
    return Clock()


@pytest.fixture
def store(clock: Clock, tmp_path: Path) -> Iterator[JobStore]:
    """Give a store with one job."""
    opened = JobStore(f"sqlite:///{tmp_path / 'jobs.db'}", clock=clock)
    opened.add(NewJob(Asked(Source("url", "http://example.org/a.mp4"))), 10)
    yield opened
    opened.close()


def test_only_the_newest_attempt_publishes(store: JobStore, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """An owner that was silent for too long and comes back ends the job a second time, without the fence."""
    first = store.claim("one", LEASE)
    clock.now += LEASE + 1
    second = store.claim("two", LEASE)
    assert first
    assert second
    store.finish(second, Outcome("results/right.mp4", 1, 1.0))

    with pytest.raises(Conflict):
        store.finish(first, Outcome("results/late.mp4", 1, 1.0))

    monkeypatch.setattr(Writer, "held", lambda writer, claim: row_of(writer.connection, claim.job.id))
    monkeypatch.setattr("upscale_server.jobs.rows.check_step", lambda *_: None)
    outcome = store.finish(first, Outcome("results/late.mp4", 1, 1.0)).outcome
    assert outcome
    assert "results/late.mp4" == outcome.key


def test_a_server_that_died_takes_its_jobs_back(store: JobStore) -> None:
    """Own leases do not run out: without the taking back at a start nobody would ever do the job."""
    assert store.claim("one", LEASE)

    assert store.claim("one", LEASE) is None
    assert 1 == len(store.take_back("one"))
    assert store.claim("one", LEASE)


def test_there_is_only_so_much_room(store: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crowd fills the disk with jobs, without the bound."""
    another = NewJob(Asked(Source("url", "http://example.org/b.mp4")))
    with pytest.raises(QueueFull):
        store.add(another, 1)

    monkeypatch.setattr(Writer, "check_room", lambda *_: None)
    assert "queued" == store.add(another, 1).state


def test_a_damaged_database_is_not_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page of something else is only met when it is needed, without the look at the whole file."""
    file = tmp_path / "jobs.db"
    store = JobStore(f"sqlite:///{file}")
    for number in range(50):
        store.add(NewJob(Asked(Source("url", f"http://example.org/{number}.mp4"))), 100)
    store.close()
    content = bytearray(file.read_bytes())
    assert len(content) > 8 * PAGE
    content[-2 * PAGE : -PAGE] = b"\xa5" * PAGE
    file.write_bytes(content)

    with pytest.raises(StorageError, match="is damaged") as caught:
        Database(f"sqlite:///{file}")

    assert f"mv {file}" in str(caught.value.hint)
    assert bytes(content) == file.read_bytes()
    monkeypatch.setattr(opening, "_check_whole", lambda _: None)
    Database(f"sqlite:///{file}").close()


def test_one_server_has_a_state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two would carry the same jobs in one folder, without the lock."""
    with doors.only_one(tmp_path / "video"):
        with pytest.raises(BadRequest, match="running already"), doors.only_one(tmp_path / "video"):
            pass

        monkeypatch.setattr(fcntl, "flock", lambda *_: None)
        with doors.only_one(tmp_path / "video"):
            pass


def test_a_full_disk_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a write says of a full disk reaches the caller as what it is; without the naming, as anything."""

    def fill() -> None:
        with naming_write_faults(tmp_path):
            raise OSError(28, "No space left on device")

    with pytest.raises(DiskFull):
        fill()

    monkeypatch.setattr(naming_write_faults, "__exit__", lambda *_: None)
    with pytest.raises(OSError, match="No space left") as caught:
        fill()
    assert not isinstance(caught.value, DiskFull)


def test_a_store_that_is_away_is_waited_for() -> None:
    """One refused connection would cost a job, without the patience."""
    tried: list[int] = []

    def step() -> str:
        tried.append(1)
        if len(tried) < 5:
            raise ConnectionRefusedError
        return "stored"

    clock = Clock()

    def sleep(seconds: float) -> None:
        clock.now += seconds

    assert "stored" == Patience(900, sleep=sleep, clock=clock).keep_trying(step, lambda _: True)
    tried.clear()
    with pytest.raises(ConnectionRefusedError):
        Patience(0, sleep=sleep, clock=clock).keep_trying(step, lambda _: True)


def test_a_kept_file_is_the_one_that_was_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file cut off by a power cut would be stored as a success, without the look at its bytes."""
    folder = JobFolder(tmp_path, "0" * 32)
    folder.make()
    film = folder.path / "film.mp4"
    film.write_bytes(b"whole")
    folder.keep_ready(Ready(film, 5, {}))
    assert folder.find_ready()

    film.write_bytes(b"wrong")
    assert folder.find_ready() is None

    monkeypatch.setattr("upscale_server.jobs.folder.digest_of", lambda _: _recorded(folder))
    assert folder.find_ready()


def _recorded(folder: JobFolder) -> str:
    text = (folder.path / "ready.json").read_text()
    return text.partition('"sha256": "')[2].partition('"')[0]


def test_what_is_stored_is_on_the_disk_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file and its folder are synced before anybody relies on them; without, a power cut leaves a name alone."""
    synced: list[str] = []
    real = os.fsync

    def fsync(number: int) -> None:
        synced.append(Path(f"/proc/self/fd/{number}").readlink().name)
        real(number)

    monkeypatch.setattr(os, "fsync", fsync)
    folder = JobFolder(tmp_path, "0" * 32)
    folder.make()
    film = folder.path / "film.mp4"
    film.write_bytes(b"whole")

    folder.keep_ready(Ready(film, 5, {}))

    assert ["film.mp4", "ready.part", "0" * 32] == synced
    with contextlib.suppress(FileNotFoundError):
        film.unlink()
