"""What an inmate says is read as values of the expected types or not at all: it may be an attacker by then."""

from __future__ import annotations

import json
import pickle
import socket
import struct
from collections.abc import Iterator

import pytest

from upscale_server.cage.outside import InmateDied, read
from upscale_server.cage.talk import Inbox, event_from, event_record, fault_from, fault_record, send
from upscale_server.errors import OutputTooLarge, UpscaleError
from upscale_server.events import FramesDone, SegmentDone

Pipe = tuple[socket.socket, socket.socket]


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    """Give both ends."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def _framed(body: bytes) -> bytes:
    return struct.pack("!I", len(body)) + body


def test_message_arrives_whole_and_the_end_is_none(pipe: Pipe) -> None:
    """In order; a closed pipe is the end."""
    ours, theirs = pipe
    send(theirs, {"value": [1, "ü"]})
    send(theirs, {"beat": 2})
    theirs.close()

    inbox = Inbox(ours, 1000)
    assert inbox.message() is None

    assert inbox.fill()
    assert [{"value": [1, "ü"]}, {"beat": 2}, None] == [inbox.message(), inbox.message(), inbox.message()]
    assert not inbox.fill()


@pytest.mark.parametrize(
    "said",
    [
        struct.pack("!I", 0xFFFFFFFF),
        _framed(b"{"),
        _framed(b"[1]"),
        _framed(b'"value"'),
        _framed(b"[" * 100_000),
        _framed(pickle.dumps({"value": 1})),
    ],
    ids=["too long", "half", "a list", "a text", "too deep", "a pickle"],
)
def test_what_is_no_message_is_as_good_as_a_death(pipe: Pipe, said: bytes) -> None:
    """Nothing is unpickled, and no length is believed before it is bounded."""
    ours, theirs = pipe
    inbox = Inbox(ours, 1 << 20)
    theirs.sendall(said)
    inbox.fill()

    with pytest.raises(InmateDied, match="said what cannot be"):
        read(Inbox.message, inbox)


def test_half_a_message_is_none_and_keeps_nobody_waiting(pipe: Pipe) -> None:
    """A process that died while it spoke said nothing, and one that stopped is not waited for here."""
    ours, theirs = pipe
    inbox = Inbox(ours, 1000)
    theirs.sendall(_framed(b'{"value": 1}')[:-3])

    assert inbox.fill()
    assert inbox.message() is None
    assert inbox.fill(), "nothing new, and no end"
    theirs.close()
    assert not inbox.fill()


def test_events_and_faults_survive_the_way() -> None:
    """Through JSON and back they are the same."""
    event = SegmentDone(1, 2, 3, {"decode": 0.5})
    fault = OutputTooLarge.reached(20, 10)

    assert event == event_from(json.loads(json.dumps(event_record(event))))
    back = fault_from(json.loads(json.dumps(fault_record(fault))))
    assert (type(fault), fault.detail, fault.hint, 20) == (type(back), back.detail, back.hint, back.reached_bytes)


@pytest.mark.parametrize(
    "said",
    [
        {"event": "Path", "facts": {}},
        {"event": "FramesDone", "facts": {"count": 1, "more": 2}},
        {"event": "FramesDone", "facts": {}},
        {"event": "FramesDone"},
        {"event": ["FramesDone"], "facts": {"count": 1}},
        {},
    ],
)
def test_what_is_no_event_of_ours_is_refused(said: dict[str, object]) -> None:
    """Only the known kinds are made, of their own fields."""
    with pytest.raises(InmateDied):
        read(event_from, said)


@pytest.mark.parametrize("name", ["OutOfMemory", "Canceled", "Draining", "ModelsNotLoaded", "Unauthorized", "NotFound"])
def test_fault_that_speaks_of_the_server_is_the_plain_one(name: str) -> None:
    """It would have a job canceled, the networks of a lane let go, or a queue held."""
    made = fault_from({"fault": name, "detail": "d", "hint": None, "extras": {}})

    assert UpscaleError is type(made)


@pytest.mark.parametrize(("detail", "hint"), [({"a": 1}, None), ("d", ["h"]), (None, None)])
def test_words_of_a_fault_are_texts(detail: object, hint: object) -> None:
    """They are logged, stored and answered."""
    with pytest.raises(InmateDied):
        read(fault_from, {"fault": "SourceCorrupt", "detail": detail, "hint": hint, "extras": {}})


def test_words_of_a_fault_are_bounded_and_printable() -> None:
    """A log and a database take no hundred megabytes, and a terminal no commands."""
    made = fault_from({"fault": "SourceCorrupt", "detail": "\x1b[2J" + "x" * 10_000, "hint": None, "extras": {}})

    assert 4000 == len(made.detail)
    assert "\x1b" not in made.detail


@pytest.mark.parametrize("name", ["annotations", "KeyboardInterrupt", "base", "__all__", "Frame"])
def test_fault_of_a_kind_that_is_not_ours_is_the_plain_one(name: str) -> None:
    """No other class can be named."""
    made = fault_from({"fault": name, "detail": "d", "hint": None, "extras": {"reached_bytes": "x"}})

    assert (UpscaleError, "d") == (type(made), made.detail)


def test_types_of_fields_are_checked() -> None:
    """A text where a number belongs is nonsense, not a number later on."""
    with pytest.raises(InmateDied):
        read(event_from, {"event": "FramesDone", "facts": {"count": "many"}})
    assert FramesDone(3) == event_from({"event": "FramesDone", "facts": {"count": 3}})
