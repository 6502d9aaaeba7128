"""Strangers' files are opened by the desk's processes: what they die of is refused, and the server goes on."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.clip_spec import Clip
from tests.support.clip_writer import write_clip
from tests.support.killing import wait_until
from tests.support.processes import kill
from upscale_server.errors import Canceled, NotMedia, SourceCorrupt
from upscale_server.jobs.folder import sources_folder, uploads_folder
from upscale_server.server_settings import Fetch
from upscale_server.server_settings import Sources as SourcesSettings
from upscale_server.service.sources import Arrived, Sources
from upscale_server.storage.fetch import FetchRules
from upscale_server.workers.needs import PoolNeeds
from upscale_server.workers.pool import Pool
from upscale_server.workers.resident import Patience

NEEDS = PoolNeeds(
    lanes=1, model="lanczos", patience=Patience(release_seconds=1.0, silent_seconds=120.0), log_level="critical"
)


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    """Give a pool whose desk is there; the lanes come meanwhile."""
    running = Pool(NEEDS)
    running.start()
    try:
        wait_until(lambda: all(seat.state == "ready" for seat in running._desk.seats))
        yield running
    finally:
        running.close()


@pytest.fixture
def sources(tmp_path: Path, pool: Pool) -> Sources:
    """Give the sources of a server with that desk."""
    for folder in (sources_folder(tmp_path), uploads_folder(tmp_path)):
        folder.mkdir()
    return Sources(tmp_path, SourcesSettings(), pool, FetchRules.of(Fetch()))


@pytest.fixture
def arrived(tmp_path: Path) -> Arrived:
    """Give a file that has come."""
    return Arrived(write_clip(Clip(), tmp_path / "arrived.mp4"), "holiday.mp4", "hash", "")


def go_on() -> str:
    """Give no reason to stop."""
    return ""


def stopped(pool: Pool) -> list[int]:
    """Stop the desk's processes where they are, so that an order is met in its middle; return them."""
    wait_until(lambda: all(seat.state == "ready" for seat in pool._desk.seats))
    found = [seat.resident.pid for seat in pool._desk.seats if seat.resident and seat.resident.pid]
    for pid in found:
        os.kill(pid, signal.SIGSTOP)
    return found


def killing(pool: Pool) -> Callable[[], str]:
    """Return a question whether to stop that kills whichever desk is at work when it is asked."""

    def stop() -> str:
        for seat in pool._desk.seats:
            if seat.state == "busy" and seat.resident is not None and seat.resident.pid is not None:
                kill(seat.resident.pid)
        return ""

    return stop


def test_the_desk_looks_at_a_file_and_makes_its_picture(sources: Sources, arrived: Arrived) -> None:
    """The server's own process opens nothing."""
    source = sources.take(arrived, go_on)

    assert ("h264", "holiday.mp4") == (source.facts["codec"], source.file_name)
    assert b"\xff\xd8" == sources.poster(source.id, "", go_on)[:2]
    assert not arrived.path.exists()


def test_a_file_that_kills_the_desk_is_refused_in_words(
    pool: Pool, sources: Sources, arrived: Arrived, tmp_path: Path
) -> None:
    """Two processes are given to it, then it is corrupt; nothing of it stays, and the next file is looked at."""
    stopped(pool)

    with pytest.raises(SourceCorrupt, match=r"source holiday\.mp4 cannot be looked at: two processes") as caught:
        sources.take(arrived, killing(pool))

    assert 422 == caught.value.http_status
    assert [] == list(sources_folder(tmp_path).iterdir())
    wait_until(lambda: all(seat.state == "ready" for seat in pool._desk.seats))
    again = Arrived(write_clip(Clip(), tmp_path / "next.mp4"), "next.mp4", "hash", "")
    assert "h264" == sources.take(again, go_on).facts["codec"]


def test_nobody_waits_for_a_file_whose_sender_has_gone(
    pool: Pool, sources: Sources, arrived: Arrived, tmp_path: Path
) -> None:
    """The desk is let go of, and nothing stays."""
    pids = stopped(pool)

    with pytest.raises(Canceled, match="gone"):
        sources.take(arrived, lambda: "gone" if any(seat.state == "busy" for seat in pool._desk.seats) else "")

    assert [] == list(sources_folder(tmp_path).iterdir())
    for pid in pids:
        kill(pid)


def test_refusals_of_the_desk_come_through_by_name(sources: Sources, tmp_path: Path) -> None:
    """A kind of failure is the same on both sides of the pipe, and tells the sender's name for the file."""
    path = tmp_path / "arrived"
    path.write_bytes(b"ID3" + bytes(1000))

    with pytest.raises(NotMedia, match=r"^source sound\.mp3 is no media file"):
        sources.take(Arrived(path, "sound.mp3", "hash", ""), go_on)


def test_half_of_an_mp4_is_told_apart_from_a_mystery(sources: Sources, tmp_path: Path) -> None:
    """Its index stands at its end and did not arrive: the reason says so, and what to do."""
    whole = write_clip(Clip(), tmp_path / "whole.mp4").read_bytes()
    path = tmp_path / "arrived"
    path.write_bytes(whole[: len(whole) // 2])

    with pytest.raises(NotMedia, match="only a part of one") as caught:
        sources.take(Arrived(path, "whole.mp4", "hash", ""), go_on)

    assert "fetch it again" in (caught.value.hint or "")
