"""Pictures travel whole or not at all, through a folder that all machines see and through an object store alike."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from tests.support.job_parts import Shelf
from upscale_server.cluster.transport import FolderTransport, StoreTransport, Transport
from upscale_server.errors import BadRequest, Canceled, StorageError

SOURCE, SEGMENT = "work/aa/source", "work/aa/0123-00000-ff.mkv"


def go_on() -> None:
    """Find no reason to stop."""


@pytest.fixture(params=["folder", "store"])
def transport(request: pytest.FixtureRequest, tmp_path: Path) -> Transport:
    """Give each transport in turn."""
    if request.param == "folder":
        return FolderTransport(tmp_path / "shared")
    return StoreTransport(Shelf(tmp_path / "shared"))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Give a file."""
    path = tmp_path / "source.mp4"
    path.write_bytes(b"film" * 1000)
    return path


def files(tmp_path: Path) -> list[str]:
    """Return what is on the way."""
    root = tmp_path / "shared"
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def test_a_source_is_the_same_there_and_unchanged_here(transport: Transport, source: Path, tmp_path: Path) -> None:
    """Also when it is offered twice; the time of the file is what a job knows it by."""
    before = source.stat().st_mtime_ns

    for _ in range(2):
        transport.offer(source, SOURCE, go_on)

    assert source.read_bytes() == transport.source(SOURCE, tmp_path / "there", go_on).read_bytes()
    assert before == source.stat().st_mtime_ns


def test_a_segment_is_taken_once(transport: Transport, source: Path, tmp_path: Path) -> None:
    """It is on the disk where it was wanted, and nowhere on the way any more."""
    transport.give(source, SEGMENT, go_on)

    transport.take(SEGMENT, tmp_path / "taken", go_on)

    assert source.read_bytes() == (tmp_path / "taken").read_bytes()
    assert [] == files(tmp_path)
    with pytest.raises(StorageError):
        transport.take(SEGMENT, tmp_path / "again", go_on)
    assert not (tmp_path / "again").exists()


def test_what_is_dropped_is_gone_and_its_neighbours_are_not(transport: Transport, source: Path, tmp_path: Path) -> None:
    """A job's folder goes with everything that was never fetched."""
    for key in (SOURCE, SEGMENT, "work/ab/source"):
        transport.give(source, key, go_on)

    transport.drop("work/aa/")
    transport.drop("work/nothing/")

    assert ["work/ab/source"] == files(tmp_path)


def age(tmp_path: Path, hours: float) -> None:
    """Let everything that is on the way be older."""
    for path in (tmp_path / "shared").rglob("*"):
        then = path.stat().st_mtime - hours * 3600
        os.utime(path, (then, then))


def test_what_a_server_left_that_is_gone_is_swept(transport: Transport, source: Path, tmp_path: Path) -> None:
    """After a day; what somebody still adds to stays whole, however old its source is."""
    for key in (SOURCE, SEGMENT, "work/ab/source", "work/ac/source"):
        transport.give(source, key, go_on)
    age(tmp_path, 25)
    transport.give(source, "work/ab/new.mkv", go_on)
    transport.offer(source, "work/ac/source", go_on)  # as is done every hour while a job runs

    transport.sweep()

    assert ["work/ab/new.mkv", "work/ab/source", "work/ac/source"] == files(tmp_path)


@pytest.mark.parametrize("way", ["offer", "source", "give", "take"])
def test_who_waits_may_give_up(way: str, source: Path, tmp_path: Path) -> None:
    """What the look raises comes out, and no half file is anywhere."""
    transport = FolderTransport(tmp_path / "shared")
    transport.give(source, SEGMENT, go_on)

    def give_up() -> None:
        raise Canceled("enough")

    ways = {
        "offer": lambda: transport.offer(source, SOURCE, give_up),
        "source": lambda: transport.source(SEGMENT, tmp_path / "there", give_up),
        "give": lambda: transport.give(source, "work/aa/other", give_up),
        "take": lambda: transport.take(SEGMENT, tmp_path / "there", give_up),
    }
    with pytest.raises(Canceled, match="enough"):
        ways[way]()

    assert [SEGMENT] == files(tmp_path)
    assert not (tmp_path / "there").exists()


def test_a_source_that_another_disk_holds_is_copied(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where links cannot be made."""

    def no_link(_self: Path, _target: Path) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(Path, "hardlink_to", no_link)
    transport = FolderTransport(tmp_path / "shared")

    transport.offer(source, SOURCE, go_on)

    found = transport.source(SOURCE, tmp_path / "there", go_on)
    assert source.read_bytes() == found.read_bytes()
    assert not source.samefile(found)


def test_many_may_offer_the_same_source_at_once(source: Path, tmp_path: Path) -> None:
    """Several jobs of one file, several threads of one job."""
    transport = FolderTransport(tmp_path / "shared")
    faults: list[Exception] = []

    def offer() -> None:
        try:
            transport.offer(source, SOURCE, go_on)
        except Exception as err:  # noqa: BLE001 - told below
            faults.append(err)

    threads = [threading.Thread(target=offer) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [] == faults
    assert [SOURCE] == files(tmp_path)


def test_no_key_leads_out(source: Path, tmp_path: Path) -> None:
    """Keys come from other machines."""
    transport = FolderTransport(tmp_path / "shared")
    with pytest.raises(BadRequest):
        transport.give(source, "work/../../evil", go_on)
