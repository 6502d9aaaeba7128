"""A job's folder: what is finished is found again, and what is damaged is not trusted."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from upscale_server.jobs.folder import JobFolder, Ready

NAME = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    """Give a job's folder with a finished file."""
    made = JobFolder(tmp_path, NAME)
    made.make()
    made.work("digest").mkdir(parents=True)
    path = made.work("digest") / "joined.mp4"
    path.write_bytes(b"a film")
    made.keep_ready(Ready(path, 6, {"model": "fast"}))
    return made


def test_finished_file_is_found_with_its_facts(folder: JobFolder) -> None:
    """A later attempt has only to store it."""
    found = JobFolder(folder.path.parent.parent, NAME).find_ready()

    assert found is not None
    assert (b"a film", 6, {"model": "fast"}) == (found.path.read_bytes(), found.byte_count, found.facts)


@pytest.mark.parametrize("content", [b"a film!", b"a fiLm", None])
def test_damaged_file_is_not_taken(content: bytes | None, folder: JobFolder) -> None:
    """Another size, other bytes or no file: it is made again."""
    path = folder.work("digest") / "joined.mp4"
    path.unlink()
    if content is not None:
        path.write_bytes(content)

    assert folder.find_ready() is None


def test_damaged_marker_is_not_taken(folder: JobFolder) -> None:
    """A marker that cannot be read is none."""
    (folder.path / "ready.json").write_text("{")

    assert folder.find_ready() is None


def test_folder_is_private(folder: JobFolder) -> None:
    """Sources of strangers are nobody else's to read."""
    assert 0o700 == stat.S_IMODE(folder.path.stat().st_mode)


def test_work_is_known_by_its_markers(tmp_path: Path) -> None:
    """A source alone is no work; a finished segment is."""
    folder = JobFolder(tmp_path, NAME)
    folder.make()
    folder.source.write_bytes(b"x")
    assert not folder.holds_work

    folder.work("digest").mkdir(parents=True)
    (folder.work("digest") / "segment-00000.json").write_text("{}")

    assert folder.holds_work


def test_removing_twice_is_no_fault(folder: JobFolder) -> None:
    """Nothing stays, and nothing is needed."""
    folder.remove()
    folder.remove()

    assert not folder.path.exists()
