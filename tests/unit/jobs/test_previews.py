"""What is kept of previews, for how long, and what a start makes of what it finds."""

from __future__ import annotations

import errno
import json
import os
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.contextvars import bound_contextvars

from tests.support.job_parts import refuse_to_fetch
from tests.support.killing import wait_until
from tests.support.preview_pool import PreviewPool
from upscale_server.errors import Canceled, Draining, NotFound, QueueFull
from upscale_server.events import FramesDone, PhaseStarted
from upscale_server.jobs import preview_shelf
from upscale_server.jobs import previews as previews_module
from upscale_server.jobs.folder import previews_folder
from upscale_server.jobs.preview_counter import FrameCounter
from upscale_server.jobs.preview_record import KeptPreview, NewPreview, hidden
from upscale_server.jobs.preview_shelf import PreviewShelf
from upscale_server.jobs.previews import PreviewParts, Previews
from upscale_server.logs import bound_facts
from upscale_server.preview import Candidate
from upscale_server.server_settings import Previews as PreviewsSettings
from upscale_server.web.previews_routes import _move
from upscale_server.wish import Limits, Wish

ASKED = NewPreview(Wish(scale=2), Candidate.named([("lanczos", "lanczos")]), None, 0.2, self_test=False)
HOUR = 3600
SERVER = "this server"


class Clock:
    """A time that tests set."""

    now = 1_000_000.0

    def __call__(self) -> float:
        """Return it."""
        return self.now


def _shelf(folder: Path, clock: Clock) -> PreviewShelf:
    return PreviewShelf(previews_folder(folder, SERVER), PreviewsSettings(keep_seconds=HOUR), clock)


def _succeeded(kept: KeptPreview) -> KeptPreview:
    return replace(kept, state="succeeded")


def _failed(kept: KeptPreview) -> KeptPreview:
    return replace(kept, state="failed")


def _folders(folder: Path) -> Iterator[Path]:
    """Give the previews of a server, without the mark that says how long they outlive it."""
    return (path for path in folder.iterdir() if path.is_dir())


def test_an_expired_preview_is_not_there_and_its_folder_goes(tmp_path: Path) -> None:
    """It is kept for its time from its end on, and to the second no longer."""
    clock = Clock()
    shelf = _shelf(tmp_path, clock)
    kept = shelf.new(ASKED)
    clock.now += 2 * HOUR  # while it waited
    shelf.finish(kept.id, _succeeded)

    clock.now += HOUR - 1
    shelf.sweep()
    assert "succeeded" == shelf.get(kept.id, "").state

    clock.now += 1
    with pytest.raises(NotFound):
        shelf.get(kept.id, "")
    shelf.sweep()
    assert [] == list(_folders(previews_folder(tmp_path, SERVER)))


def test_the_oldest_of_too_many_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long they may be kept, there is a bound; one that is being made is not counted."""
    monkeypatch.setattr(preview_shelf, "MOST_KEPT", 2)
    clock = Clock()
    shelf = _shelf(tmp_path, clock)
    made: list[KeptPreview] = []
    for _ in range(4):
        clock.now += 1
        made.append(shelf.new(ASKED))
    for kept in made[:3]:
        shelf.finish(kept.id, _succeeded)

    shelf.sweep()

    assert {kept.id for kept in made[1:]} == {path.name for path in _folders(previews_folder(tmp_path, SERVER))}


def test_the_oldest_go_beyond_the_bytes_allowed(tmp_path: Path) -> None:
    """Of three with 600 bytes each one is kept by 1500 with its notes' bytes; the newest stays however large."""
    clock = Clock()
    shelf = PreviewShelf(
        previews_folder(tmp_path, SERVER), PreviewsSettings(keep_seconds=HOUR, budget_bytes=1500), clock
    )
    made: list[KeptPreview] = []
    for size in (600, 600, 600):
        clock.now += 1
        made.append(shelf.new(ASKED))
        (shelf.folder_of(made[-1].id) / "before.mp4").write_bytes(bytes(size))
        shelf.finish(made[-1].id, _succeeded)
    shelf.sweep()
    assert {made[2].id} == {path.name for path in _folders(previews_folder(tmp_path, SERVER))}

    (shelf.folder_of(made[2].id) / "before.mp4").write_bytes(bytes(9000))
    shelf.sweep()
    assert "succeeded" == shelf.get(made[2].id, "").state


def test_a_key_pushes_out_its_own_previews_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many one key has made: another's older one stays, and so does its failed one."""
    monkeypatch.setattr(preview_shelf, "MOST_KEPT", 3)
    clock = Clock()
    shelf = _shelf(tmp_path, clock)
    quiet, many = replace(ASKED, owner="quiet"), replace(ASKED, owner="many")
    good, failed = shelf.new(quiet), shelf.new(quiet)
    shelf.finish(good.id, _succeeded)
    shelf.finish(failed.id, _failed)
    made: list[KeptPreview] = []
    for _ in range(4):
        clock.now += 1
        made.append(shelf.new(many))
        shelf.finish(made[-1].id, _succeeded)
        shelf.finish(shelf.new(many).id, _failed)

    shelf.sweep()

    assert ["succeeded", "failed"] == [shelf.get(one.id, "quiet").state for one in (good, failed)]
    with pytest.raises(NotFound):
        shelf.get(made[1].id, "many")
    assert "succeeded" == shelf.get(made[2].id, "many").state


def test_a_key_that_fills_the_bytes_gives_way_to_others(tmp_path: Path) -> None:
    """Another's older and smaller one stays; the newest of who holds most does, too."""
    clock = Clock()
    shelf = PreviewShelf(
        previews_folder(tmp_path, SERVER), PreviewsSettings(keep_seconds=HOUR, budget_bytes=20_000), clock
    )
    made: list[KeptPreview] = []
    for owner, size in (("quiet", 3000), ("many", 9000), ("many", 30_000)):
        clock.now += 1
        made.append(shelf.new(replace(ASKED, owner=owner)))
        (shelf.folder_of(made[-1].id) / "before.mp4").write_bytes(bytes(size))
        shelf.finish(made[-1].id, _succeeded)

    shelf.sweep()

    assert {made[0].id, made[2].id} == {path.name for path in _folders(previews_folder(tmp_path, SERVER))}


def test_failed_ones_push_out_no_good_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many of them there are: they are counted beside those that can be looked at."""
    monkeypatch.setattr(preview_shelf, "MOST_KEPT", 2)
    clock = Clock()
    shelf = _shelf(tmp_path, clock)
    good = shelf.new(ASKED)
    shelf.finish(good.id, _succeeded)
    for _ in range(5):
        clock.now += 1
        shelf.finish(shelf.new(ASKED).id, _failed)

    shelf.sweep()

    assert "succeeded" == shelf.get(good.id, "").state
    assert 3 == len(list(_folders(previews_folder(tmp_path, SERVER))))


def test_a_start_sweeps_what_is_nobodys_and_nothing_else(tmp_path: Path) -> None:
    """Folders without a note or with another version's go; what is not ours by its name stays."""
    clock = Clock()
    kept = _shelf(tmp_path, clock).new(ASKED)
    folder = previews_folder(tmp_path, SERVER)
    (folder / ("a" * 32)).mkdir()
    (folder / ("b" * 32)).mkdir()
    (folder / ("b" * 32) / "preview.json").write_text(json.dumps({"format": 99, "id": "b" * 32}))
    (folder / "mine").mkdir()

    found = _shelf(tmp_path, clock).find_again()

    assert [kept] == found
    assert sorted([kept.id, "mine"]) == sorted(path.name for path in _folders(folder))


def test_servers_that_share_a_folder_keep_to_their_own(tmp_path: Path) -> None:
    """What one makes is there after the other's sweeps and starts, and is not found by it."""
    clock = Clock()
    ours, theirs = (
        PreviewShelf(previews_folder(tmp_path, name), PreviewsSettings(keep_seconds=HOUR), clock) for name in "ab"
    )
    kept = ours.new(ASKED)

    found = theirs.find_again()
    theirs.sweep()

    assert [] == found
    assert ours.folder_of(kept.id).is_dir()
    assert [kept] == ours.find_again()


def test_what_a_dead_server_left_goes_and_what_a_live_one_has_stays(tmp_path: Path) -> None:
    """Whoever sweeps lives, however old its previews are; who did not for an hour is dead, where they are kept less.

    So is what lies where previews lay before each server had its own folder.
    """
    clock = Clock()
    ours, live, dead = (
        PreviewShelf(previews_folder(tmp_path, name), PreviewsSettings(keep_seconds=60), clock) for name in "abc"
    )
    left, kept = dead.new(ASKED), live.new(ASKED)
    old = previews_folder(tmp_path, "a").parent / ("d" * 32)
    stranger = old.with_name("mine")
    for folder in (old, stranger):
        folder.mkdir()
    for folder in (old, stranger, dead.folder_of(left.id).parent, live.folder_of(kept.id).parent):
        os.utime(folder, (clock.now, clock.now))
    clock.now += HOUR
    ours.sweep()
    before = dead.folder_of(left.id).is_dir()
    live.sweep()

    clock.now += 1
    ours.sweep()

    assert before
    assert [False, True, False, True] == [
        path.is_dir() for path in (dead.folder_of(left.id), live.folder_of(kept.id), old, stranger)
    ]


def test_each_server_says_itself_how_long_its_previews_outlive_it(tmp_path: Path) -> None:
    """One that keeps them for a week finds them after two hours of rest, whoever else swept for an hour meanwhile."""
    clock = Clock()
    brief, patient = (
        PreviewShelf(previews_folder(tmp_path, name), PreviewsSettings(keep_seconds=seconds), clock)
        for name, seconds in (("a", 60), ("b", 7 * 24 * HOUR))
    )
    kept = patient.new(ASKED)
    patient.sweep()

    clock.now += 2 * HOUR
    brief.sweep()
    before = patient.folder_of(kept.id).is_dir()
    clock.now += 7 * 24 * HOUR
    brief.sweep()

    assert (True, False) == (before, patient.folder_of(kept.id).is_dir())


def _previews(folder: Path, **parts: Any) -> Previews:  # noqa: ANN401 - any part
    given = {
        "desk": PreviewPool(),
        "fetch": refuse_to_fetch,
        "settings": PreviewsSettings(),
        "limits": Limits(),
        **parts,
    }
    return Previews(PreviewParts(folder=previews_folder(folder, SERVER), **given))


def test_a_killed_server_fails_what_it_was_making(tmp_path: Path) -> None:
    """After a start without a stop before: a fault that says to ask again, and no rest of its work."""
    kept = _shelf(tmp_path, Clock()).new(ASKED)
    folder = previews_folder(tmp_path, SERVER) / kept.id
    (folder / "source").write_bytes(b"half a video")
    (folder / "work").mkdir()

    previews = _previews(tmp_path)
    previews.start()

    found = previews.get(kept.id, "")
    assert ("failed", "draining", True) == (found.state, (found.fault or {})["code"], (found.fault or {})["retryable"])
    assert ["preview.json"] == [path.name for path in folder.iterdir()]
    previews.stop()


def test_a_stopping_server_takes_none_and_fails_what_is_fetched(tmp_path: Path) -> None:
    """A slow source does not hold up the stop."""
    begun: list[Path] = []

    def slow(url: str, target: Path, watch: Any) -> object:  # noqa: ANN401 - as `Watch`
        del url
        begun.append(target)
        while True:
            watch(1, None)

    previews = _previews(tmp_path, fetch=slow)
    previews.start()
    kept = previews.take(replace(ASKED, address="http://127.0.0.1/a.mp4"))
    wait_until(lambda: bool(begun))

    previews.stop()

    wait_until(lambda: previews.get(kept.id, "").is_finished)
    assert "draining" == (previews.get(kept.id, "").fault or {})["code"]
    with pytest.raises(Draining):
        previews.take(ASKED)


@pytest.mark.slow
def test_a_preview_is_fetched_and_made_in_the_name_of_its_request(tmp_path: Path, bundled_clip: Path) -> None:
    """The log of what the lanes are asked names the request, though threads of other requests ask them."""
    bound: list[dict[str, str]] = []

    def fetch(url: str, target: Path, watch: Any) -> object:  # noqa: ANN401 - as `Watch`
        del url, watch
        bound.append(bound_facts())
        return shutil.copyfile(bundled_clip, target)

    previews = _previews(tmp_path, fetch=fetch, desk=PreviewPool(gate=lambda _event: bound.append(bound_facts())))
    previews.start()
    with bound_contextvars(request_id="one-id"):
        kept = previews.take(replace(ASKED, address="http://127.0.0.1/a.mp4"))
    wait_until(lambda: previews.get(kept.id, "").is_finished)
    previews.stop()

    assert "succeeded" == previews.get(kept.id, "").state
    assert len(bound) > 1
    assert [{"request_id": "one-id"}] == [one for index, one in enumerate(bound) if one not in bound[:index]]


def test_a_source_that_cannot_be_brought_leaves_nothing(tmp_path: Path) -> None:
    """The caller hears why, and the place is free again."""

    def refuse(target: Path) -> None:
        raise Canceled(f"{target.name} was removed just now")

    previews = _previews(tmp_path, settings=PreviewsSettings(room=1))
    for _ in range(3):
        with pytest.raises(Canceled):
            previews.take(ASKED, refuse)

    assert [] == list(_folders(previews_folder(tmp_path, SERVER)))


def test_one_removed_as_it_begins_gives_its_place_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the queue and the lane it is in neither; forgotten there, it would count as waiting for ever."""
    previews = _previews(tmp_path, settings=PreviewsSettings(room=1))
    make, removed = previews._make, []

    def remove_first(preview_id: str) -> None:
        previews.remove(preview_id, "")
        make(preview_id)
        removed.append(preview_id)

    monkeypatch.setattr(previews, "_make", remove_first)
    previews.start()
    for count in (1, 2, 3):
        previews.take(ASKED)
        wait_until(lambda count=count: len(removed) == count)

    previews.check_room()
    previews.stop()


def test_one_key_does_not_fill_the_queue(tmp_path: Path) -> None:
    """Beside the one that is made so many of a key may wait; another key still finds room."""
    previews = _previews(tmp_path, settings=PreviewsSettings(room_per_key=1))
    for _ in range(2):
        previews.take(replace(ASKED, owner="greedy"))

    with pytest.raises(QueueFull, match="UPSCALE_PREVIEWS__ROOM_PER_KEY"):
        previews.take(replace(ASKED, owner="greedy"))
    assert "queued" == previews.take(replace(ASKED, owner="modest")).state


def test_too_many_frames_are_refused_before_any_is_made(tmp_path: Path, bundled_clip: Path) -> None:
    """Seconds bound nothing where the rate is high: 6 frames of 2 sides, and as many to test."""
    previews = _previews(tmp_path, settings=PreviewsSettings(most_frames=23))
    previews.start()
    kept = previews.take(replace(ASKED, self_test=True), lambda target: shutil.copyfile(bundled_clip, target))
    wait_until(lambda: previews.get(kept.id, "").is_finished)
    previews.stop()

    found = previews.get(kept.id, "")
    assert ("failed", "bad_request", 0) == (found.state, (found.fault or {})["code"], found.frames_done)
    assert "has 24 frames, 6 of each of 2 sides" in (found.fault or {})["detail"]


@pytest.mark.slow
def test_previews_are_swept_while_one_is_made(tmp_path: Path, bundled_clip: Path) -> None:
    """What fails meanwhile piles up no further than what is kept, however long the one on the lane takes."""
    reached, go = threading.Event(), threading.Event()

    def gate(_event: object) -> None:
        reached.set()
        go.wait(60)

    previews = _previews(tmp_path, desk=PreviewPool(gate=gate), settings=PreviewsSettings(room=500))
    previews.start()
    previews.take(ASKED, lambda target: shutil.copyfile(bundled_clip, target))
    assert reached.wait(60)
    for _ in range(preview_shelf.MOST_KEPT + 3):  # its address is refused at once
        kept = previews.take(replace(ASKED, address="http://127.0.0.1/a.mp4"))
        wait_until(lambda kept=kept: kept.id not in previews._orders)

    wait_until(lambda: preview_shelf.MOST_KEPT + 1 >= len(list(_folders(previews_folder(tmp_path, SERVER)))))
    go.set()
    previews.stop()


def test_an_idle_server_sweeps_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What expires goes though nothing is asked, made or ended."""
    monkeypatch.setattr(previews_module, "SWEEP_SECONDS", 0.01)
    previews = _previews(tmp_path)
    previews.start()
    stray = previews_folder(tmp_path, SERVER) / ("c" * 32)
    stray.mkdir(parents=True)

    wait_until(lambda: not stray.exists())
    previews.stop()


def test_what_is_counted_came_off_the_lanes_and_counts_once() -> None:
    """No frames of other phases, and none of a try that was begun again from the first frame."""
    counted: list[int] = []
    counter = FrameCounter(counted.append)
    for event in (
        PhaseStarted("upscale", 8), FramesDone(4), PhaseStarted("upscale", 8), FramesDone(8),
        PhaseStarted("audit", 8), FramesDone(8), PhaseStarted("upscale", 8), FramesDone(2),
    ):  # fmt: skip
        counter(event)

    assert 10 == sum(counted)


def test_a_source_on_another_disk_is_brought(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a file cannot get a second name it is copied, and the first one goes."""
    monkeypatch.setattr("upscale_server.disk.os.link", _other_disk)
    (tmp_path / "upload").write_bytes(b"a video")

    _move(tmp_path / "upload", tmp_path / "source")

    assert [("source", b"a video")] == [(path.name, path.read_bytes()) for path in tmp_path.iterdir()]


def _other_disk(*_names: object) -> None:
    raise OSError(errno.EXDEV, "another disk")


def test_a_thread_that_cannot_begin_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The place is free again, and the folder gone."""
    previews = _previews(tmp_path, settings=PreviewsSettings(room=1))

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    for _ in range(3):
        with pytest.raises(RuntimeError):
            previews.take(replace(ASKED, address="http://127.0.0.1/a.mp4"))

    assert [] == list(_folders(previews_folder(tmp_path, SERVER)))


def test_paths_of_ours_are_not_told(tmp_path: Path) -> None:
    """Wherever a text says them, in faults of sides, too."""
    told = {"items": [{"fault": {"detail": f"source {tmp_path}/source is torn; see {tmp_path}/side/x"}}], "frames": 3}

    found = hidden(told, tmp_path, "holiday.mp4")

    assert {"items": [{"fault": {"detail": "source holiday.mp4 is torn; see side/x"}}], "frames": 3} == found
