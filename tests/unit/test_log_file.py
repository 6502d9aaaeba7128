"""The servers' log file: whole lines, bounded size, two writers."""

from __future__ import annotations

import json
import logging
import stat
from pathlib import Path

import pytest

from upscale_server.errors import StorageError
from upscale_server.log_file import RotatedFile
from upscale_server.logs import configure_server, get_logger


def test_a_full_file_is_put_aside_and_the_oldest_goes(tmp_path: Path) -> None:
    """Lines are kept in order over the files, and no more files than said."""
    log = RotatedFile(tmp_path / "server.log", max_bytes=20, kept=2)

    for number in range(10):
        log.write(f"line {number:04}\n")
    log.close()

    assert "line 0008\nline 0009\n" == (tmp_path / "server.log").read_text()
    assert "line 0006\nline 0007\n" == (tmp_path / "server.log.1").read_text()
    assert "line 0004\nline 0005\n" == (tmp_path / "server.log.2").read_text()
    assert 3 == len(list(tmp_path.iterdir()))


def test_a_file_put_aside_by_another_process_is_followed(tmp_path: Path) -> None:
    """Two servers share one log; neither goes on writing into what the other has put aside."""
    first, second = (RotatedFile(tmp_path / "server.log", max_bytes=20) for _ in range(2))

    for number in range(4):
        first.write(f"first {number:03}\n")
    second.write("second\n")
    first.close()
    second.close()

    assert (tmp_path / "server.log").read_text().endswith("second\n")


def test_a_full_file_that_cannot_be_put_aside_takes_no_writer_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that may not be written any more: lines go on where they went, and nobody waits for anybody's lock."""

    def refuse(self: Path, target: Path) -> Path:
        raise PermissionError(self, target)

    first, second = (RotatedFile(tmp_path / "server.log", max_bytes=10) for _ in range(2))
    monkeypatch.setattr(Path, "replace", refuse)

    for log in (first, second) * 2:
        log.write("a line that fills it\n")
        log.write("and one that is beyond\n")

    assert 8 == len((tmp_path / "server.log").read_text().splitlines())
    for log in (first, second):
        log.close()


def test_a_removed_file_is_made_again(tmp_path: Path) -> None:
    """Someone may delete the log of a running server."""
    log = RotatedFile(tmp_path / "server.log")
    (tmp_path / "server.log").unlink()

    log.write("here again\n")
    log.close()

    assert "here again\n" == (tmp_path / "server.log").read_text()


def test_only_the_user_may_read_it(tmp_path: Path) -> None:
    """Addresses of callers are nobody else's business."""
    RotatedFile(tmp_path / "server.log").close()

    assert 0o600 == stat.S_IMODE((tmp_path / "server.log").stat().st_mode)


def test_a_place_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    """The start fails with the path instead of a server without a log."""
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(StorageError, match="file"):
        RotatedFile(tmp_path / "file" / "server.log")


def test_events_and_libraries_warnings_reach_stderr_and_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both places hold the same lines; what a library says below a warning is left out."""
    queue = configure_server("info", "json", tmp_path / "server.log")
    get_logger(job="a1").info("job_claimed")
    logging.getLogger("a.library").info("chatter")
    logging.getLogger("a.library").warning("the %s", "matter")
    queue.close(30)

    lines = [json.loads(line) for line in (tmp_path / "server.log").read_text().splitlines()]
    assert (tmp_path / "server.log").read_text() == capsys.readouterr().err
    assert ["job_claimed", "library_message"] == [line["event"] for line in lines]
    assert ("a.library", "the matter") == (lines[1]["library"], lines[1]["text"])
