"""Processes that share a port answer `/metrics` for one another; here they are several in this one."""

from __future__ import annotations

import errno
import os
import socket
import struct
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.scrape import Scrape, read
from upscale_server.metrics import Metrics, Reading
from upscale_server.metrics.merged import packed
from upscale_server.service import gpu_facts
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
        length = struct.pack(">Q", len(whole))
        assert b"]" == whole[: whole.rindex(b"]", 0, -1) + 1][-1:], "a cut that looks like an end"
        cut = whole[: whole.rindex(b"]", 0, -1) + 1]
        for content in (length + whole, length + whole[:-20], length + cut, b"]", b""):
            answering = pool.submit(answer, content)
            told.append(asked(doors[0].getsockname()))
            answering.result()

    assert [whole, None, None, None, None] == told


def test_a_process_tells_on_after_a_call_that_failed(
    doors: tuple[socket.socket, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One defect, or a moment without descriptors, costs one answer and not all that follow."""
    whole = siblings.packed
    failures: list[Exception] = [RuntimeError("a defect"), OSError(errno.EMFILE, "too many open files")]

    def packed_later(metrics: Metrics) -> bytes:
        if failures:
            raise failures.pop(0)
        return whole(metrics)

    monkeypatch.setattr(siblings, "packed", packed_later)
    member(0, doors, 1)

    told = [asked(doors[0].getsockname()) for _ in range(3)]
    assert [True, True, False] == [one is None for one in told]


def test_a_door_without_descriptors_stays_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """What accepting fails with for a moment is not taken for the server's end; a closed door is."""
    errors = [errno.EMFILE, errno.ECONNABORTED, errno.EINVAL]
    ended = threading.Event()

    class Door:
        def accept(self) -> tuple[socket.socket, object]:
            if len(errors) == 1:
                ended.set()
            raise OSError(errors.pop(0), "no")

    monkeypatch.setattr(siblings, "_PAUSE_SECONDS", 0)
    Siblings(Family(0, Door(), ()), Metrics("image"))  # type: ignore[arg-type]

    assert ended.wait(30)
    assert [] == errors


def test_patience_is_longer_than_the_slowest_thing_asked() -> None:
    """A slow driver is no process that is down."""
    assert siblings.PATIENCE_SECONDS > gpu_facts._SECONDS


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
