"""Sources on the disk: what is whole, what is over, and what another name of a file keeps."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from upscale_server.errors import NotFound, RateLimited, SourceTooLarge
from upscale_server.jobs.folder import sources_folder
from upscale_server.jobs.kept_sources import BEGUN_SECONDS, KeptSource, KeptSources, Known
from upscale_server.server_settings import Sources

KEEP = 1000


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        """Return the moment."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """Give a clock."""
    return Clock()


@pytest.fixture
def sources(tmp_path: Path, clock: Clock) -> KeptSources:
    """Give sources that are kept for a while, and at most 25 bytes of them."""
    return KeptSources(tmp_path, Sources(keep_seconds=KEEP, budget_bytes=25), clock)


def kept(sources: KeptSources, content: bytes = b"0123456789", owner: str = "") -> KeptSource:
    """Keep a source."""
    path = sources.begin()
    path.write_bytes(content)
    return sources.keep(path, Known(owner, "clip.mp4", "hash", {"codec": "h264"}))


def test_a_source_is_read_back_as_it_was_kept(tmp_path: Path, sources: KeptSources, clock: Clock) -> None:
    """Also by another process; it says when it expires."""
    source = kept(sources, owner="anna")

    again = KeptSources(tmp_path, Sources(keep_seconds=KEEP), clock).get(source.id, "anna")

    assert source == again
    assert (clock.now, clock.now + KEEP, 10) == (again.created_at, again.expires_at, again.byte_count)
    assert b"0123456789" == again.path.read_bytes()


def test_an_expired_source_is_gone_before_it_is_swept(sources: KeptSources, clock: Clock) -> None:
    """What was said of its end holds to the second; the sweep takes it from the disk."""
    source = kept(sources)
    clock.now += KEEP

    with pytest.raises(NotFound):
        sources.get(source.id, "")
    assert source.path.exists()
    assert 1 == sources.sweep()
    assert not source.path.parent.exists()


def test_what_was_begun_and_left_goes_after_an_hour(tmp_path: Path, sources: KeptSources, clock: Clock) -> None:
    """A request that died leaves a folder without a note; one that still comes is younger."""
    left, coming = sources.begin(), sources.begin()
    os.utime(left.parent, (clock.now - BEGUN_SECONDS - 1,) * 2)
    os.utime(coming.parent, (clock.now - 1,) * 2)

    assert 1 == sources.sweep()
    assert [coming.parent] == list(sources_folder(tmp_path).iterdir())


def test_the_oldest_go_where_all_are_over_the_budget(sources: KeptSources, clock: Clock) -> None:
    """Twenty-five bytes hold two of ten; one that is larger than all of them is refused and takes none along."""
    found = []
    for _ in range(3):
        found.append(kept(sources))
        clock.now += 1
    with pytest.raises(SourceTooLarge, match="26 bytes"):
        kept(sources, b"x" * 26)

    assert [False, True, True] == [one.path.exists() for one in found]


def test_a_key_pushes_out_its_own_sources_first(sources: KeptSources, clock: Clock) -> None:
    """Whoever holds most gives way; where that is who comes, it is refused, and said."""
    annas = kept(sources, owner="anna")
    found = []
    for _ in range(3):
        clock.now += 1
        with capture_logs() as logged:
            found.append(kept(sources, owner="bert"))
    for owner in ("bert", "carl"):
        with pytest.raises(RateLimited):
            kept(sources, b"x" * 20, owner=owner)

    assert [True, False, False, True] == [one.path.exists() for one in (annas, *found)]
    assert [("source_removed", found[1].id)] == [(one["event"], one["source_id"]) for one in logged]


def test_a_key_that_fills_the_room_gives_way_to_others(sources: KeptSources, clock: Clock) -> None:
    """Who came first does not keep everybody else out until its sources expire."""
    annas = []
    for _ in range(2):
        annas.append(kept(sources, owner="anna"))
        clock.now += 1
    berts = kept(sources, owner="bert")

    assert [False, True, True] == [one.path.exists() for one in (*annas, berts)]


@pytest.mark.parametrize("note", ["", "{}", "[]", '{"format": 99}'])
def test_a_source_whose_note_is_not_ours_is_none(sources: KeptSources, note: str) -> None:
    """Half a note, or one of another version, is no promise; nothing fails over it."""
    source = kept(sources)
    source.path.with_name("source.json").write_text(note)

    with pytest.raises(NotFound):
        sources.get(source.id, "")
    assert 0 == sources.sweep()


def test_a_source_whose_file_is_shorter_than_noted_is_none(sources: KeptSources) -> None:
    """What a full disk cut is not worked on."""
    source = kept(sources)
    source.path.write_bytes(b"0")

    with pytest.raises(NotFound):
        sources.get(source.id, "")


def test_what_was_lent_outlives_the_source(sources: KeptSources, tmp_path: Path) -> None:
    """A job keeps its file whatever becomes of the source; what is gone already is lent no more."""
    source, name = kept(sources), tmp_path / "job"
    sources.lend(source, name)

    sources.remove(source.id, "")

    assert b"0123456789" == name.read_bytes()
    with pytest.raises(NotFound):
        sources.lend(source, tmp_path / "late")
    assert not (tmp_path / "late").exists()


def test_another_keys_source_is_not_there(sources: KeptSources) -> None:
    """Neither to look at nor to remove; where no key is needed, all are everybody's."""
    source = kept(sources, owner="anna")

    for ask in (sources.get, sources.remove):
        with pytest.raises(NotFound):
            ask(source.id, "bert")
    assert source == sources.get(source.id, "")
