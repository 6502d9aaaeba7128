"""The one concurrency primitive: work done by several threads, results in the order of the items.

It bounds how far work runs ahead, so that a slow consumer holds the producers back; it knows nothing of pixels.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing
from itertools import repeat
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


BEAT_SECONDS = 0.25
"""How often one who waits for an item is asked whether to go on."""


def map_in_order(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    workers: int,
    ahead: int,
    beat: Callable[[], object] | None = None,
) -> Generator[Result, None, None]:
    """Yield `work(item)` for every item, in order, with at most `ahead` results waiting.

    `beat` is called for each result, and again and again while one is waited for; what it raises ends the work.

    The first failure, of the work or of drawing an item, is raised in its place in the order; what is behind it is
    cancelled and the threads are closed.
    """
    waiting: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(workers)
    failures: list[Exception] = []
    try:
        for item in _until_failure(items, failures):
            waiting.append(pool.submit(work, item))
            if len(waiting) > ahead:
                yield _result(waiting.popleft(), beat)
        while waiting:
            yield _result(waiting.popleft(), beat)
        if failures:
            raise failures[0]
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _result(future: Future[Result], beat: Callable[[], object] | None) -> Result:
    if beat is not None:
        beat()
        while not wait([future], BEAT_SECONDS).done:
            beat()
    return future.result()


def _until_failure(items: Iterable[Item], failures: list[Exception]) -> Iterator[Item]:
    """Yield items; a failure to draw one ends them and is kept, to be raised behind the results before it."""
    try:
        yield from items
    except Exception as err:  # noqa: BLE001 - raised by the caller in its place
        failures.append(err)


def prefetch(
    items: Iterator[Item], *, ahead: int, beat: Callable[[], object] | None = None
) -> Generator[Item, None, None]:
    """Draw items in a thread of their own, at most `ahead` of the consumer; `beat` as in `map_in_order`."""
    drawn = map_in_order(lambda _: next(items, None), repeat(None), workers=1, ahead=ahead, beat=beat)
    with closing(drawn):
        for item in drawn:
            if item is None:
                return
            yield item


def batched(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Yield lists of `size` items; the last one may be shorter."""
    batch: list[Item] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
