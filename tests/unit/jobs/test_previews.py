"""What is kept of previews, for how long, and what a start makes of what it finds."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.contextvars import bound_contextvars

from tests.support.job_parts import refuse_to_fetch
from tests.support.killing import wait_until
from tests.support.preview_pool import PreviewPool
from upscale_server.errors import Canceled, Draining, NotFound
from upscale_server.jobs import preview_shelf
from upscale_server.jobs.folder import previews_folder
from upscale_server.jobs.preview_record import KeptPreview, NewPreview, hidden
from upscale_server.jobs.preview_shelf import PreviewShelf
from upscale_server.jobs.previews import PreviewParts, Previews
from upscale_server.logs import bound_facts
from upscale_server.preview import Candidate
from upscale_server.server_settings import Previews as PreviewsSettings
from upscale_server.wish import Limits, Wish

ASKED = NewPreview(Wish(scale=2), Candidate.named([("lanczos", "lanczos")]), None, 0.2, self_test=False)
HOUR = 3600


class Clock:
    """A time that tests set."""

    now = 1_000_000.0

    def __call__(self) -> float:
        """Return it."""
        return self.now


def _shelf(folder: Path, clock: Clock) -> PreviewShelf:
    return PreviewShelf(folder, HOUR, clock)


def _succeeded(kept: KeptPreview) -> KeptPreview:
    return replace(kept, state="succeeded")


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
    assert [] == list(previews_folder(tmp_path).iterdir())


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

    assert {kept.id for kept in made[1:]} == {path.name for path in previews_folder(tmp_path).iterdir()}


def test_a_start_sweeps_what_is_nobodys_and_nothing_else(tmp_path: Path) -> None:
    """Folders without a note or with another version's go; what is not ours by its name stays."""
    clock = Clock()
    kept = _shelf(tmp_path, clock).new(ASKED)
    folder = previews_folder(tmp_path)
    (folder / ("a" * 32)).mkdir()
    (folder / ("b" * 32)).mkdir()
    (folder / ("b" * 32) / "preview.json").write_text(json.dumps({"format": 99, "id": "b" * 32}))
    (folder / "mine").mkdir()

    found = _shelf(tmp_path, clock).find_again()

    assert [kept] == found
    assert sorted([kept.id, "mine"]) == sorted(path.name for path in folder.iterdir())


def _previews(folder: Path, **parts: Any) -> Previews:  # noqa: ANN401 - any part
    given = {
        "desk": PreviewPool(),
        "fetch": refuse_to_fetch,
        "settings": PreviewsSettings(),
        "limits": Limits(),
        **parts,
    }
    return Previews(PreviewParts(temp_dir=folder, **given))


def test_a_killed_server_fails_what_it_was_making(tmp_path: Path) -> None:
    """After a start without a stop before: a fault that says to ask again, and no rest of its work."""
    kept = PreviewShelf(tmp_path, HOUR, Clock()).new(ASKED)
    folder = previews_folder(tmp_path) / kept.id
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

    assert [] == list(previews_folder(tmp_path).iterdir())


def test_paths_of_ours_are_not_told(tmp_path: Path) -> None:
    """Wherever a text says them, in faults of sides, too."""
    told = {"items": [{"fault": {"detail": f"source {tmp_path}/source is torn; see {tmp_path}/work/x"}}], "frames": 3}

    found = hidden(told, tmp_path, "holiday.mp4")

    assert {"items": [{"fault": {"detail": "source holiday.mp4 is torn; see work/x"}}], "frames": 3} == found
