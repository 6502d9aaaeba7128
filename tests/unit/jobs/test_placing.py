"""A result at a path in a folder where others write, too: whole, ours alone, and never through a link."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from upscale_server.errors import DiskFull, StorageError
from upscale_server.jobs.placing import Place


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Give a place under a shared folder, with the folder of its job."""
    root = tmp_path / "shared"
    (root / "inner").mkdir(parents=True)
    (tmp_path / "job").mkdir()
    return Place(root, root / "inner" / "out.mp4", ".job.part", tmp_path / "job" / "placed.json")


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """Give a finished file."""
    path = tmp_path / "job" / "made.mp4"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"result")
    return path


def names(place: Place) -> list[str]:
    """Return what lies in the folder."""
    return sorted(path.name for path in place.target.parent.iterdir())


def test_result_lies_there_whole_and_alone(place: Place, made: Path) -> None:
    """The file and nothing beside it; doing it again, as a restart does, changes nothing."""
    place.put(made)
    before = place.target.stat()
    place.put(made)

    assert b"result" == place.target.read_bytes()
    assert ["out.mp4"] == names(place)
    assert before.st_ino == place.target.stat().st_ino


def test_file_of_somebody_else_is_neither_replaced_nor_removed(place: Place, made: Path) -> None:
    """What appeared after the door looked stays as it is, also when the job is cancelled."""
    place.target.write_text("theirs")

    with pytest.raises(StorageError, match="exists already"):
        place.put(made)
    place.take_back(result=True)

    assert (["out.mp4"], "theirs") == (names(place), place.target.read_text())


def test_cancelled_result_is_taken_back_also_after_a_crash(place: Place, made: Path) -> None:
    """The note says which file is ours, so that a kill between placing and the end leaves nothing."""
    place.put(made)

    Place(place.root, place.target, place.part, place.note).take_back(result=True)

    assert [] == names(place)


def test_result_that_somebody_replaced_is_theirs(place: Place, made: Path) -> None:
    """A file of the same name that is not the one we put there is not removed."""
    place.put(made)
    place.target.unlink()
    place.target.write_text("theirs")

    place.take_back(result=True)

    assert "theirs" == place.target.read_text()


def test_link_in_place_of_the_part_is_not_written_through(place: Place, made: Path, tmp_path: Path) -> None:
    """The part's name can be known; what somebody put there is removed, not followed."""
    victim = tmp_path / "victim"
    victim.write_text("secret")
    place.target.with_name(place.part).symlink_to(victim)

    place.put(made)

    assert ("secret", b"result") == (victim.read_text(), place.target.read_bytes())


def test_folder_that_became_a_link_is_not_entered(place: Place, made: Path, tmp_path: Path) -> None:
    """A folder of the path that leads out of the shared one by now takes no result."""
    place.target.parent.rmdir()
    outside = tmp_path / "outside"
    outside.mkdir()
    place.target.parent.symlink_to(outside)

    with pytest.raises(StorageError):
        place.put(made)

    assert [] == list(outside.iterdir())


def test_name_of_255_bytes_finds_its_place(place: Place, made: Path) -> None:
    """The part's name does not grow with the result's, which may be as long as the system allows."""
    long = Place(place.root, place.target.with_name("a" * 251 + ".mp4"), place.part, place.note)

    long.put(made)

    assert b"result" == long.target.read_bytes()


def test_disk_without_second_names_takes_results_too(place: Place, made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a file can have one name only, the name is taken first and filled at once; nothing is replaced."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    place.put(made)

    assert (["out.mp4"], b"result") == (names(place), place.target.read_bytes())
    place.note.unlink()
    with pytest.raises(StorageError, match="exists already"):
        place.put(made)


@pytest.mark.parametrize("then", ["again", "cancel"])
def test_kill_between_taking_the_name_and_filling_it_blocks_nothing(
    then: str, place: Place, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a disk without second names: the empty file is known as ours, by the next try and by a cancel."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "link", refuse)
    with monkeypatch.context() as killed:
        killed.setattr(os, "rename", die)
        with pytest.raises(KeyboardInterrupt):
            place.put(made)
    assert 0 == place.target.stat().st_size

    if then == "again":
        place.put(made)
        assert (["out.mp4"], b"result") == (names(place), place.target.read_bytes())
    else:
        place.take_back(result=True)
        assert [] == names(place)


@pytest.mark.parametrize("which", [1, 2])
def test_disk_that_is_full_for_a_note_blocks_nothing(
    which: int, place: Place, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a disk without second names: whichever note cannot be written, the next try ends well."""
    written, writes = Path.write_text, 0

    def full(self: Path, text: str) -> int:
        nonlocal writes
        writes += 1
        if writes == which:
            raise OSError(errno.ENOSPC, "no space")
        return written(self, text)

    monkeypatch.setattr(os, "link", lambda *_, **__: (_ for _ in ()).throw(OSError(errno.EPERM, "no links here")))
    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(DiskFull):
        place.put(made)
    place.put(made)

    assert b"result" == place.target.read_bytes()
    place.take_back(result=True)
    assert [] == names(place)


def test_empty_file_of_somebody_else_stays_on_a_disk_without_second_names(
    place: Place, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was there before is not taken for the empty file with which we take a name."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    place.target.touch()
    for _ in range(2):
        with pytest.raises(StorageError, match="exists already"):
            place.put(made)
    place.take_back(result=True)

    assert ["out.mp4"] == names(place)
