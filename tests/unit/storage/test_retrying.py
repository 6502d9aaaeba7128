"""Patience: faults that pass are outlasted for a time, all others come out at once."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from upscale_server.errors import Canceled
from upscale_server.storage.retrying import LONGEST_PAUSE_SECONDS, LOOK_SECONDS, Patience


class Time:
    """A clock that moves when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        """Move on."""
        self.slept.append(seconds)
        self.now += seconds

    def patience(self, seconds: float) -> Patience:
        """Return patience by this clock."""
        return Patience(seconds, first_pause_seconds=1.0, sleep=self.sleep, clock=lambda: self.now)


def failing(times: int) -> Callable[[], str]:
    """Return a step that fails so many times, then succeeds."""
    left = [times]

    def step() -> str:
        if left[0]:
            left[0] -= 1
            raise ConnectionError
        return "done"

    return step


def test_a_step_is_repeated_until_it_succeeds() -> None:
    """With growing pauses, never longer than the longest."""
    time = Time()

    assert "done" == time.patience(900).keep_trying(failing(12), lambda _error: True)

    assert 12 == len(time.slept)
    assert time.slept[0] < time.slept[-1] <= LONGEST_PAUSE_SECONDS


def test_after_the_time_the_last_fault_comes_out() -> None:
    """An outage of twenty minutes is longer than fifteen."""
    time = Time()

    with pytest.raises(ConnectionError):
        time.patience(900).keep_trying(failing(10**6), lambda _error: True)

    assert 800 < time.now <= 900


def test_a_fault_that_does_not_pass_comes_out_at_once() -> None:
    """Nobody waits for a wrong password to become right."""
    time = Time()

    with pytest.raises(ConnectionError):
        time.patience(900).keep_trying(failing(1), lambda _error: False)

    assert [] == time.slept


def test_without_patience_there_is_one_try() -> None:
    """A zero means once."""
    time = Time()

    with pytest.raises(ConnectionError):
        time.patience(0).keep_trying(failing(1), lambda _error: True)

    assert [] == time.slept


def test_who_no_longer_waits_is_let_go_soon() -> None:
    """A cancel ends the wait for a store that is away, in the midst of a pause, and costs no further try."""
    time = Time()
    tries = []

    def look() -> None:
        if time.now > 20:
            raise Canceled("canceled")

    def step() -> None:
        tries.append(time.now)
        raise ConnectionError

    with pytest.raises(Canceled):
        time.patience(900).keep_trying(step, lambda _error: True, look)

    assert 20 < time.now <= 20 + LOOK_SECONDS
    assert all(moment <= 20 for moment in tries)


def test_nothing_is_tried_for_one_who_is_gone_already() -> None:
    """The first look comes before the first try."""

    def look() -> None:
        raise Canceled("canceled")

    with pytest.raises(Canceled):
        Time().patience(900).keep_trying(lambda: pytest.fail("it was tried"), lambda _error: True, look)
