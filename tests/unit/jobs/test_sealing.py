"""Addresses that are stored tell a host and a path, and never what may be a signature."""

from __future__ import annotations

from pathlib import Path

import pytest

from upscale_server.errors import Gone
from upscale_server.jobs.job import Asked, NewJob, Source
from upscale_server.jobs.sealing import NoSealer, Sealer
from upscale_server.jobs.store import JobStore

SIGNED = "https://media.example.org/in/clip.mp4?X-Amz-Signature=c0ffee#t=1"
TOLD = "https://hooks.example.org/T0/secret-path?token=swordfish"


@pytest.mark.parametrize("url", [SIGNED, TOLD, "https://a.example/#frag", "http://[2001:db8::1]:81/a?b=%20c"])
def test_what_is_sealed_opens_to_what_it_was(url: str) -> None:
    """The address that is fetched is byte for byte the one that was handed in."""
    sealer = Sealer(b"key")

    assert url == sealer.opened(sealer.seal_query(url))
    assert url == sealer.opened(sealer.seal_path(url))


def test_a_source_keeps_its_path_and_a_receiver_its_host_alone() -> None:
    """Operators see where a source was; a receiver's path may be its secret."""
    sealed = Sealer(b"key").sealed(Asked(Source("url", SIGNED), webhook=TOLD))

    assert sealed.source.location.startswith("https://media.example.org/in/clip.mp4?sealed-1=")
    assert sealed.webhook is not None
    assert sealed.webhook.startswith("https://hooks.example.org?sealed-1=")


def test_no_two_seals_are_alike() -> None:
    """Who reads the table cannot tell that two jobs had the same signature."""
    sealer = Sealer(b"key")

    assert sealer.seal_query(SIGNED) != sealer.seal_query(SIGNED)


@pytest.mark.parametrize("place", [-1, -60, 60])
def test_a_changed_seal_is_refused(place: int) -> None:
    """Who can write the table cannot make the server fetch what he likes."""
    sealer = Sealer(b"key")
    sealed = list(sealer.seal_query(SIGNED))
    sealed[place] = "A" if sealed[place] != "A" else "B"

    with pytest.raises(Gone, match="sealed with a key"):
        sealer.opened("".join(sealed))


def test_a_seal_opens_for_its_own_host_and_key_alone() -> None:
    """A seal that is moved to another host, or to a server with another key, tells nothing."""
    sealer = Sealer(b"key")
    sealed = sealer.seal_query(SIGNED)

    with pytest.raises(Gone):
        sealer.opened(sealed.replace("media.example.org", "evil.example.org"))
    with pytest.raises(Gone):
        Sealer(b"other").opened(sealed)


def bytes_of_database(folder: Path, sealer: Sealer | None) -> bytes:
    """Return all that a store leaves on the disk after it has taken one job."""
    folder.mkdir()
    store = JobStore(f"sqlite:///{folder}/jobs.sqlite", sealer=sealer)
    store.add(NewJob(Asked(Source("url", SIGNED), webhook=TOLD)), 9)
    found = b"".join(path.read_bytes() for path in folder.iterdir())
    store.close()
    return found


def test_database_holds_no_signature_and_would_without_the_seal(tmp_path: Path) -> None:
    """Of a job that waits, file and journal hold neither secret; without the seal they hold both."""
    sealed, bare = bytes_of_database(tmp_path / "a", Sealer(b"key")), bytes_of_database(tmp_path / "b", None)

    assert [False] * 3 == [text in sealed for text in (b"c0ffee", b"swordfish", b"secret-path")]
    assert [True] * 3 == [text in bare for text in (b"c0ffee", b"swordfish", b"secret-path")]


def test_jobs_of_an_older_version_are_read(tmp_path: Path) -> None:
    """An address that was stored before there were seals is fetched as it is."""
    path = tmp_path / "jobs.sqlite"
    old = JobStore(f"sqlite:///{path}", sealer=NoSealer())
    job = old.add(NewJob(Asked(Source("url", SIGNED))), 9)
    old.close()
    store = JobStore(f"sqlite:///{path}", sealer=Sealer(b"key"))

    assert store.sealer.opened(store.get(job.id).asked.source.location) == SIGNED
    store.close()
