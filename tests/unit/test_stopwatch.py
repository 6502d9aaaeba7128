"""How long a stage was at work: threads at once count once, and waiting does not count."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from upscale_server import stopwatch
from upscale_server.stopwatch import Stopwatch


def test_threads_that_work_at_once_count_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stage cannot have been at work longer than the clock on the wall says."""
    clock, both, spent = [0.0], threading.Barrier(2), Stopwatch()
    monkeypatch.setattr(stopwatch.time, "perf_counter", lambda: clock[0])

    def work(_: int) -> None:
        both.wait(60)
        clock[0] = 5.0
        both.wait(60)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(spent.calling("upscale", work), range(2)))

    assert {"decode_seconds": 0.0, "upscale_seconds": 5.0, "encode_seconds": 0.0} == spent.seconds


def test_one_call_after_the_other_is_added_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever lies between them is waiting; a call that fails counts too."""
    clock, spent = [0.0], Stopwatch()
    monkeypatch.setattr(stopwatch.time, "perf_counter", lambda: clock[0])

    def work(seconds: float) -> None:
        clock[0] += seconds
        if seconds > 2:
            raise ValueError

    write = spent.calling("encode", work)
    write(1.0)
    clock[0] += 10.0
    with pytest.raises(ValueError, match=r"^$"):
        write(3.0)

    assert 4.0 == spent.seconds["encode_seconds"]
