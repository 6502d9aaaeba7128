"""The output held against its source: every frame, time, track, tag; a broken hard rule fails the job.

Both files are decoded again from the beginning, independently of how the output was made. It judges; it repairs
nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from upscale_server.audit_tracks import compare_tracks
from upscale_server.events import FramesDone, Observer, ignore
from upscale_server.media.decode import Tally, decode_segment
from upscale_server.media.formats import bits_of, subsampling_of
from upscale_server.media.probe import Probed, probe_with_index
from upscale_server.media.track_facts import TrackFacts, facts_of_tracks
from upscale_server.media.tracks import Window
from upscale_server.media.types import Frame, Segment, Size, VideoInfo
from upscale_server.ordered import prefetch
from upscale_server.plan import Plan

_GRID = (18, 32)
_ASPECT_TOLERANCE = Fraction(1, 200)
_LIMITED = 1
_MOST_DIFFERENT = 12.0
"""Mean difference, in levels of 8 bits, between an output frame and its source on a 32x18 grid.

An honest upscale at any sane CRF stays under 2; a black, gray or foreign frame is far above."""
_CLEARLY_CLOSER = 0.5
"""A frame that is at most half as far from a neighbour's source as from its own is in the wrong place."""
_NOTICEABLE = 0.15
"""Differences smaller than this, in levels, are coding noise: near-still pictures have no order to lose."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One promise: whether it was kept, what was expected and what was found. Soft rules only inform."""

    name: str
    ok: bool
    expected: str
    found: str
    hard: bool = True


@dataclass(frozen=True, slots=True)
class Audit:
    """The rules in the order they were checked."""

    rules: tuple[Rule, ...]

    @property
    def ok(self) -> bool:
        """Tell whether every hard rule holds."""
        return all(rule.ok for rule in self.rules if rule.hard)

    @property
    def faults(self) -> str:
        """Return the broken hard rules as one line."""
        broken = [rule for rule in self.rules if rule.hard and not rule.ok]
        return "; ".join(f"{rule.name}: expected {rule.expected}, found {rule.found}" for rule in broken)


@dataclass(frozen=True, slots=True)
class Promise:
    """What may differ between source and output, because the plan said so."""

    window: Window = field(default_factory=Window)
    size: Size | None = None
    picture: Size | None = None
    left_out: frozenset[int] = frozenset()
    pixel_format: str = ""


def audit(plan: Plan, output: Path, observer: Observer = ignore) -> Audit:
    """Hold a job's output against its source and plan."""
    promise = Promise(
        window=plan.window,
        size=plan.target,
        picture=plan.picture,
        left_out=frozenset(refused.index for refused in plan.refused),
        pixel_format=plan.encoder.pixel_format,
    )
    return compare(Path(plan.source.path), output, promise, observer)


def verify(source: Path, output: Path, observer: Observer = ignore) -> Audit:
    """Hold any file against the one it claims to be made from, at any size.

    Raises:
        SourceError and its kinds: one of the files cannot be read at all.
    """
    return compare(source, output, Promise(), observer)


def compare(source: Path, output: Path, promise: Promise, observer: Observer) -> Audit:
    """Check every rule."""
    a, b = probe_with_index(source), probe_with_index(output)
    frames = _compare_frames(a, b, promise, observer)
    tracks_a = facts_of_tracks(source, a.info.stream_index, promise.window)
    tracks_b = facts_of_tracks(output, b.info.stream_index, Window())
    return Audit(
        (*_frame_rules(frames), *_picture_rules(a.info, b.info, promise), *_track_rules(tracks_a, tracks_b, promise))
    )


@dataclass(slots=True)
class _Frames:
    """What comparing the frames one by one found."""

    expected: int = 0
    found: int = 0
    missing: int = 0
    extra: int = 0
    misplaced: int = 0
    foreign: int = 0
    worst: float = 0.0
    total: float = 0.0
    example: str = ""


@dataclass(frozen=True, slots=True)
class _Seen:
    time: Fraction
    thumbnail: NDArray[np.float32]


def _compare_frames(a: Probed, b: Probed, promise: Promise, observer: Observer) -> _Frames:
    """Pair frames by time and look at each pair's thumbnails and their neighbours'."""
    found = _Frames()
    tolerance = (a.info.time_base + b.info.time_base) / 2
    picture = promise.picture or b.info.size
    base = Size(min(a.info.size.width, picture.width), min(a.info.size.height, picture.height))
    ours = prefetch(_seen(b.info, Window(), picture, base), ahead=4)
    theirs = prefetch(_seen(a.info, promise.window, a.info.size, base), ahead=4)
    around: deque[_Seen] = deque()  # source frames near the current time: two before, the rest ahead
    for seen in ours:
        found.found += 1
        observer(FramesDone(1))
        while len(around) < 5 or around[-3].time <= seen.time:
            following = next(theirs, None)
            if following is None:
                break
            found.expected += 1
            around.append(following)
        _judge(seen, around, tolerance, found)
        while len(around) > 2 and around[2].time < seen.time:
            around.popleft()
    found.expected += sum(1 for _ in theirs)
    found.missing = found.expected - (found.found - found.extra)
    return found


def _judge(seen: _Seen, around: deque[_Seen], tolerance: Fraction, found: _Frames) -> None:
    own = min(around, key=lambda one: abs(one.time - seen.time), default=None)
    if own is None or abs(own.time - seen.time) > tolerance:
        found.extra += 1
        found.example = found.example or f"a frame at {float(seen.time):.6f} s that the source does not have"
        return
    distance = _distance(seen, own)
    found.worst, found.total = max(found.worst, distance), found.total + distance
    nearest = min((_distance(seen, one) for one in around if one is not own), default=distance)
    if nearest < distance * _CLEARLY_CLOSER and distance - nearest > _NOTICEABLE:
        found.misplaced += 1
        found.example = found.example or f"the frame at {float(seen.time):.6f} s shows another moment"
    if distance > _MOST_DIFFERENT:
        found.foreign += 1
        found.example = found.example or f"the frame at {float(seen.time):.6f} s differs by {distance:.1f} levels"


def _distance(one: _Seen, other: _Seen) -> float:
    return float(np.abs(one.thumbnail - other.thumbnail).mean())


def _seen(info: VideoInfo, window: Window, picture: Size, base: Size) -> Iterator[_Seen]:
    start = None if window.start is None else -int(-window.start // info.time_base)
    end = None if window.end is None else -int(-window.end // info.time_base)
    for frame in decode_segment(info, Segment(0, start, end, None), Tally()):
        yield _Seen(frame.pts * info.time_base - window.shift, _thumbnail(frame, picture, base))


def _thumbnail(frame: Frame, picture: Size, base: Size) -> NDArray[np.float32]:
    """Return the luma's means over a coarse grid, in levels of 8 bits, bars left out.

    The grid is laid over `base`, the smaller of the two pictures compared, and scaled up: its cells then cover the same
    part of both, whatever their sizes.
    """
    luma = frame.planes[0]
    top = (luma.shape[0] - picture.height) // 2 // 2 * 2
    left = (luma.shape[1] - picture.width) // 2 // 2 * 2
    luma = luma[top : top + picture.height, left : left + picture.width]
    rows = _borders(base.height, picture.height, _GRID[0])
    columns = _borders(base.width, picture.width, _GRID[1])
    sums = np.add.reduceat(np.add.reduceat(luma, rows[:-1], axis=0, dtype=np.uint32), columns[:-1], axis=1)
    areas = np.outer(np.diff(rows), np.diff(columns))
    means: NDArray[np.float32] = (sums / areas / (1 << (bits_of(frame.pixel_format) - 8))).astype(np.float32)
    return means


def _borders(base: int, side: int, cells: int) -> NDArray[np.intp]:
    """Return where the cells of one side begin and end: whole samples of the base, scaled to the side."""
    whole = np.linspace(0, base, min(cells, base) + 1).astype(int)
    return np.rint(whole * (side / base)).astype(np.intp)


def _frame_rules(frames: _Frames) -> list[Rule]:
    count = f"{frames.found} frames"
    if frames.missing or frames.extra:
        count += f" ({frames.missing} missing, {frames.extra} with a time the source does not have)"
    average = frames.total / max(1, frames.found - frames.extra)
    return [
        Rule("frame count", frames.found == frames.expected, f"{frames.expected} frames", count),
        Rule("frame times", not frames.missing and not frames.extra, "each source time once",
             frames.example or "the same"),
        Rule("frame order", not frames.misplaced, "each frame at its own time",
             f"{frames.misplaced} misplaced ({frames.example})" if frames.misplaced else "the same"),
        Rule("frame content", not frames.foreign, f"within {_MOST_DIFFERENT:g} levels on a 32x18 grid",
             f"worst {frames.worst:.2f}, mean {average:.2f}"),
    ]  # fmt: skip


def _picture_rules(a: VideoInfo, b: VideoInfo, promise: Promise) -> list[Rule]:
    rules = []
    if promise.size is not None:
        rules.append(_same("size", promise.size, b.size))
    if promise.picture is None or promise.picture == promise.size:
        rules.append(_aspect(a, b))
    across, down = subsampling_of(promise.pixel_format or a.pixel_format)
    deep = bits_of(promise.pixel_format or a.pixel_format)
    rules += [
        _same("sample aspect ratio", a.sample_aspect_ratio or 1, b.sample_aspect_ratio or 1),
        _same("rotation", a.display_matrix or "none", b.display_matrix or "none"),
        Rule("bits", b.bits >= deep, f"{deep}", f"{b.bits}"),
        _same("chroma", f"{across}x{down}", "{}x{}".format(*subsampling_of(b.pixel_format))),
        _same("colour primaries", a.colour.primaries, b.colour.primaries),
        _same("colour transfer", a.colour.transfer, b.colour.transfer),
        _same("colour matrix", a.colour.matrix, b.colour.matrix),
        _same("colour range", a.colour.range or _LIMITED, b.colour.range or _LIMITED),
        _same("chroma location", a.colour.chroma_location or "left", b.colour.chroma_location or "left"),
        _same("mastering display", a.hdr.mastering_display or "none", b.hdr.mastering_display or "none"),
        _same("content light level", a.hdr.content_light or "none", b.hdr.content_light or "none"),
    ]
    return rules


def _aspect(a: VideoInfo, b: VideoInfo) -> Rule:
    expected, found = (Fraction(info.size.width, info.size.height) * (info.sample_aspect_ratio or 1) for info in (a, b))
    # Rounding a side to an even number moves it by at most one sample, which is more than 0.5 % of a tiny picture.
    tolerance = max(_ASPECT_TOLERANCE, Fraction(1, min(b.size.width, b.size.height)))
    return Rule(
        "display aspect", abs(found / expected - 1) <= tolerance, f"{float(expected):.4f}", f"{float(found):.4f}"
    )


def _same(name: str, expected: object, found: object) -> Rule:
    return Rule(name, expected == found, str(expected), str(found))


def _track_rules(a: TrackFacts, b: TrackFacts, promise: Promise) -> list[Rule]:
    return [Rule(name, ok, expected, found) for name, ok, expected, found in compare_tracks(a, b, promise.left_out)]
