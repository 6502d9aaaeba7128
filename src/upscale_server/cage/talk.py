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

_MOST_BYTES = 256 << 20
"""Of one message: a plan of a day of video in ten-second segments has one megabyte; the bound is against nonsense."""

_LENGTH = struct.Struct("!I")
_EVENTS = {kind.__name__: kind for kind in get_args(Event)}
_EXTRAS = ("retry_after", "reached_bytes")


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


def receive(pipe: socket.socket) -> dict[str, Any] | None:
    """Return the next message; None where the other side has ended.

    Raises:
        ValueError, TypeError: it is no message, or a longer one than any of ours.
        TimeoutError: the other side stopped in the middle of it.
    """
    head = _exactly(pipe, _LENGTH.size)
    if head is None:
        return None
    (length,) = _LENGTH.unpack(head)
    if length > _MOST_BYTES:
        raise ValueError(f"a message of {length} bytes")
    body = _exactly(pipe, length)
    if body is None:
        return None
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
    """Return the failure that `fault_record` was given; of a kind that is not public it is the plain one."""
    kind = getattr(errors, message["fault"]) if message["fault"] in errors.__all__ else UpscaleError
    error: UpscaleError = kind(str(message["detail"]), hint=message["hint"])
    for name in _EXTRAS:
        if isinstance(value := message["extras"].get(name), int):
            setattr(error, name, value)
    return error


def _exactly(pipe: socket.socket, count: int) -> bytes | None:
    parts = bytearray()
    while len(parts) < count:
        part = pipe.recv(min(count - len(parts), 1 << 20))
        if not part:
            return None
        parts += part
    return bytes(parts)
