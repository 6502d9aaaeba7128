"""The one request of a caged process: locked up first, then unpacked, done, and told; then the process ends.

Who forked it is `door`; what it may still do is decided by `jail`.
"""

from __future__ import annotations

import mmap
import pickle
import socket
import threading
import traceback
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np

from upscale_server.cage.arrays import Array, put
from upscale_server.cage.jail import Bounds, lock_inmate
from upscale_server.cage.talk import SLOTS, event_record, fault_record, layout_of, send
from upscale_server.errors import SourceTooLarge, UpscaleError
from upscale_server.events import Event
from upscale_server.media.decode import CPU, decode_segment
from upscale_server.media.pulse import beats
from upscale_server.media.types import Frame, Segment, Tally, VideoInfo
from upscale_server.records import record

_BEAT_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Call:
    """Call a function; `observed` gives it an observer as its last argument."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    observed: bool
    bounds: Bounds


@dataclass(frozen=True, slots=True)
class Fill:
    """Call a function that returns a value and arrays; the arrays go into the shared block of so many bytes."""

    function: Callable[..., tuple[Any, Sequence[Array]]]
    arguments: tuple[Any, ...]
    block_bytes: int
    bounds: Bounds


@dataclass(frozen=True, slots=True)
class Decode:
    """Decode a segment into the shared block."""

    info: VideoInfo
    segment: Segment
    threads: int
    device: str
    bounds: Bounds


Request = Call | Fill | Decode


def serve(pipe: socket.socket, block: int) -> None:
    """Do the request that the pipe brings; it has three parts: eight bytes of length, a pickle, then credits.

    `block` is the descriptor of the shared memory, -1 where the request needs none.
    """
    length = int.from_bytes(_exactly(pipe, 8), "big")
    request: Request = pickle.loads(_exactly(pipe, length))  # noqa: S301 - of the process that locked this one up
    lock_inmate(request.bounds)
    telling = _Telling(pipe)
    try:
        telling.send(_done(request, telling, pipe, block))
    except UpscaleError as err:
        telling.send(fault_record(err))
    except MemoryError:
        # Not `OutOfMemory`: that would have the networks of a whole lane let go, and no other precision helps here.
        telling.send(fault_record(SourceTooLarge("reading the source takes more memory than a source may")))
    except Exception:  # noqa: BLE001 - a defect of ours, told with its place
        telling.send({"defect": traceback.format_exc(limit=-6)})


class _Telling:
    """Sends; an observer, and a thread that says once a second that packets still come."""

    def __init__(self, pipe: socket.socket) -> None:
        self._pipe = pipe
        self._sending = threading.Lock()
        threading.Thread(target=self._beat, name="beat", daemon=True).start()

    def __call__(self, event: Event) -> None:
        self.send(event_record(event))

    def send(self, message: dict[str, Any]) -> None:
        with self._sending:
            send(self._pipe, message)

    def _beat(self) -> None:
        told, pause = 0, threading.Event()
        while not pause.wait(_BEAT_SECONDS):
            if beats() != told:
                told = beats()
                self.send({"beat": told})


def _done(request: Request, telling: _Telling, pipe: socket.socket, block: int) -> dict[str, Any]:
    """Do a request and return the message that ends it."""
    match request:
        case Decode():
            return {"value": record(_decode(request, telling, pipe, block))}
        case Fill(function, arguments, block_bytes, _):
            value, arrays = function(*arguments)
            with mmap.mmap(block, block_bytes) as memory:
                return {"value": record(value), "arrays": put(arrays, memory)}
        case Call(function, arguments, observed, _):
            return {"value": record(function(*arguments, *([telling] if observed else [])))}


def _decode(request: Decode, telling: _Telling, pipe: socket.socket, block: int) -> Tally:
    """Write frames into slots as these become free; a byte from the cage frees one."""
    layout, tally, free = layout_of(request.info), Tally(), SLOTS
    frames = decode_segment(request.info, request.segment, tally, threads=request.threads, device=request.device or CPU)
    with closing(frames), mmap.mmap(block, layout.frame_bytes * SLOTS) as memory:
        for number, frame in enumerate(frames):
            if not free:
                free = len(pipe.recv(SLOTS)) or _gone()
            free -= 1
            slot = number % SLOTS
            _write(frame, memory, slot * layout.frame_bytes)
            telling.send({"frame": slot, "pts": frame.pts})
    return tally


def _write(frame: Frame, memory: mmap.mmap, offset: int) -> None:
    for plane in frame.planes:
        place = np.frombuffer(memory, plane.dtype, plane.size, offset).reshape(plane.shape)
        np.copyto(place, plane)
        offset += plane.nbytes


def _gone() -> int:
    raise BrokenPipeError("the cage is gone")


def _exactly(pipe: socket.socket, count: int) -> bytes:
    parts = bytearray()
    while len(parts) < count:
        parts += pipe.recv(count - len(parts)) or (_gone() * b"")
    return bytes(parts)
