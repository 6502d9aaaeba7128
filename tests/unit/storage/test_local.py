"""The folder of results: what only it promises, beyond the contract of all stores."""

from __future__ import annotations

import errno
import os
import shutil
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from upscale_server.errors import DiskFull, StorageError
from upscale_server.storage import local as local_module
from upscale_server.storage.base import About, UploadMemory
from upscale_server.storage.local import LocalStore

KEY = "results/a.mp4"
FORGET = UploadMemory(None, lambda _upload: None)


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    """Give an empty store."""
    return LocalStore(tmp_path / "output", tmp_path / "state" / "links.key")


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """Give a file to store."""
    path = tmp_path / "film.mp4"
    path.write_bytes(b"film" * 1000)
    return path


@pytest.fixture
def _no_hard_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behave as if every folder were a disk of its own."""

    def refuse(_self: Path, _target: Path) -> None:
        raise OSError(errno.EXDEV, "another disk")

    monkeypatch.setattr(Path, "hardlink_to", refuse)


def names(folder: Path) -> list[str]:
    """Return the files under a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_file_on_the_same_disk_is_linked_and_not_copied(store: LocalStore, film: Path) -> None:
    """Storing hours of video costs nothing, and outlives the work folder."""
    store.put(film, KEY, About(), FORGET)

    path = store.path_of(KEY)
    assert path is not None
    assert film.stat().st_ino == path.stat().st_ino
    film.unlink()
    assert b"film" * 1000 == path.read_bytes()


@pytest.mark.usefixtures("_no_hard_links")
def test_a_file_on_another_disk_is_copied(tmp_path: Path, film: Path) -> None:
    """The same promise, with two inodes and no part file left."""
    (tmp_path / "links.key").write_text("ab" * 32)
    (tmp_path / "links.key").chmod(0o600)
    store = LocalStore(tmp_path / "output", tmp_path / "links.key")

    store.put(film, KEY, About(), FORGET)

    path = store.path_of(KEY)
    assert path is not None
    assert film.stat().st_ino != path.stat().st_ino
    assert [KEY] == names(store.root)


def test_a_copy_that_does_not_fit_is_refused_before_it_is_begun(
    store: LocalStore, film: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """The free space is looked at first; nothing is left."""
    request.getfixturevalue("_no_hard_links")

    class Usage(NamedTuple):
        free: int

    monkeypatch.setattr(shutil, "disk_usage", lambda _path: Usage(4000 + local_module.SPARE_BYTES - 1))

    with pytest.raises(DiskFull, match="are free") as caught:
        store.put(film, KEY, About(), FORGET)

    assert "UPSCALE_OUTPUT_DIR" in str(caught.value.hint)
    assert [] == names(store.root)


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fills_up_on_the_way_is_named_and_leaves_the_old_object(
    fault: int, store: LocalStore, film: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """A reader still has the object of before, and no half of the new one is anywhere."""
    store.put(film, KEY, About(), FORGET)
    before = store.head(KEY)
    request.getfixturevalue("_no_hard_links")

    def fill_up(_source: Path, part: Path) -> None:
        part.write_bytes(b"half")
        raise OSError(fault, "full")

    monkeypatch.setattr(shutil, "copyfile", fill_up)
    with pytest.raises(DiskFull):
        store.put(film, KEY, About(), FORGET)

    assert before == store.head(KEY)
    assert [KEY] == names(store.root)


def test_bytes_are_on_the_disk_before_the_name_and_the_name_before_the_answer(
    store: LocalStore, film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sync of the file, rename, sync of the folder: in this order."""
    steps: list[str] = []
    real_sync, real_replace = os.fsync, Path.replace

    def sync(descriptor: int) -> None:
        steps.append(f"sync {'folder' if os.path.isdir(f'/proc/self/fd/{descriptor}') else 'file'}")  # noqa: PTH112
        real_sync(descriptor)

    def replace(self: Path, target: Path) -> Path:
        steps.append("rename")
        return real_replace(self, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(Path, "replace", replace)
    store.put(film, KEY, About(), FORGET)

    assert ["sync file", "rename", "sync folder"] == steps


def test_a_symbolic_link_leads_nowhere(store: LocalStore, tmp_path: Path) -> None:
    """Neither a file nor a folder that points out of the store is an object of it."""
    (tmp_path / "secret.mp4").write_text("secret")
    (store.root / "results").mkdir()
    (store.root / "results" / "a.mp4").symlink_to(tmp_path / "secret.mp4")
    (store.root / "out").symlink_to(tmp_path)

    assert store.head(KEY) is None
    assert store.path_of("out/secret.mp4") is None
    assert [] == list(store.listed())


def test_only_old_part_files_of_ours_are_swept(store: LocalStore, film: Path) -> None:
    """A dead process's part goes when it is old; objects and other people's files stay."""
    store.put(film, KEY, About(), FORGET)
    for name in ("results/.a.mp4.0123456789abcdef.part", "results/other.part", "notes.txt"):
        (store.root / name).write_text("x")

    assert 0 == store.sweep(3600)
    assert 1 == store.sweep(-60)

    assert ["notes.txt", "results/a.mp4", "results/other.part"] == names(store.root)


def test_a_part_file_is_no_object(store: LocalStore) -> None:
    """What is being written is not listed."""
    (store.root / "results").mkdir()
    (store.root / "results" / ".a.mp4.0123456789abcdef.part").write_text("x")

    assert [] == list(store.listed())


def test_a_folder_that_cannot_be_written_is_told_by_the_check(store: LocalStore) -> None:
    """The message names the setting."""
    store.root.rmdir()

    with pytest.raises(StorageError) as caught:
        store.check()

    assert "UPSCALE_OUTPUT_DIR" in str(caught.value.hint)


def test_a_rewritten_object_is_another_version(store: LocalStore, film: Path, tmp_path: Path) -> None:
    """Readers that go on with Range after a replacement must see that it is not the same file."""
    other = tmp_path / "other.mp4"
    other.write_bytes(b"mlif" * 1000)

    first = store.put(film, KEY, About(), FORGET)
    second = store.put(other, KEY, About(), FORGET)

    assert first.byte_count == second.byte_count
    assert first.etag != second.etag
    assert time.time() - second.modified < 3600
