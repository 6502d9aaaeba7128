"""The side that wants the result: one request at a time goes into the cage, values and copies of frames come out.

It opens nothing itself; what may be asked, and what a death means for a job, is its callers' business.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from upscale_server.cage.arrays import Array, taken
from upscale_server.cage.door_keeper import Door
from upscale_server.cage.inmate import Call, Decode, Fill, Request
from upscale_server.cage.jail import Bounds, Locks
from upscale_server.cage.outside import Check, Hearing, Inmate, read
from upscale_server.cage.room import room_for
from upscale_server.cage.talk import SLOTS, Layout, event_from, layout_of
from upscale_server.errors import Draining
from upscale_server.events import Observer, ignore
from upscale_server.media.decode import CPU
from upscale_server.media.types import Frame, Segment, Tally, VideoInfo
from upscale_server.records import value_of

_MOST_OF_A_FRAME = 1 << 20
"""Bytes of what is said of a frame; its samples are in the block."""

_MOST_BESIDE_ARRAYS = 128 << 20
"""Bytes of what is said beside arrays: colour profiles, EXIF and texts as base64."""


def _no_check() -> None:
    return


class Cage:
    """A place where functions of this package open untrusted bytes; for one thread at a time, closed once.

    Args:
        modules: what inmates need, imported once beforehand.
        silent_seconds: an inmate that shows neither a packet nor a frame for so long is killed.
        bounds: what an inmate may take when it only reads.
        check: called several times a second while an inmate is waited for; what it raises ends the inmate.
    """

    def __init__(
        self,
        modules: tuple[str, ...] = (),
        *,
        silent_seconds: float = 60.0,
        bounds: Bounds | None = None,
        check: Check = _no_check,
    ) -> None:
        self._modules = modules
        self._silent_seconds = silent_seconds
        self._bounds = bounds or Bounds()
        self._check = check
        self._door: Door | None = None
        self._is_closed = False
        self._using = threading.Lock()

    def open(self) -> None:
        """Begin to start the door: it takes half a second, for which the first request would wait."""
        with self._using:
            self._opened()

    @property
    def locks(self) -> Locks:
        """Return which locks the kernel let us close; the door is opened for that where it is not yet.

        Raises:
            UpscaleError: it could not be started.
        """
        with self._using:
            return self._opened().locks

    def call(
        self,
        function: Callable[..., Any],
        *arguments: Any,  # noqa: ANN401 - the function's own
        kind: Any,  # noqa: ANN401 - a type, or a union of one with None
        observer: Observer | None = None,
        bounds: Bounds | None = None,
    ) -> Any:  # noqa: ANN401 - of `kind`
        """Return what a function returned in there.

        Args:
            function: of a module, importable by its name.
            arguments: its arguments; where there is an observer, one is given to it as the last. A path among them
                may be read in there.
            kind: the type of what it returns; None where it returns nothing.
            observer: hears of events in this thread; what it raises ends the inmate.
            bounds: what the inmate may take; None for those that only read.

        Raises:
            UpscaleError: the function raised it.
            InmateDied: the process died, was silent for too long, or said something that cannot be.
            SourceCorrupt: its time was over.
        """
        given = bounds or self._bounds
        reads = tuple(one for one in arguments if isinstance(one, Path))
        request = Call(function, arguments, observer is not None, replace(given, reads=(*given.reads, *reads)))
        with self._inmate(request, None, self._hearing()) as inmate:
            for message in inmate.messages():
                if "value" in message:
                    return None if kind is None else read(partial(value_of, kind), message["value"])
                (observer or ignore)(read(event_from, message))
        raise AssertionError  # pragma: no cover - `messages` ends by raising

    def frames(
        self, info: VideoInfo, segment: Segment, tally: Tally, *, threads: int = 0, device: str = CPU
    ) -> Generator[Frame, None, None]:
        """Yield the frames of a segment as `media.decode.decode_segment` does; their planes are the caller's own.

        Raises:
            As `decode_segment`, and InmateDied.
        """
        layout = layout_of(info)
        bounds = Bounds(room_for(info.size.pixels), reads=(Path(info.path),), devices=device != CPU)
        request, hearing = Decode(info, segment, threads, device, bounds), self._hearing(most_bytes=_MOST_OF_A_FRAME)
        with _shared(layout.frame_bytes * SLOTS) as (block, memory), self._inmate(request, block, hearing) as inmate:
            for message in inmate.messages():
                if "value" in message:
                    _take_over(tally, read(partial(value_of, Tally), message["value"]))
                    return
                slot, pts = read(_place, message)
                planes = _planes(memory, layout, slot)
                inmate.free_slot()
                yield Frame(planes, info.pixel_format, pts, info.time_base)

    def fill(
        self,
        function: Callable[..., tuple[Any, Sequence[Array]]],
        *arguments: Any,  # noqa: ANN401 - the function's own
        kind: Any,  # noqa: ANN401 - a type
        most_bytes: int,
    ) -> tuple[Any, tuple[Array, ...]]:
        """Return what a function returned in there: a value of `kind`, and arrays of 8 or 16 bits.

        Args:
            function: of a module, importable by its name.
            arguments: its arguments.
            kind: the type of the value.
            most_bytes: of all arrays together.

        It must be done before it could be silent for too long: there are no packets that would show it at work.

        Raises:
            As `call`.
        """
        request = Fill(function, arguments, most_bytes, self._bounds)
        hearing = self._hearing(may_beat=False, most_bytes=_MOST_BESIDE_ARRAYS)
        with _shared(most_bytes) as (block, memory), self._inmate(request, block, hearing) as inmate:
            for message in inmate.messages():
                value = read(partial(value_of, kind), message.get("value"))
                return value, read(partial(taken, memory=memory), message.get("arrays"))
        raise AssertionError  # pragma: no cover - `messages` ends by raising

    def close(self) -> None:
        """End the door and whoever is inside. Safe to call twice, and while another thread waits for an inmate."""
        self._is_closed = True
        self._end_door()

    def _hearing(self, **more: Any) -> Hearing:  # noqa: ANN401 - a hearing's own
        return Hearing(self._silent_seconds, self._check, **more)

    @contextmanager
    def _inmate(self, request: Request, block: int | None, hearing: Hearing) -> Iterator[Inmate]:
        with self._using, closing(Inmate(self._opened(), request, block, hearing)) as inmate:
            yield inmate

    def _opened(self) -> Door:
        if self._door is not None and not self._door.is_there:
            self._end_door()
        if self._is_closed:  # a second try must not start what nobody would end
            raise Draining("the server is stopping")
        if self._door is None:
            self._door = Door(self._modules)
        return self._door

    def _end_door(self) -> None:
        door, self._door = self._door, None
        if door is not None:
            door.close()


@contextmanager
def _shared(size: int) -> Iterator[tuple[int, mmap.mmap]]:
    """Give a block of memory by its descriptor and as it is read here; only what is touched takes memory.

    Its size is sealed: who made it smaller in there would kill, by SIGBUS, who reads it here.
    """
    block = os.memfd_create("upscale-cage", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(block, size)
        fcntl.fcntl(block, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
        with mmap.mmap(block, size, prot=mmap.PROT_READ) as memory:
            yield block, memory
    finally:
        os.close(block)


def _place(message: dict[str, Any]) -> tuple[int, int]:
    """Return the slot and the time of a frame."""
    slot, pts = message["frame"], message["pts"]
    if type(slot) is not int or type(pts) is not int or not 0 <= slot < SLOTS:
        raise ValueError(f"slot {slot!r}, pts {pts!r}")
    return slot, pts


def _planes(memory: mmap.mmap, layout: Layout, slot: int) -> tuple[Any, ...]:
    """Return copies of a slot's planes: the inmate writes the slot again, and must not change what was handed on."""
    kind = np.uint16 if layout.sample_bytes > 1 else np.uint8
    offset, planes = slot * layout.frame_bytes, []
    for rows, columns in layout.planes:
        planes.append(np.frombuffer(memory, kind, rows * columns, offset).reshape(rows, columns).copy())
        offset += planes[-1].nbytes
    return tuple(planes)


def _take_over(tally: Tally, found: Tally) -> None:
    for name in Tally.__slots__:
        setattr(tally, name, getattr(found, name))
