"""What a cage and its inmate say: the request as a pickle inward, JSON outward, frames in one shared block of memory.

An inmate may have been taken over by what it opened. So whatever comes out is read as JSON of bounded length, made into
values of the types that were expected, and never into anything else.
"""

from __future__ import annotations

import json
import socket
import struct
from dataclasses import dataclass
from typing import Any, get_args

from upscale_server import errors
from upscale_server.errors import UpscaleError
from upscale_server.events import Event
from upscale_server.media.formats import bits_of, subsampling_of
from upscale_server.media.types import Size, VideoInfo
from upscale_server.records import record, value_of

SLOTS = 3
"""Frames in the shared block: one being written, one ready, one being copied out."""

MOST_BYTES = 256 << 20
"""Of one message: the time table of a day of video has some fifty megabytes; the bound is against nonsense."""

_PART_BYTES = 1 << 20
_MOST_WORDS = 4000

_LENGTH = struct.Struct("!I")
_EVENTS = {kind.__name__: kind for kind in get_args(Event)}
_EXTRAS = ("retry_after", "reached_bytes")
_SAYABLE = (errors.SourceError, errors.BadRequest, errors.DiskFull, errors.StorageError, errors.AuditFailed)


@dataclass(frozen=True, slots=True)
class Layout:
    """How the planes of a frame lie in a slot: rows and columns of each, and the bytes of a sample."""

    planes: tuple[tuple[int, int], ...]
    sample_bytes: int

    @property
    def frame_bytes(self) -> int:
        """Return the bytes of one slot."""
        return sum(rows * columns for rows, columns in self.planes) * self.sample_bytes


def layout_of(info: VideoInfo) -> Layout:
    """Return how frames of a source are laid out."""
    return _layout(info.size, info.pixel_format)


def _layout(size: Size, pixel_format: str) -> Layout:
    across, down = subsampling_of(pixel_format)
    luma = (size.height, size.width)
    chroma = ((-(-size.height // down), -(-size.width // across)),) * 2 if across else ()
    return Layout((luma, *chroma), 2 if bits_of(pixel_format) > 8 else 1)


def send(pipe: socket.socket, message: dict[str, Any]) -> None:
    """Send one message: its length, then JSON."""
    body = json.dumps(message, allow_nan=True).encode()
    pipe.sendall(_LENGTH.pack(len(body)) + body)


class Inbox:
    """Puts messages together from what has come so far, and never waits for the rest.

    Args:
        pipe: where they come from.
        most_bytes: of one message.
    """

    def __init__(self, pipe: socket.socket, most_bytes: int) -> None:
        self._pipe = pipe
        self._most_bytes = most_bytes
        self._come = bytearray()

    def fill(self) -> bool:
        """Take in what is there; tell whether the other side may still say something."""
        try:
            part = self._pipe.recv(_PART_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except ConnectionError:
            return False
        self._come += part
        return bool(part)

    def message(self) -> dict[str, Any] | None:
        """Return the next message; None where it has not come to its end.

        Raises:
            ValueError, TypeError: it is no message, or a longer one than any of ours.
        """
        if len(self._come) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(self._come)
        if length > self._most_bytes:
            raise ValueError(f"a message of {length} bytes")
        end = _LENGTH.size + length
        if len(self._come) < end:
            return None
        body = bytes(memoryview(self._come)[_LENGTH.size : end])
        del self._come[:end]
        try:
            message = json.loads(body)
        except RecursionError as err:
            raise ValueError("a message that is nested too deeply") from err
        if not isinstance(message, dict):
            raise TypeError(f"a {type(message).__name__} for a message")
        return message


def event_record(event: Event) -> dict[str, Any]:
    """Return an event as JSON values."""
    return {"event": type(event).__name__, "facts": record(event)}


def event_from(message: dict[str, Any]) -> Event:
    """Return the event that `event_record` was given."""
    event: Event = value_of(_EVENTS[message["event"]], message["facts"])
    return event


def fault_record(error: UpscaleError) -> dict[str, Any]:
    """Return a named failure as JSON values."""
    extras = {name: value for name in _EXTRAS if isinstance(value := vars(error).get(name), int)}
    return {"fault": type(error).__name__, "detail": error.detail, "hint": error.hint, "extras": extras}


def fault_from(message: dict[str, Any]) -> UpscaleError:
    """Return the failure that `fault_record` was given; of a kind that speaks of no source it is the plain one.

    A fault decides what becomes of a job, its server's networks and its queue: an inmate may say what is wrong with
    its source and its disk, and nothing of the server.
    """
    kind = getattr(errors, message["fault"]) if message["fault"] in errors.__all__ else UpscaleError
    if not issubclass(kind, _SAYABLE):
        kind = UpscaleError
    hint = message["hint"]
    error: UpscaleError = kind(words_from(message["detail"]), hint=hint and words_from(hint))
    for name in _EXTRAS:
        if type(value := message["extras"].get(name)) is int:
            setattr(error, name, value)
    return error


def words_from(said: Any) -> str:  # noqa: ANN401 - whatever it said
    """Return a text for people: of bounded length, on lines of its own making only where it is a text.

    Raises:
        TypeError: it is none.
    """
    if not isinstance(said, str):
        raise TypeError(f"a {type(said).__name__} for a text")
    return "".join(one if one.isprintable() or one == "\n" else "?" for one in said[:_MOST_WORDS])
