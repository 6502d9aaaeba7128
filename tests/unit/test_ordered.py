"""The concurrency primitive keeps order, bounds and errors."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import count, islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upscale_server.ordered import batched, map_in_order, prefetch


@pytest.mark.slow
@given(st.lists(st.integers()), st.integers(1, 4), st.integers(0, 5))
def test_results_come_in_the_order_of_the_items(items: list[int], workers: int, ahead: int) -> None:
    """Whatever the number of threads, nothing overtakes."""
    assert [-item for item in items] == list(map_in_order(lambda item: -item, items, workers=workers, ahead=ahead))


def test_items_are_drawn_only_so_far_ahead() -> None:
    """A consumer that takes one result has made the producer give at most `ahead` + 1 items."""
    drawn = []

    def producer() -> Iterator[int]:
        for number in count():
            drawn.append(number)
            yield number

    results = map_in_order(lambda item: item, producer(), workers=2, ahead=3)
    next(results)
    results.close()

    assert len(drawn) <= 4


def test_a_failure_is_raised_in_its_place() -> None:
    """Results before the failure still arrive."""

    def work(item: int) -> int:
        if item == 20:
            message = "frame 20"
            raise ValueError(message)
        return item

    results = map_in_order(work, range(100), workers=3, ahead=4)

    assert list(range(20)) == list(islice(results, 20))
    with pytest.raises(ValueError, match="frame 20"):
        next(results)


def test_a_failure_to_draw_comes_behind_what_was_drawn() -> None:
    """Nothing that was finished is thrown away."""

    def producer() -> Iterator[int]:
        yield from (1, 2, 3)
        message = "broken"
        raise OSError(message)

    results = map_in_order(lambda item: item, producer(), workers=2, ahead=5)

    assert [1, 2, 3] == list(islice(results, 3))
    with pytest.raises(OSError, match="broken"):
        next(results)


def test_no_thread_is_left_when_the_consumer_stops() -> None:
    """Closing the generator ends its threads."""
    before = threading.active_count()
    results = map_in_order(lambda item: item, count(), workers=3, ahead=5)
    next(results)

    results.close()

    assert before == threading.active_count()


def test_prefetched_items_are_the_same() -> None:
    """Drawing in another thread changes nothing but the thread."""
    threads = set()

    def producer() -> Iterator[int]:
        for number in range(10):
            threads.add(threading.get_ident())
            yield number

    assert list(range(10)) == list(prefetch(producer(), ahead=2))
    assert threading.get_ident() not in threads


def test_a_prefetched_producers_failure_arrives() -> None:
    """An error while drawing is the consumer's error."""

    def producer() -> Iterator[int]:
        yield 1
        message = "broken"
        raise OSError(message)

    items = prefetch(producer(), ahead=2)

    assert next(items) == 1
    with pytest.raises(OSError, match="broken"):
        next(items)


def test_the_last_batch_may_be_shorter() -> None:
    """Nothing is dropped and nothing is padded."""
    assert [[0, 1, 2], [3, 4, 5], [6]] == list(batched(range(7), 3))
