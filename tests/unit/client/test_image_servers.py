"""Several servers as one: who gets a picture, when another one is asked, and how long is waited."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from tests.support.image_server import (
    Answer,
    Handler,
    StandIn,
    broken_off,
    busy,
    hang_up,
    loading,
    page,
    problem,
    standing_in,
    well,
)
from upscale_server.client.image_servers import ImageServers, Patience
from upscale_server.client.images import ImageServer, Wish
from upscale_server.errors import Interrupted, NotMedia, OutOfMemory, QueueFull, ServerUnreachable

LIMIT_SECONDS = 30
"""A wait must end; no expectation."""


def of(*servers: StandIn, patience: Patience | None = None) -> ImageServers:
    """Return the client of some stand-ins."""
    return ImageServers([ImageServer(server.url) for server in servers], patience)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Give a small picture."""
    path = tmp_path / "in.png"
    Image.new("RGB", (10, 6), (200, 30, 30)).save(path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    "script", [[busy, busy], [loading], [hang_up], [broken_off], [busy, hang_up, loading, broken_off]]
)
def test_what_passes_is_waited_for(tmp_path: Path, source: Path, script: list[Answer]) -> None:
    """A full room, loading models and broken connections cost time and no picture."""
    with standing_in(*script) as server, of(server) as several:
        done = several.upscale(source, tmp_path / "out.png", Wish(2))

    assert ("20x12", server.url) == (done.size, done.server)
    assert {"in.png", "out.png"} == {path.name for path in tmp_path.iterdir()}


def test_a_server_that_never_answered_is_not_waited_for(tmp_path: Path, source: Path) -> None:
    """Refused is said at once; so it is for the next pictures of a batch."""
    with standing_in() as gone:
        pass

    with of(gone) as several:
        for _ in range(20):  # without rests between them, which would add up to minutes
            with pytest.raises(ServerUnreachable, match="connection refused"):
                several.upscale(source, tmp_path / "out.png", Wish())

    assert {"in.png"} == {path.name for path in tmp_path.iterdir()}


@pytest.mark.slow
def test_a_server_that_was_there_is_waited_for(tmp_path: Path, source: Path) -> None:
    """It is stopped and started again on its port; the picture sent meanwhile comes back."""
    with standing_in() as first:
        several = of(first)
        several.upscale(source, tmp_path / "one.png", Wish())

    with several, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(several.upscale, source, tmp_path / "two.png", Wish())
        wait_until(lambda: several._members[0].misses > 1)
        with standing_in(port=first.port) as second:
            done = waiting.result(LIMIT_SECONDS)

    assert ("20x12", second.url) == (done.size, done.server)


def wait_until(fact: Callable[[], object]) -> None:
    """Wait for a fact."""
    end = time.monotonic() + LIMIT_SECONDS
    while not fact():
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.mark.slow
def test_a_dead_server_loses_no_picture(tmp_path: Path, source: Path) -> None:
    """Of two servers one hangs up on everything; all pictures come from the other."""
    with (
        standing_in(*[hang_up] * 100) as dying,
        standing_in() as alive,
        of(dying, alive) as several,
        ThreadPoolExecutor(4) as pool,
    ):
        done = list(pool.map(lambda i: several.upscale(source, tmp_path / f"{i}.png", Wish()), range(20)))

    assert {alive.url} == {one.server for one in done}
    assert 20 == alive.served
    assert 20 == len(list(tmp_path.glob("[0-9]*.png")))


@pytest.mark.slow
def test_pictures_go_to_the_least_busy(tmp_path: Path, source: Path) -> None:
    """Two at a time on two servers: one each, never two on one."""
    both = threading.Barrier(2, timeout=LIMIT_SECONDS)

    def together(handler: Handler) -> None:
        both.wait()
        well(handler)

    with (
        standing_in(*[together] * 5) as one,
        standing_in(*[together] * 5) as two,
        of(one, two) as several,
        ThreadPoolExecutor(2) as pool,
    ):
        for round_ in range(5):
            jobs = [pool.submit(several.upscale, source, tmp_path / f"{round_}{i}.png", Wish()) for i in (0, 1)]
            [job.result(LIMIT_SECONDS) for job in jobs]

    assert (1, 1) == (one.most, two.most)
    assert (5, 5) == (one.served, two.served)


@pytest.mark.slow
@pytest.mark.parametrize(
    "answer",
    [problem(507, "out_of_memory", retryable=True), problem(500, "internal"), page, problem(503, "model_invalid")],
)
def test_what_one_server_cannot_do_another_one_does(tmp_path: Path, source: Path, answer: Answer) -> None:
    """A wrong or overloaded server among several costs a try."""
    with standing_in(answer, answer) as unable, standing_in() as able, of(unable, able) as several:
        done = [several.upscale(source, tmp_path / "out.png", Wish()) for _ in range(2)]

    assert [able.url] * 2 == [one.server for one in done]


def test_what_no_server_can_do_is_said_after_each_was_asked_once(tmp_path: Path, source: Path) -> None:
    """Out of memory on both is an error and no loop."""
    answer = problem(507, "out_of_memory", retryable=True)

    with (
        standing_in(*[answer] * 9) as one,
        standing_in(*[answer] * 9) as two,
        of(one, two) as several,
        pytest.raises(OutOfMemory),
    ):
        several.upscale(source, tmp_path / "out.png", Wish())

    assert (1, 1) == (len(one.asked), len(two.asked))


def test_a_wrong_picture_is_sent_once(tmp_path: Path, source: Path) -> None:
    """The picture's own fault is no reason to ask another server."""
    with (
        standing_in(problem(415, "not_media")) as one,
        standing_in() as two,
        of(one, two) as several,
        pytest.raises(NotMedia),
    ):
        several.upscale(source, tmp_path / "out.png", Wish())

    assert 1 == len(one.asked) + len(two.asked)


@pytest.mark.slow
def test_a_picture_that_kills_servers_is_given_up(tmp_path: Path, source: Path) -> None:
    """After four broken connections, however many servers there are."""
    with (
        standing_in(*[hang_up] * 9) as one,
        standing_in(*[hang_up] * 9) as two,
        of(one, two) as several,
        pytest.raises(ServerUnreachable, match="broke the connection"),
    ):
        several.upscale(source, tmp_path / "out.png", Wish())

    assert Patience().breaks == len(one.asked) + len(two.asked)


def test_room_is_not_waited_for_without_end(tmp_path: Path, source: Path) -> None:
    """When patience is over, what the server said is the error."""
    with (
        standing_in(*[busy] * 100) as server,
        of(server, patience=Patience(busy_seconds=0.0)) as several,
        pytest.raises(QueueFull),
    ):
        several.upscale(source, tmp_path / "out.png", Wish())


@pytest.mark.slow
def test_retry_after_is_obeyed_for_that_server_alone(tmp_path: Path, source: Path) -> None:
    """One server asks for an hour; the picture goes to the other at once, and so do the next ones."""
    later = problem(429, "queue_full", retryable=True, retry_after="3600")

    with standing_in(later) as full, standing_in() as free, of(full, free) as several:
        done = [several.upscale(source, tmp_path / "out.png", Wish()) for _ in range(3)]

    assert [free.url] * 3 == [one.server for one in done]
    assert 1 == len(full.asked)


def test_closing_ends_a_wait_and_leaves_no_unfinished_file(tmp_path: Path, source: Path) -> None:
    """An interrupt must not wait for a server that asked for an hour."""
    later = problem(429, "queue_full", retryable=True, retry_after="3600")

    with standing_in(later) as full, ThreadPoolExecutor(1) as pool:
        several = of(full)
        waiting = pool.submit(several.upscale, source, tmp_path / "out.png", Wish())
        wait_until(lambda: full.asked)
        several.close()
        several.close()

        with pytest.raises(Interrupted):
            waiting.result(LIMIT_SECONDS)

    assert {"in.png"} == {path.name for path in tmp_path.iterdir()}


def test_an_old_result_stays_until_the_new_one_is_whole(tmp_path: Path, source: Path) -> None:
    """A failed picture leaves what was there before."""
    (tmp_path / "out.png").write_bytes(b"old")

    with standing_in(page) as server, of(server) as several, pytest.raises(ServerUnreachable):
        several.upscale(source, tmp_path / "out.png", Wish())

    assert b"old" == (tmp_path / "out.png").read_bytes()
    assert {"in.png", "out.png"} == {path.name for path in tmp_path.iterdir()}
