"""The main path: a plan becomes segments, segments become one file, the file is held against its source.

    upscale_video = for each segment not done yet: upscale_segment
                    finish_video
    finish_video    = join -> pad -> audit
    upscale_segment = decode -> batches -> upscale (in order, several lanes) -> encode -> marker

Who runs the segments and the finish is the executor's business; where the file goes afterwards is the caller's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from upscale_server.audit import Audit, audit
from upscale_server.audit_subnet import with_subnet_rules
from upscale_server.checkpoint import Done, WorkDir, digest_of
from upscale_server.errors import OutOfMemory, OutputTooLarge, SourceCorrupt, SourceNotFound
from upscale_server.events import (
    Event,
    FrameRedone,
    FramesDone,
    Observer,
    PhaseStarted,
    SegmentDone,
    SegmentReused,
    SteppedDown,
    Warned,
    both,
)
from upscale_server.media.boxes import pad
from upscale_server.media.convert import converted
from upscale_server.media.encode import SegmentWriter
from upscale_server.media.join import EncodedSegment, Joining, join
from upscale_server.media.tracks import PacketPlace
from upscale_server.media.types import Frame, Segment, Tally
from upscale_server.models.luma import Redone
from upscale_server.opening import Tools
from upscale_server.ordered import batched, map_in_order, prefetch
from upscale_server.plan import Plan
from upscale_server.proxies import shown
from upscale_server.quality import Quality
from upscale_server.stopwatch import Stopwatch
from upscale_server.verdict import judge
from upscale_server.whole import check_enough

_AHEAD = 2
"""Batches that may wait between two stages: one being made, one ready."""


@dataclass(frozen=True, slots=True)
class Finished:
    """What the segments were made into: one whole file in the work folder, and its audit."""

    path: Path
    audit: Audit


class Executor(Protocol):
    """Does the work of a job, here or elsewhere; a segment ends as a file and a marker in the work folder."""

    @property
    def at_once(self) -> int:
        """Return how many segments it runs at the same time, where there are as many."""

    @property
    def alone(self) -> bool:
        """Tell whether no other job was worked on beside it so far: then the time that it took says something."""

    def run(self, plan: Plan, segments: Sequence[Segment], work: WorkDir, observer: Observer) -> Iterator[Done]:
        """Yield each segment's record as it is finished, in any order."""

    def finish(self, plan: Plan, done: Sequence[Done], work: WorkDir, observer: Observer) -> Finished:
        """Do `finish_video` where strangers' bytes may be opened."""

    def measure(self, plan: Plan, path: Path, observer: Observer) -> Quality:
        """Do `fidelity_of` there, where the numbers were asked for."""


@dataclass(frozen=True, slots=True)
class Result:
    """A finished job: the file in the work folder, its audit, and what the segments met on the way.

    `plan` is the one that was carried out: in a lower precision than the first where memory did not suffice.
    `memory_steps` is how often less had to be asked of the device.
    """

    path: Path
    audit: Audit
    done: tuple[Done, ...]
    reused: int
    plan: Plan
    memory_steps: int = 0

    @property
    def frame_count(self) -> int:
        """Return the number of frames written."""
        return sum(len(one.times) for one in self.done)


def upscale_video(plan: Plan, executor: Executor, work_dir: Path, observer: Observer) -> Result:
    """Do a whole job in `work_dir`; what an earlier run finished there is not done again.

    A device whose memory does not suffice in the plan's precision gets the job in the next lower one, from the start:
    no output has segments of two precisions.

    Raises:
        SourceCorrupt: what it shows depends on how it is decoded.
        AuditFailed: the output breaks a hard rule; the file stays in the work folder.
        SourceError and its kinds, DiskFull, StorageError, OutOfMemory: what went wrong on the way.
    """
    steps: list[SteppedDown] = []

    def count(event: Event) -> None:
        if isinstance(event, SteppedDown):
            steps.append(event)

    while True:
        try:
            result = upscale_as_planned(plan, executor, WorkDir(work_dir, plan.digest), both(count, observer))
        except OutOfMemory:
            if not plan.lower_precisions:
                raise
            plan = plan.in_precision(plan.lower_precisions[0])
        else:
            return replace(result, memory_steps=len(steps))


def upscale_as_planned(plan: Plan, executor: Executor, work: WorkDir, observer: Observer) -> Result:
    """Do a whole job as `upscale_video` does, in the plan's precision or not at all.

    Raises:
        OutOfMemory: memory does not suffice in this precision; what else as `upscale_video`.
    """
    for code, detail in plan.warnings:
        observer(Warned(code, detail))
    observer(PhaseStarted("upscale", plan.frame_count))
    done = {one.index: one for one in _found(plan, work, observer)}
    reused = len(done)
    for one in executor.run(plan, [segment for segment in plan.segments if segment.index not in done], work, observer):
        done[one.index] = one
    in_order = tuple(done[segment.index] for segment in plan.segments)
    if not any(one.times for one in in_order):
        raise SourceCorrupt(f"no frame of {plan.source.path} decodes")
    _tell_of_damage(plan, in_order, observer)
    finished = executor.finish(plan, in_order, work, observer)
    return Result(finished.path, finished.audit, in_order, reused, plan)


def finish_video(plan: Plan, done: Sequence[Done], work: WorkDir, observer: Observer) -> Finished:
    """Join the segments, given in order, and hold the file against its source.

    Raises:
        OutputTooLarge: it is larger than the plan allows, and `shrink.smaller` may know a plan that is not.
        OutputTooLarge, SourceCorrupt, AuditFailed: as `judge`.
    """
    path, passed_over = _joined(plan, done, work, observer)
    _keep_size(plan, path)
    frame_count = sum(len(one.times) for one in done)
    observer(PhaseStarted("audit", frame_count))
    report = audit(plan, path, passed_over, observer)
    if plan.profile == "subnet":
        report = with_subnet_rules(report, plan, path, frame_count)
    judge(report, plan, path)
    return Finished(path, report)


def joined_path(work: WorkDir, plan: Plan) -> Path:
    """Return where `finish_video` puts the whole file."""
    return work.path / f"joined{plan.suffix}"


def _keep_size(plan: Plan, path: Path) -> None:
    """Give the file its padding and hold it against the size that was promised."""
    pad(path, plan.padding, plan.container)
    reached = path.stat().st_size
    if plan.max_bytes is not None and reached > plan.max_bytes:
        raise OutputTooLarge.reached(reached, plan.max_bytes)


def upscale_segment(plan: Plan, segment: Segment, tools: Tools, work: WorkDir, observer: Observer) -> Done:
    """Decode, upscale and encode one segment in one pass and record it as done."""
    _is_unchanged(plan)
    tally, spent, redone = Tally(), Stopwatch(), 0
    frames = tools.decode(plan.source, segment, tally, threads=plan.decoder_threads, device=plan.decoder)
    batches = prefetch(batched(spent.drawing("decode", frames), plan.batch), ahead=_AHEAD)
    # One thread more than the network takes: while it computes, another brings up the chroma of what it has done. Of
    # two passes each would take one, and both networks would meet on the device.
    workers = plan.lanes + 1 if len(plan.passes) == 1 else plan.lanes
    upscaled = map_in_order(
        spent.calling("upscale", tools.upscale), batches, workers=workers, ahead=plan.lanes + _AHEAD
    )
    with (
        work.writing(segment.index) as path,
        closing(frames),
        closing(batches),
        closing(upscaled),
        shown(work.proxies, plan, segment) as show,
        SegmentWriter(path, plan.encoder, plan.spec) as writer,
    ):
        write = spent.calling("encode", writer.write)
        for larger, again in upscaled:
            work.check_room()
            for frame in larger:
                encoded = _as_encoded(plan, frame)
                write(encoded)
                show(encoded)
            redone += _tell_of(again, observer)
            observer(FramesDone(len(larger)))
        times = tuple(writer.finish())
        path.touch()  # a segment in which no frame decodes has no packets and so far no file
        done = Done(
            segment.index, times, path.stat().st_size, digest_of(path), tally.packets_failed, tally.frames_damaged,
            tally.frames_deinterlaced, tally.times_repaired, redone, **spent.seconds,
            packet_bytes=writer.packet_bytes, lead_bytes=writer.lead_bytes,
        )  # fmt: skip
    work.mark(done)
    observer(SegmentDone(done.index, len(done.times), done.byte_count, spent.seconds))
    return done


def _as_encoded(plan: Plan, frame: Frame) -> Frame:
    """Return a frame in the format and range of a profile that has its own; elsewhere the writer converts."""
    if plan.profile == "general":
        return frame
    return converted(frame, plan.encoder.pixel_format, plan.source.colour, plan.spec.colour)


def _is_unchanged(plan: Plan) -> None:
    """Refuse to go on with a source that is not the one planned for: its pieces would not fit together."""
    path = Path(plan.source.path)
    try:
        facts = path.stat()
    except OSError as err:
        raise SourceNotFound(f"source {path} is gone while it is worked on: {err}") from err
    if (facts.st_size, facts.st_mtime_ns) != (plan.source.byte_count, plan.source.modified_ns):
        raise SourceCorrupt(f"source {path} changed while it was worked on", hint="run it again")


def _found(plan: Plan, work: WorkDir, observer: Observer) -> Iterator[Done]:
    for segment in plan.segments:
        done = work.find(segment.index)
        if done is not None:
            observer(SegmentReused(done.index, len(done.times)))
            yield done


def _joined(plan: Plan, done: Sequence[Done], work: WorkDir, observer: Observer) -> tuple[Path, frozenset[PacketPlace]]:
    observer(PhaseStarted("join", 0))
    _is_unchanged(plan)
    work.check_room(sum(one.byte_count for one in done) + plan.padding)
    segments = [EncodedSegment(work.segment_path(one.index), one.times) for one in done if one.times]
    path = joined_path(work, plan)
    joining = Joining(
        source=Path(plan.source.path),
        picture_index=plan.source.stream_index,
        left_out=frozenset(refused.index for refused in plan.refused),
        window=plan.window,
        container_format=plan.container,
        last_duration=plan.last_duration,
    )
    passed_over = join(segments, plan.spec, joining, path)
    for index in sorted({index for index, _ in passed_over}):
        count = sum(1 for one, _ in passed_over if one == index)
        observer(Warned("packets_passed_over", f"{count} damaged packets of stream {index} were left out"))
    return path, passed_over


def _tell_of(again: Sequence[Redone], observer: Observer) -> int:
    for one in again:
        observer(FrameRedone(one.pts, one.reason))
    return len(again)


def _tell_of_damage(plan: Plan, done: Sequence[Done], observer: Observer) -> None:
    missing = plan.frame_count - sum(len(one.times) for one in done)
    if missing > 0:
        observer(Warned("frames_missing", f"{missing} of {plan.frame_count} pictures of the source do not decode"))
    failed = sum(one.packets_failed for one in done)
    if failed:
        observer(Warned("packets_failed", f"{failed} packets of the source did not decode; their frames are missing"))
    damaged = sum(one.frames_damaged for one in done)
    if damaged:
        observer(Warned("frames_damaged", f"{damaged} frames were decoded with visible damage"))
    if failed or damaged:  # what is missing without a fault was no frame to begin with
        check_enough(plan.frame_count - missing, plan.least_frames)
    combed = sum(one.frames_deinterlaced for one in done)
    if combed and not plan.source.interlaced:
        observer(Warned("deinterlaced", f"{combed} frames in the middle of the source were interlaced and made whole"))
    repaired = sum(one.times_repaired for one in done)
    if repaired:
        observer(Warned("times_repaired", f"{repaired} frames had no time of their own, or one that did not increase"))
