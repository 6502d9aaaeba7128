"""Two servers over one queue and one store: what each may store, remove and forget, and what it leaves to the other.

Their database and their store are files here; what only Postgres can do is tested in `contract`.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
from pydantic import SecretStr

from tests.support.job_parts import Shelf, asked_of, parts_in
from tests.support.many_jobs import small_clip
from upscale_server.edge_settings import Quotas
from upscale_server.errors import Conflict, DatabaseAway, Gone, StorageError
from upscale_server.jobs import carry, conclude
from upscale_server.jobs.carry import Carried, own_key
from upscale_server.jobs.conclude import carry_to_its_end, drop_object
from upscale_server.jobs.day_quota import DayQuota
from upscale_server.jobs.folder import JobFolder, Ready
from upscale_server.jobs.hold import Hold
from upscale_server.jobs.janitor import Janitor
from upscale_server.jobs.job import Claim, Job, NewJob, Outcome, Source
from upscale_server.jobs.parts import Parts, Watch
from upscale_server.jobs.runner import Runner
from upscale_server.server_settings import S3, Storage
from upscale_server.service.results import Results
from upscale_server.storage.base import Unfinished
from upscale_server.storage.local import LocalStore

Pair = tuple[Parts, Parts]
SHARED = Storage(kind="s3", s3=S3(bucket="films"), keep_seconds=86_400)
LEASE = 1000.0


def pair_in(folder: Path, storage: Storage) -> Pair:
    """Return the parts of two servers with folders of their own."""
    url = SecretStr(f"sqlite:///{folder}/a/jobs.sqlite")
    ours = parts_in(folder / "a", database_url=url, storage=storage)
    theirs = replace(ours, owner="that-server", temp_dir=folder / "b" / "temp", proxies_dir=folder / "b" / "proxies")
    return ours, theirs


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    """Give two servers that share everything."""
    made = pair_in(tmp_path, SHARED)
    yield made
    made[0].store.close()


def claimed(parts: Parts) -> Claim:
    """Let a server take the next job, for as good as ever."""
    claim = parts.store.claim(parts.owner, LEASE)
    assert claim is not None
    return claim


def stored(parts: Parts, job_id: str, content: str) -> Path:
    """Put a server's result into the store."""
    path = cast("Shelf", parts.objects).root / own_key(job_id, parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def finished(parts: Parts, claim: Claim) -> Job:
    """Let a server store and finish a job."""
    stored(parts, claim.job.id, parts.owner)
    return parts.store.finish(claim, Outcome(own_key(claim.job.id, parts), 10, 1.0))


def taken_over(pair: Pair) -> tuple[Claim, Job]:
    """Return the claim of a server that has lost its job, and the job that the other one has finished."""
    ours, theirs = pair
    ours.store.add(NewJob(asked_of(Path("/source"))), 100)
    lost = claimed(ours)
    ours.store.take_back(ours.owner)
    return lost, finished(theirs, claimed(theirs))


def begun_in_parts(parts: Parts, job_id: str, upload_id: str) -> None:
    """Let a server have an upload in the store that it has not finished."""
    cast("Shelf", parts.objects).begun.append(Unfinished(own_key(job_id, parts), upload_id, 0.0))


def carried_by(parts: Parts, hold: Hold) -> Carried:
    """Return a job in a server's hands."""
    return Carried(hold, JobFolder(parts.temp_dir, hold.claim.job.id), parts, Runner(parts).turns, 0)


def end_late(parts: Parts, lost: Claim, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a server store and finish a job that it has lost."""

    def store_late(one: Carried) -> Outcome:
        one.hold.enter("store")
        return Outcome(own_key(lost.job.id, parts), 4, 1.0)

    monkeypatch.setattr(conclude, "carry", store_late)
    with Hold(parts.store, lost, 0) as hold:
        carry_to_its_end(carried_by(parts, hold))


def test_where_jobs_are_shared_each_server_has_a_name_for_its_results(pair: Pair, tmp_path: Path) -> None:
    """The same at every attempt, another at another server; who shares nothing needs none."""
    ours, theirs = pair
    alone = parts_in(tmp_path / "alone")

    assert own_key("a" * 32, ours) == own_key("a" * 32, ours) != own_key("a" * 32, theirs)
    assert f"results/{'a' * 32}-" in own_key("a" * 32, ours)
    assert f"results/{'a' * 32}.mp4" == own_key("a" * 32, alone)
    alone.store.close()


def test_who_comes_too_late_takes_back_what_it_stored(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """It stood still while it stored, and another has finished the job: its result stays, all of this one goes."""
    ours, theirs = pair
    lost, done = taken_over(pair)
    late = stored(ours, done.id, "late")
    begun_in_parts(ours, done.id, "half")

    end_late(ours, lost, monkeypatch)

    assert not late.exists()
    assert [(own_key(done.id, ours), "half")] == cast("Shelf", ours.objects).aborted
    assert "that-server" == (cast("Shelf", theirs.objects).root / own_key(done.id, theirs)).read_text()
    assert done == ours.store.get(done.id)


def test_who_comes_too_late_removes_nothing_that_the_job_names(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """A later attempt of the same server has finished the job: its result has the same name."""
    ours, _ = pair
    ours.store.add(NewJob(asked_of(Path("/source"))), 100)
    lost = claimed(ours)
    ours.store.take_back(ours.owner)
    done = finished(ours, claimed(ours))

    end_late(ours, lost, monkeypatch)

    assert ours.objects.head(own_key(done.id, ours)) is not None


def test_an_upload_in_parts_of_another_server_is_given_up_and_not_gone_on_with(pair: Pair, tmp_path: Path) -> None:
    """Its parts lie under that one's name; the server's own, from an earlier attempt, is gone on with."""
    ours, theirs = pair
    shelf = cast("Shelf", ours.objects)
    job = ours.store.add(NewJob(asked_of(Path("/source"))), 100)
    begun_in_parts(ours, job.id, "of ours")
    file = tmp_path / "file"
    file.write_text("whole")
    shelf.is_down = True
    first = claimed(ours)
    ours.store.keep_upload(first, "of ours")
    ours.store.let_go(first, "queued")

    for server in (ours, theirs):
        claim = claimed(server)
        with Hold(server.store, claim, 0) as hold, pytest.raises(StorageError):
            carry._place(carried_by(server, hold), Ready(file, 5, {"audit": {}}))
        server.store.keep_upload(claim, "of ours")
        server.store.let_go(claim, "queued")

    assert ["of ours", None] == shelf.handed
    assert [(own_key(job.id, ours), "of ours")] == shelf.aborted


def test_who_tidies_up_too_late_removes_nothing_of_the_others(pair: Pair) -> None:
    """A job is cancelled here and retried elsewhere before its object is removed here."""
    ours, theirs = pair
    ours.store.add(NewJob(asked_of(Path("/source"))), 100)
    claim = claimed(ours)
    canceled = ours.store.let_go(claim, "canceled")
    mine = stored(ours, canceled.id, "half")
    theirs.store.retry(canceled.id, 100)
    done = finished(theirs, claimed(theirs))

    drop_object(canceled, ours)

    assert not mine.exists()
    assert done.outcome is not None
    assert theirs.objects.head(done.outcome.key) is not None


@pytest.mark.parametrize("end", ["succeeded", "failed", "canceled"])
def test_a_removed_job_leaves_no_object_whoever_stored_it(end: str, pair: Pair) -> None:
    """A server that died between storing and saying so has left one that no job names, however the job ended."""
    ours, theirs = pair
    job = ours.store.add(NewJob(asked_of(Path("/source"))), 100)
    claimed(ours)
    ours.store.take_back(ours.owner)
    stored(ours, job.id, "unsaid")
    other = stored(ours, "b" * 32, "of another job")
    claim = claimed(theirs)
    if end == "succeeded":
        finished(theirs, claim)
    elif end == "failed":
        theirs.store.fail(claim, {"code": "internal"})
    else:
        theirs.store.let_go(claim, "canceled")

    Runner(theirs).remove(job.id)

    assert [other] == [path for path in cast("Shelf", ours.objects).root.rglob("*") if path.is_file()]


def test_a_fault_of_the_database_fails_no_job(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes out, so that the job is given back when the database answers again."""
    ours, _ = pair
    job = ours.store.add(NewJob(asked_of(Path("/source"))), 100)

    def away(_: Carried) -> Outcome:
        raise DatabaseAway("jobs' database does not answer")

    monkeypatch.setattr(conclude, "carry", away)
    with Hold(ours.store, claimed(ours), 0) as hold, pytest.raises(DatabaseAway):
        carry_to_its_end(Carried(hold, JobFolder(ours.temp_dir, job.id), ours, Runner(ours).turns, 0))

    assert "running" == ours.store.get(job.id).state


def test_a_job_that_is_taken_over_is_charged_to_its_key_once(pair: Pair, tmp_path: Path) -> None:
    """The other server fetches and plans it again; it was asked for once."""
    clip, usage = small_clip(tmp_path / "clip.mp4", 2), pair[0].store.usage
    bounds = Quotas(bytes_a_day=1 << 40, pixels_a_day=1 << 40)

    def fetch(_url: str, target: Path, _watch: Watch) -> object:
        return shutil.copy(clip, target)

    asked = replace(asked_of(clip), source=Source("url", "https://example.org/clip.mp4"))
    pair[0].store.add(NewJob(asked, key_id="somebody"), 100)
    used = []
    for parts in pair:
        server = replace(parts, fetch=fetch, quota=DayQuota(bounds, usage))
        claim = claimed(server)
        with Hold(server.store, claim, 0) as hold:
            one = carried_by(server, hold)
            one.folder.make()
            carry._plan(one, carry._bring(one))
        server.store.let_go(claim, "queued")
        used.append(usage.today("somebody"))

    assert used[0] == used[1]
    assert (clip.stat().st_size, 12 * 192 * 128) == (used[0].byte_count, used[0].pixels)


def test_two_janitors_do_not_trip_over_each_other(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the other one removed just now is left out; the rest is removed."""
    ours, theirs = pair
    for parts in (ours, theirs, ours):
        ours.store.add(NewJob(asked_of(Path("/source"))), 100)
        finished(parts, claimed(parts))
    listed = ours.store.expired(ours.store.now())
    monkeypatch.setattr(type(ours.store), "expired", lambda *_: listed)
    theirs.store.remove(listed[0].id)

    Janitor(ours, frozenset).sweep()

    assert {} == ours.store.owners()


def test_an_upload_that_lies_elsewhere_can_be_retried_from_here(pair: Pair) -> None:
    """Its own server does it again; one whose upload was here, and is gone, is refused."""
    ours, theirs = pair
    made = []
    for home in (ours.owner, theirs.owner):
        upload = replace(asked_of(Path("/x")), source=Source("upload", "/gone"))
        made.append(ours.store.add(NewJob(upload, home=home), 100).id)
        ours.store.want(made[-1], "canceled")

    with pytest.raises(Gone, match="removed with it"):
        Runner(ours).retry(made[0])

    assert "queued" == Runner(ours).retry(made[1]).state
    assert ours.store.claim(ours.owner, LEASE) is None
    assert made[1] == claimed(theirs).job.id


def test_a_local_result_is_removed_where_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere it is refused: the file and its links would stay. Who asks for it there is told where it may be."""
    ours, theirs = pair_in(tmp_path, Storage(kind="local"))
    theirs = replace(theirs, objects=LocalStore(tmp_path / "b" / "objects", tmp_path / "b" / "links.key"))
    monkeypatch.setattr(type(ours.store), "is_shared", True)
    ours.store.add(NewJob(asked_of(Path("/source")), home=ours.owner), 100)
    done = finished(ours, claimed(ours))

    with pytest.raises(Conflict, match="lies on the server that made it"):
        Runner(theirs).remove(done.id)
    with pytest.raises(Gone) as caught:
        Results(theirs.objects, theirs.store, theirs.settings).file_of(done)
    Runner(ours).remove(done.id)

    assert "UPSCALE_STORAGE__KIND=s3" in str(caught.value.hint)
    assert ours.objects.head(own_key(done.id, ours)) is None
    ours.store.close()
