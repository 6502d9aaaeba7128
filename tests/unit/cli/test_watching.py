"""The watched folder: what is taken, when, where it goes, and what stays."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.support.image_server import StandIn, problem, standing_in
from upscale_server.cli import watching
from upscale_server.cli.sending import Sender
from upscale_server.cli.watching import Folders, Watch, free_name, is_being_written
from upscale_server.client.image_servers import ImageServers
from upscale_server.client.images import ImageServer, Wish
from upscale_server.errors import BadRequest, SourceNotFound

LIMIT_SECONDS = 30
"""A wait must end; no expectation."""


@pytest.fixture
def server() -> Iterator[StandIn]:
    """Give a server that does everything well."""
    with standing_in() as running:
        yield running


@pytest.fixture
def watch(tmp_path: Path, server: StandIn) -> Iterator[Watch]:
    """Give a watch over an empty folder, which looks when it is told to."""
    (tmp_path / "in").mkdir()
    with ImageServers([ImageServer(server.url)]) as servers:
        yield Watch(Sender(servers, Wish(2), 2), Folders.of(tmp_path / "in", None, None), "*.png", look_seconds=0.01)


def arrive(folder: Path, name: str, side: int = 6) -> Path:
    """Let a picture arrive at once."""
    Image.new("RGB", (side, side)).save(folder / name)
    return folder / name


def until(watch: Watch, fact: Callable[[], object]) -> None:
    """Look again and again until something is so."""
    end = time.monotonic() + LIMIT_SECONDS
    while not fact():
        assert time.monotonic() < end
        watch.look()
        watch.settle(0.01)


def idle(watch: Watch) -> None:
    """Look often enough for everything that will be taken to be taken and finished."""
    for _ in range(5):
        watch.look()
        watch.settle(0.01)
    until(watch, lambda: not watch._running)


def names(folder: Path) -> set[str]:
    """Return the names of the files in a folder."""
    return {path.name for path in folder.iterdir() if path.is_file()}


def shown(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """Return the records on stdout so far."""
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_what_arrives_is_upscaled_and_moved_aside(watch: Watch, capsys: pytest.CaptureFixture[str]) -> None:
    """The result is in `upscaled`, the picture in `processed`, and the folder is empty again."""
    folder = watch.folders.watched
    arrive(folder, "a.png")
    arrive(folder, "b.png")

    until(watch, lambda: len(names(folder / "processed")) == 2)

    assert set() == names(folder)
    assert {"a_upscaled.png", "b_upscaled.png"} == names(folder / "upscaled")
    assert {"a.png", "b.png"} == names(folder / "processed")
    assert {str(folder / "processed" / "a.png"), str(folder / "processed" / "b.png")} == {
        record["moved_to"] for record in shown(capsys)
    }


def test_a_file_that_somebody_writes_is_not_taken(watch: Watch, server: StandIn) -> None:
    """However long it has not grown: as long as it is open to write it is left alone."""
    content = picture_bytes(watch.folders.watched.parent)
    with (watch.folders.watched / "slow.png").open("wb") as file:
        file.write(content[:40])
        file.flush()
        if not is_being_written(watch.folders.watched / "slow.png"):
            pytest.skip("this file system has no leases; only the two looks protect a file there")
        idle(watch)
        assert [] == server.asked
        file.write(content[40:])
    until(watch, lambda: names(watch.folders.processed))

    assert 1 == len(server.asked)
    assert {"slow_upscaled.png"} == names(watch.folders.output)


def picture_bytes(folder: Path) -> bytes:
    """Return the bytes of a picture."""
    path = arrive(folder, "made.png")
    content = path.read_bytes()
    path.unlink()
    return content


def test_a_file_that_grows_between_two_looks_is_not_taken(
    watch: Watch, server: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no lease tells, two equal looks must: a copy over a network opens and closes the file for each piece."""
    monkeypatch.setattr(watching, "is_being_written", lambda _: False)
    content = picture_bytes(watch.folders.watched.parent)
    path = watch.folders.watched / "slow.png"
    for end in range(10, len(content), 10):
        path.write_bytes(content[:end])
        watch.look()
    assert [] == server.asked
    path.write_bytes(content)

    until(watch, lambda: names(watch.folders.processed))

    assert 1 == len(server.asked)


def test_an_empty_file_is_waited_for(watch: Watch, server: StandIn) -> None:
    """It was only begun."""
    (watch.folders.watched / "begun.png").touch()

    idle(watch)

    assert [] == server.asked


def test_only_what_matches_is_taken(watch: Watch) -> None:
    """Other files and hidden ones stay; folders of ours are never searched."""
    folder = watch.folders.watched
    arrive(folder, "a.png")
    arrive(folder, "b.jpg")
    arrive(folder, ".hidden.png")

    until(watch, lambda: names(watch.folders.processed))
    watch.pattern = "**/*.png"
    idle(watch)

    assert {"b.jpg", ".hidden.png"} == names(folder)
    assert {"a_upscaled.png"} == names(watch.folders.output)


def test_a_deep_pattern_keeps_the_folders(watch: Watch) -> None:
    """Results and finished pictures lie as the pictures lay."""
    (watch.folders.watched / "below").mkdir()
    arrive(watch.folders.watched / "below", "a.png")
    watch.pattern = "**/*.png"

    until(watch, (watch.folders.processed / "below" / "a.png").exists)

    assert (watch.folders.output / "below" / "a_upscaled.png").is_file()


def test_names_that_come_again_write_over_nothing(watch: Watch) -> None:
    """A camera that counts from one again: both results and both pictures are there."""
    for side in (6, 8):
        arrive(watch.folders.watched, "a.png", side)
        until(watch, lambda: not names(watch.folders.watched))

    assert {"a_upscaled.png", "a_upscaled-2.png"} == names(watch.folders.output)
    assert {"a.png", "a-2.png"} == names(watch.folders.processed)
    with Image.open(watch.folders.output / "a_upscaled-2.png") as image:
        assert (16, 16) == image.size


def test_a_refused_picture_stays_and_is_tried_again_when_it_changes(
    watch: Watch, server: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    """One message, no endless sending; the others go on."""
    bad = watch.folders.watched / "bad.png"
    bad.write_bytes(b"no picture")
    arrive(watch.folders.watched, "good.png")

    until(watch, lambda: names(watch.folders.processed))
    idle(watch)
    assert 2 == len(server.asked)
    assert ["not_media"] == [record["fault"]["code"] for record in shown(capsys) if "fault" in record]

    arrive(watch.folders.watched, "bad.png")
    until(watch, lambda: len(names(watch.folders.processed)) == 2)
    assert set() == names(watch.folders.watched)


@pytest.mark.slow
def test_a_server_that_is_away_is_said_once_and_tried_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The watch outlives the server; what arrived meanwhile is done when it is back."""
    monkeypatch.setattr(watching, "RETRY_SECONDS", 0.01)
    with standing_in() as gone:
        pass
    (tmp_path / "in").mkdir()
    arrive(tmp_path / "in", "a.png")
    with ImageServers([ImageServer(gone.url)]) as servers:
        watch = Watch(Sender(servers, Wish(2), 2), Folders.of(tmp_path / "in", None, None), "*.png", look_seconds=0.01)
        tries = 0

        def counted() -> bool:
            nonlocal tries
            tries += any(seen.said for seen in watch._seen.values())
            return tries > 5

        until(watch, counted)
        with standing_in(port=gone.port):
            until(watch, lambda: names(watch.folders.processed))

    found = shown(capsys)
    assert ["server_unreachable"] == [record["fault"]["code"] for record in found if "fault" in record]
    assert {"a_upscaled.png"} == names(watch.folders.output)


def test_a_result_that_is_there_is_not_made_again_because_its_picture_cannot_be_moved(
    watch: Watch, server: StandIn, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is said, and the picture stays where it is."""

    def refuse(*_: object) -> None:
        raise PermissionError(1, "not permitted")

    monkeypatch.setattr("shutil.move", refuse)
    arrive(watch.folders.watched, "a.png")

    until(watch, lambda: any(seen.refused for seen in watch._seen.values()))
    idle(watch)

    assert 1 == len(server.asked)
    assert ["storage_error"] == [record["fault"]["code"] for record in shown(capsys)]
    assert {"a.png"} == names(watch.folders.watched)


def test_a_picture_that_vanishes_ends_nothing(watch: Watch, server: StandIn) -> None:
    """Somebody took it away again."""
    path = arrive(watch.folders.watched, "a.png")
    watch.look()
    path.unlink()
    idle(watch)

    assert [] == server.asked


@pytest.mark.slow
def test_no_more_pictures_are_under_way_than_threads(tmp_path: Path) -> None:
    """The others wait in the folder."""
    (tmp_path / "in").mkdir()
    for number in range(6):
        arrive(tmp_path / "in", f"{number}.png")
    with standing_in() as server, ImageServers([ImageServer(server.url)]) as servers:
        watch = Watch(Sender(servers, Wish(2), 2), Folders.of(tmp_path / "in", None, None), "*.png")
        watch.look()
        watch.look()
        assert 2 == len(watch._running)
        until(watch, lambda: len(names(watch.folders.processed)) == 6)

    assert server.most <= 2


def test_results_must_not_arrive_in_the_watched_folder(tmp_path: Path) -> None:
    """They would be taken for pictures."""
    with pytest.raises(BadRequest, match="is the watched folder"):
        Folders.of(tmp_path, tmp_path, None)
    with pytest.raises(BadRequest, match="is the watched folder"):
        Folders.of(tmp_path, None, tmp_path / "x" / "..")
    with pytest.raises(SourceNotFound):
        Folders.of(tmp_path / "gone", None, None)


def test_a_lease_tells_who_writes(tmp_path: Path) -> None:
    """Open to write: yes; closed, or open to read: no; asking does not disturb the writer."""
    path = tmp_path / "file"
    with path.open("wb") as file:
        written = is_being_written(path)
        file.write(b"x")
    with path.open("rb"):
        read = is_being_written(path)

    assert not is_being_written(path)
    assert not read
    if not written:
        pytest.skip("this file system has no leases")
    assert written


def test_free_names_count_up(tmp_path: Path) -> None:
    """What is there and what is about to be there is left alone; a link to nowhere is something, too."""
    (tmp_path / "a.png").touch()
    (tmp_path / "a-2.png").symlink_to("nowhere")

    assert tmp_path / "a-4.png" == free_name(tmp_path / "a.png", {tmp_path / "a-3.png"})
    assert tmp_path / "b.png" == free_name(tmp_path / "b.png", set())


@pytest.mark.slow
def test_loading_models_are_waited_for(watch: Watch, server: StandIn) -> None:
    """A picture that arrives before the models is done after them."""
    server.script.extend([problem(503, "models_not_loaded", retryable=True, retry_after="0")] * 2)
    arrive(watch.folders.watched, "a.png")

    until(watch, lambda: names(watch.folders.processed))

    assert {"a_upscaled.png"} == names(watch.folders.output)
