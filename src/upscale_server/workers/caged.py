"""Orders that open strangers' files, each done in a cage: what each may write, and what type comes out.

What runs outside, because it holds networks, is `worker`'s.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from upscale_server.cage import Bounds, Cage, InmateDied, room_for
from upscale_server.checkpoint import Done, WorkDir
from upscale_server.decoding import choose_decoder
from upscale_server.events import Observer
from upscale_server.keeping import kept_of
from upscale_server.limits import check_length
from upscale_server.media.decode import CPU
from upscale_server.media.excerpt import write_excerpt
from upscale_server.media.look import Looked, look_at
from upscale_server.media.poster import poster_of
from upscale_server.media.probe import Probed, probe_with_index
from upscale_server.media.types import VideoInfo
from upscale_server.opening import Decoder, Kept
from upscale_server.pipeline import Finished, finish_video, joined_path
from upscale_server.plan import Plan
from upscale_server.quality import Quality, fidelity_of, measure
from upscale_server.wish import Limits, Wish
from upscale_server.workers.messages import (
    CompareVideos,
    FinishVideo,
    MakePoster,
    MeasureQuality,
    ProbeSource,
    WriteExcerpt,
)

Caged = ProbeSource | MakePoster | FinishVideo | WriteExcerpt | MeasureQuality | CompareVideos

MODULES = ("upscale_server.workers.caged",)
"""What inmates of a desk need."""

_MEASURES = Bounds(file_bytes=64 << 20, programs=True)
"""What the program that computes VMAF says goes through a file."""

LOOK_SECONDS = 120.0
"""For a look at a source of no length: a few frames, by processes that share the cores with all lanes."""

_LOOK_BYTES_A_SECOND = 1_000_000
"""Beside them: a look reads a file up to three times, and the slowest disk gives several times as much."""

_EXCERPT_TIMES, _EXCERPT_BYTES_A_SECOND = 30, 20_000
"""An excerpt has an hour, for 600 frames of 8K, and longer where an hour of 720p lies before it without a keyframe."""

_WRITES = Bounds(file_bytes=1 << 40)
"""An excerpt without loss; how large it may be is the disk's business."""

_JOINED_TIMES, _JOINED_MORE_BYTES = 4, 256 << 20
"""An output has the segments' packets and the source's other tracks; muxers add tens of bytes to each one."""


@dataclass(frozen=True, slots=True)
class CagedOpener:
    """Opens a source that is planned for in a cage; the rest of planning asks engines, and is done outside."""

    cage: Cage
    look_seconds: float = LOOK_SECONDS

    def probe(self, source: Path, most_pixels: int) -> Probed:
        """Return the file's facts and time table."""
        bounds = Bounds(room_for(most_pixels), seconds=_time_for(source, self.look_seconds))
        probed = cast("Probed", self.cage.call(probe_with_index, source, most_pixels, kind=Probed, bounds=bounds))
        _is_of(source, probed.info)
        return probed

    def kept(self, probed: Probed, wish: Wish) -> Kept:
        """Return what is kept of its time and tracks."""
        bounds = self._bounds(probed.info)
        return cast("Kept", self.cage.call(kept_of, probed, wish, kind=Kept, bounds=bounds))

    def decoder(self, info: VideoInfo, asked: str) -> Decoder:
        """Return the device that really decodes it."""
        if asked == CPU:
            return CPU, ()
        bounds = replace(self._bounds(info), devices=True)
        device, said = cast("Decoder", self.cage.call(choose_decoder, info, asked, kind=Decoder, bounds=bounds))
        if device not in (asked, CPU):
            raise InmateDied(f"the process that opened the source chose the device {device!r:.40}")
        return device, said

    def _bounds(self, info: VideoInfo) -> Bounds:
        path = Path(info.path)
        return Bounds(room_for(info.size.pixels), reads=(path,), seconds=_time_for(path, self.look_seconds))


def do_caged(order: Caged, cage: Cage, observer: Observer, look_seconds: float = LOOK_SECONDS) -> Any:  # noqa: ANN401 - see each order
    """Do one order in a cage and return what it is answered with.

    A look and an excerpt have a time that grows with the source; the rest takes as long as the job is.

    Raises:
        Canceled: the order was stopped.
        InmateDied: the process that opened the source died, or went no further.
        UpscaleError: the order failed.
    """
    match order:
        case ProbeSource(source, limits):
            bounds = Bounds(room_for(limits.max_pixels), seconds=_time_for(source, look_seconds))
            looked = cast("Looked", cage.call(look_at, source, limits.max_pixels, kind=Looked, bounds=bounds))
            _is_of(source, looked.info)
            check_length(looked.info, limits)
            return looked
        case MakePoster(source, most_pixels):
            bounds = Bounds(room_for(most_pixels), seconds=_time_for(source, look_seconds))
            return cage.call(poster_of, source, most_pixels, kind=bytes, bounds=bounds)
        case WriteExcerpt(excerpt, path):
            memory, source = room_for(excerpt.info.size.pixels), Path(excerpt.info.path)
            seconds = _time_for(source, _EXCERPT_TIMES * look_seconds, _EXCERPT_BYTES_A_SECOND)
            bounds = replace(_WRITES, memory_bytes=memory, reads=(source,), writes=(path.parent,), seconds=seconds)
            return cage.call(write_excerpt, excerpt, path, kind=None, observer=observer, bounds=bounds)
        case _:
            return _do_for_a_job(order, cage, observer)


def _time_for(source: Path, least_seconds: float, bytes_a_second: int = _LOOK_BYTES_A_SECOND) -> float:
    """Return how long a source may be looked at; what is not there is told by who opens it."""
    with suppress(OSError):
        return least_seconds + source.stat().st_size / bytes_a_second
    return least_seconds


def _do_for_a_job(order: FinishVideo | MeasureQuality | CompareVideos, cage: Cage, observer: Observer) -> Any:  # noqa: ANN401 - see each order
    """Do one of the orders that take longer, and tell how far they are."""
    match order:
        case FinishVideo(plan, done, work):
            bounds = Bounds(_memory_of(plan), _most_joined(plan, done), reads=_source(plan), writes=(work,))
            finished = cage.call(_finish, plan, done, work, kind=Finished, observer=observer, bounds=bounds)
            return _in_its_place(cast("Finished", finished), plan, work)
        case MeasureQuality(plan, path):
            with _room() as room:
                bounds = replace(_MEASURES, memory_bytes=_memory_of(plan), reads=_source(plan), writes=(room,))
                return cage.call(fidelity_of, plan, path, kind=Quality, observer=observer, bounds=bounds)
        case CompareVideos(reference, distorted):
            with _room() as room:
                memory = room_for(Limits().max_pixels, Limits().max_pixels)
                bounds = replace(_MEASURES, memory_bytes=memory, writes=(room,))
                return cage.call(_compare, reference, distorted, kind=Quality, observer=observer, bounds=bounds)


def _most_joined(plan: Plan, done: tuple[Done, ...]) -> int:
    """Return the bytes that a joined file cannot have."""
    copied = sum(one.byte_count for one in done) + plan.source.byte_count
    return _JOINED_TIMES * copied + plan.padding + _JOINED_MORE_BYTES


def _memory_of(plan: Plan) -> int:
    """Return the memory for a job's source and output, of which both are open when they are compared."""
    return room_for(plan.source.size.pixels, plan.target.pixels)


def _source(plan: Plan) -> tuple[Path, ...]:
    return (Path(plan.source.path),)


@contextmanager
def _room() -> Iterator[Path]:
    """Give a folder for what a program says, and nothing else."""
    with tempfile.TemporaryDirectory(prefix="upscale-cage-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def _is_of(source: Path, info: VideoInfo) -> None:
    """Refuse facts of another file: later orders would open that one, whoever's it is."""
    if info.path != str(source):
        raise InmateDied(f"the process that opened {source} told of {info.path!r:.100}")


def _in_its_place(finished: Finished, plan: Plan, work: Path) -> Finished:
    """Refuse another file than the joined one: it would be stored as the result, whoever's it is."""
    expected = joined_path(WorkDir(work, plan.digest), plan)
    facts = expected.lstat() if finished.path == expected and os.path.lexists(expected) else None
    if facts is None or not stat.S_ISREG(facts.st_mode) or facts.st_nlink > 1:  # a link would lead to another's
        raise InmateDied(f"the process that finished the video told of {str(finished.path)!r:.100}")
    return finished


def _finish(plan: Plan, done: tuple[Done, ...], work: Path, observer: Observer) -> Finished:
    return finish_video(plan, done, WorkDir(work, plan.digest), observer)


def _compare(reference: Path, distorted: Path, observer: Observer) -> Quality:
    return measure(reference, distorted, observer=observer)
