"""A segment counts as done only when its marker, its size and its bytes say so."""

from __future__ import annotations

from pathlib import Path

import pytest

from upscale_server.checkpoint import Done, WorkDir, digest_of
from upscale_server.media.encode import PacketTime


@pytest.fixture
def work(tmp_path: Path) -> WorkDir:
    """Give an empty work folder."""
    return WorkDir(tmp_path / "work", "a plan")


def _finish(work: WorkDir, index: int, content: bytes = b"frames") -> Done:
    with work.writing(index) as path:
        path.write_bytes(content)
        digest = digest_of(path)
    done = Done(index, (PacketTime(0, is_keyframe=True), PacketTime(7, is_keyframe=False)), len(content), digest)
    work.mark(done)
    return done


def test_a_marked_segment_is_found_again(work: WorkDir) -> None:
    """What was recorded comes back equal, times included."""
    done = _finish(work, 3)

    assert done == WorkDir(work.path, "a plan").find(3)


def test_another_plans_segment_is_not_found(work: WorkDir) -> None:
    """The same folder given to another plan starts from nothing."""
    _finish(work, 3)

    assert WorkDir(work.path, "another plan").find(3) is None


def test_a_segment_without_a_marker_was_never_made(work: WorkDir) -> None:
    """A death between the file and its marker means doing the segment again."""
    with work.writing(0) as path:
        path.write_bytes(b"frames")

    assert work.find(0) is None


@pytest.mark.parametrize("content", [b"", b"frame", b"Frames"])
def test_a_damaged_segment_is_not_done(work: WorkDir, content: bytes) -> None:
    """Truncated and changed files are found out, also when the size is right."""
    _finish(work, 0)

    work.segment_path(0).write_bytes(content)

    assert work.find(0) is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"index": 0}', '{"index": 0, "times": [1]}'])
def test_a_damaged_marker_is_no_marker(work: WorkDir, text: str) -> None:
    """A torn marker costs one segment and stops nothing."""
    _finish(work, 0)

    (work.path / "segment-00000.json").write_text(text)

    assert work.find(0) is None


def test_a_failure_while_writing_leaves_nothing(work: WorkDir) -> None:
    """The part file goes when the block fails."""

    def fail() -> None:
        with work.writing(0) as path:
            path.write_bytes(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()

    assert [] == list(work.path.iterdir())
