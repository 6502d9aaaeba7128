"""Turns on the lanes: so many at once, in the order of the claims, and given up without a trace."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from pathlib import Path

import pytest
from pydantic import SecretStr

from tests.support.killing import wait_until
from upscale_server.errors import Canceled
from upscale_server.jobs.turns import AHEAD, AHEAD_OF_OTHERS, LAST, SPARE, Turns, hands
from upscale_server.server_settings import Fetch, Storage
from upscale_server.settings import Settings


def go_on() -> None:
    """Have no reason to stop."""


def give_up() -> None:
    """Have one."""
    raise Canceled("canceled")


def test_whoever_was_claimed_first_comes_first() -> None:
    """A slow source loses its place to nobody who was claimed later, once it is there."""
    turns, came = Turns(lambda: 1), list[int]()

    def take(place: int) -> None:
        with turns.taken(place, go_on):
            came.append(place)

    with ExitStack() as first:
        for place in range(1 + SPARE):
            first.enter_context(turns.taken(place, go_on))
        threads = [threading.Thread(target=take, args=(place,)) for place in (9, 7, 8)]
        for thread in threads:
            thread.start()
        wait_until(lambda: len(turns._waiting) == 3)
        assert (False, []) == (turns.is_free, came)
        assert 1 + SPARE == turns.crowd
    for thread in threads:
        thread.join(60)

    assert came[0] == 7
    assert (True, {7, 8, 9}) == (turns.is_free, set(came))


def test_the_last_place_begins_where_a_lane_is_left_and_hears_who_comes() -> None:
    """What gives way to jobs takes nothing of theirs; whoever was there before it has left it its lane."""
    turns, came = Turns(lambda: 2), threading.Event()

    def take() -> None:
        with turns.taken(LAST, go_on):
            came.set()

    thread = threading.Thread(target=take)
    with turns.taken(1, go_on):
        with turns.taken(2, go_on):
            full = turns.leaves_a_lane
            thread.start()
            wait_until(lambda: turns._waiting == [LAST])
            begun = came.is_set()
        thread.join(60)
        left = turns.leaves_a_lane
        with turns.taken(LAST, go_on):
            before = turns.is_wanted
            with turns.taken(3, go_on):
                wanted = turns.is_wanted
            after = turns.is_wanted

    assert (False, False, True) == (full, begun, came.is_set())
    assert (True, False, True) == (left, before, wanted)
    assert after, "a job came meanwhile, however short it was"
    assert not turns.has_jobs


def test_what_gives_way_is_none_of_the_crowd() -> None:
    """A job's deadline is reckoned without it, and its turn is taken from nobody."""
    turns = Turns(lambda: 1)

    with turns.taken(LAST, go_on), ExitStack() as jobs:
        for place in range(1 + SPARE):
            jobs.enter_context(turns.taken(place, go_on))
        crowd = turns.crowd

    assert 1 + SPARE == crowd


def test_who_gives_up_waiting_holds_up_nobody() -> None:
    """A cancelled job leaves the row; the one behind it is the next."""
    turns = Turns(lambda: 1)
    with pytest.raises(Canceled), turns.taken(1, give_up):
        pass

    with turns.taken(2, go_on):
        assert 1 == turns.crowd


def test_as_many_are_in_hand_as_the_disk_and_other_servers_allow(tmp_path: Path) -> None:
    """Hands that fetch ahead are few where a source may be too large, or another server could do the job instead."""
    here = Settings(state_dir=tmp_path)
    shared = Settings(
        state_dir=tmp_path, database_url=SecretStr("postgresql://127.0.0.1/x"), storage=Storage(kind="s3")
    )
    large = Settings(state_dir=tmp_path, fetch=Fetch(max_bytes=1 << 60))

    assert 4 + SPARE + AHEAD == hands(here, 4, 0, tmp_path / "temp")
    assert 4 + SPARE + AHEAD_OF_OTHERS == hands(shared, 4, 0, tmp_path)
    assert 4 + SPARE == hands(large, 4, 4 + SPARE, tmp_path)
