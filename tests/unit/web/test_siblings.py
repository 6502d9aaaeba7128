"""Processes that share a port answer `/metrics` for one another; here they are several in this one."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.scrape import Scrape, read
from upscale_server.metrics import Metrics, Reading
from upscale_server.metrics.merged import packed
from upscale_server.web import siblings
from upscale_server.web.family import Family, family_doors
from upscale_server.web.siblings import Siblings, asked


@pytest.fixture
def doors() -> Iterator[tuple[socket.socket, ...]]:
    """Give the sockets of three processes."""
    made = family_doors(3)
    yield made
    for door in made:
        # A plain close would leave the thread that accepts where it is.
        door.shutdown(socket.SHUT_RDWR)
        door.close()


def member(index: int, doors: tuple[socket.socket, ...], pictures: int) -> Siblings:
    """Start one that has made some pictures, all of them waiting."""
    metrics = Metrics("image", lambda: [Reading("upscale_pictures", pictures, ("waiting",))])
    metrics.add("upscale_pictures_total", pictures, "succeeded")
    return Siblings(Family(index, doors[index], tuple(door.getsockname() for door in doors)), metrics)


def scraped(one: Siblings) -> Scrape:
    """Return what one answers."""
    return read(one.text().decode())


def test_whichever_is_asked_tells_of_all(doors: tuple[socket.socket, ...]) -> None:
    """Each figure says whose it is; the answer is the same everywhere, and all at once may be asked."""
    family = [member(index, doors, 10 * (index + 1)) for index in range(3)]
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(scraped, family))

    for found in answers:
        for index in range(3):
            own = {"worker": str(index)}
            assert 10 * (index + 1) == found.value("upscale_pictures_total", outcome="succeeded", **own)
            assert 10 * (index + 1) == found.value("upscale_pictures", state="waiting", **own)
            assert 1 == found.value("upscale_worker_up", **own)
        assert ("gauge", "counter") == (found.kinds["upscale_pictures"], found.kinds["upscale_pictures_total"])


def test_one_that_does_not_answer_is_told_of_as_down(
    doors: tuple[socket.socket, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The third hangs or is being started again: its figures are absent and not zero, the others' are there."""
    monkeypatch.setattr(siblings, "PATIENCE_SECONDS", 0.2)
    monkeypatch.setattr(siblings.asked, "__defaults__", (0.2,))
    first, _ = (member(index, doors, 1) for index in range(2))
    found = scraped(first)

    assert [1, 1, 0] == [found.value("upscale_worker_up", worker=str(index)) for index in range(3)]
    assert {"0", "1"} == {one["worker"] for one in found.labels("upscale_pictures_total")}


def test_an_answer_that_breaks_off_counts_as_none(doors: tuple[socket.socket, ...]) -> None:
    """A process that dies in the middle of its figures has told none."""
    whole = packed(Metrics("image"))

    def answer(content: bytes) -> None:
        caller, _ = doors[0].accept()
        with caller:
            caller.sendall(content)

    with ThreadPoolExecutor(1) as pool:
        told = []
        for content in (whole, whole[:-20], b""):
            answering = pool.submit(answer, content)
            told.append(asked(doors[0].getsockname()))
            answering.result()

    assert [whole, None, None] == told


def test_another_users_process_is_told_nothing(
    doors: tuple[socket.socket, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An abstract name may be called by anybody on the machine; figures are behind the servers' keys."""
    monkeypatch.setattr(siblings, "_user_of", lambda _caller: os.getuid() + 1)
    member(0, doors, 1)

    assert asked(doors[0].getsockname()) is None


def test_sockets_leave_no_file_and_are_nobody_elses(doors: tuple[socket.socket, ...]) -> None:
    """Their names are the kernel's: no folder fills up, and two servers never meet."""
    names = {door.getsockname() for door in doors}

    assert 3 == len(names)
    assert all(name.startswith(b"\0") for name in names)
