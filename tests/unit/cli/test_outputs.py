"""Names, folders and the moment a finished file takes its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from upscale_server.cli.outputs import Job, Suffixes, check, jobs_of, move_into_place, publishing
from upscale_server.errors import BadRequest, SourceNotFound, StorageError

SUFFIXES = Suffixes(found={".png", ".gif"}, written_as={".png": ".png"}, otherwise=".png")


def _write_half(part: Path) -> None:
    part.write_bytes(b"half")
    raise OSError("text")


def _touch(folder: Path, *names: str) -> list[Path]:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    return [folder / name for name in names]


def test_output_is_beside_the_input_when_none_is_named(tmp_path: Path) -> None:
    """NAME_upscaled.EXT, with a format that can be written where the source's cannot."""
    png, gif = _touch(tmp_path, "a.png", "b.gif")

    assert [Job(png, tmp_path / "a_upscaled.png")] == jobs_of([png], None, SUFFIXES)
    assert [Job(gif, tmp_path / "b_upscaled.png")] == jobs_of([gif], None, SUFFIXES)


def test_one_input_goes_to_the_file_or_into_the_folder_named(tmp_path: Path) -> None:
    """-o FILE is the file; -o FOLDER that exists is a folder."""
    (source,) = _touch(tmp_path, "a.png")
    (tmp_path / "out").mkdir()

    assert [Job(source, tmp_path / "b.webp")] == jobs_of([source], tmp_path / "b.webp", SUFFIXES)
    assert [Job(source, tmp_path / "out" / "a_upscaled.png")] == jobs_of([source], tmp_path / "out", SUFFIXES)


def test_a_folder_is_a_batch_of_its_media_without_earlier_results(tmp_path: Path) -> None:
    """Only known suffixes, sorted; a second run does not upscale what the first one wrote."""
    _touch(tmp_path, "b.PNG", "a.png", "a_upscaled.png", "notes.txt", "lone_upscaled.png")

    jobs = jobs_of([tmp_path], tmp_path / "out", SUFFIXES)

    assert ["a.png", "b.PNG", "lone_upscaled.png"] == [job.source.name for job in jobs]
    assert {tmp_path / "out"} == {job.output.parent for job in jobs}


def test_batches_that_cannot_work_are_refused(tmp_path: Path) -> None:
    """A file as the batch's output, and two sources for one name, each say so."""
    first, second, taken = _touch(tmp_path, "x/a.png", "y/a.png", "taken")

    with pytest.raises(BadRequest, match="must be a folder"):
        jobs_of([first, second], taken, SUFFIXES)
    with pytest.raises(BadRequest, match="would both be written"):
        jobs_of([first, second], tmp_path / "out", SUFFIXES)


def test_an_empty_folder_fails_alone(tmp_path: Path) -> None:
    """It is an item of the batch like any other: the rest goes on, and it says what is wrong when its turn comes."""
    (good,) = _touch(tmp_path, "a.png")
    (tmp_path / "empty").mkdir()

    jobs = jobs_of([tmp_path / "empty", good], tmp_path / "out", SUFFIXES)

    assert [tmp_path / "empty", good] == [job.source for job in jobs]
    with pytest.raises(SourceNotFound, match="holds nothing to upscale"):
        check(jobs[0], overwrite=False)


def test_the_source_is_never_its_own_output(tmp_path: Path) -> None:
    """By another spelling or a link, -y or not: the source is not replaced."""
    (source,) = _touch(tmp_path, "a.png")
    (tmp_path / "link.png").symlink_to(source)

    for output in (source, tmp_path / "." / "a.png", tmp_path / "link.png"):
        with pytest.raises(BadRequest, match="is the source itself"):
            check(Job(source, output), overwrite=True)


def test_an_existing_output_needs_yes(tmp_path: Path) -> None:
    """Without -y an existing file is refused and stays; with it the check passes."""
    source, output = _touch(tmp_path, "a.png", "b.png")

    with pytest.raises(BadRequest, match="exists") as caught:
        check(Job(source, output), overwrite=False)

    assert "-y" in str(caught.value.hint)
    check(Job(source, output), overwrite=True)


def test_a_missing_folder_and_a_folder_as_output_are_named(tmp_path: Path) -> None:
    """What cannot be written is refused before any work."""
    (source,) = _touch(tmp_path, "a.png")

    with pytest.raises(StorageError, match="does not exist"):
        check(Job(source, tmp_path / "none" / "b.png"), overwrite=False)
    with pytest.raises(BadRequest, match="is a folder"):
        check(Job(source, tmp_path), overwrite=True)


def test_a_published_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    """The name is taken at the end; after an error neither the file nor its part is there."""
    with publishing(tmp_path / "good.png") as part:
        part.write_bytes(b"whole")
        assert not (tmp_path / "good.png").exists()
    with pytest.raises(OSError, match="text"), publishing(tmp_path / "bad.png") as part:
        _write_half(part)

    assert b"whole" == (tmp_path / "good.png").read_bytes()
    assert ["good.png"] == [path.name for path in tmp_path.iterdir()]


def test_a_write_fault_is_named(tmp_path: Path) -> None:
    """A folder that vanished becomes storage_error with the file's name."""
    with pytest.raises(StorageError, match=r"b\.png"), publishing(tmp_path / "gone" / "b.png") as part:
        part.write_bytes(b"x")


def test_a_finished_file_moves_into_place(tmp_path: Path) -> None:
    """The work file is gone and the output is there."""
    (finished,) = _touch(tmp_path, "work/joined.mp4")

    move_into_place(finished, tmp_path / "out.mp4")

    assert b"x" == (tmp_path / "out.mp4").read_bytes()
    assert not finished.exists()


def test_an_output_never_falls_on_another_input(tmp_path: Path) -> None:
    """`a_upscaled.png` as an input is not overwritten by what `a.png` becomes."""
    first, second = _touch(tmp_path, "a.png", "a_upscaled.png")

    with pytest.raises(BadRequest, match="which is another input"):
        jobs_of([first, second], None, SUFFIXES)


def test_a_part_file_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    """Browsers call their downloads so."""
    (download,) = _touch(tmp_path, "out.png.part")
    download.write_text("half a download")

    with publishing(tmp_path / "out.png") as part:
        part.write_text("ours")

    assert "half a download" == download.read_text()
    assert "ours" == (tmp_path / "out.png").read_text()
