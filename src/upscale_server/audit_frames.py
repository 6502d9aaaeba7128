"""Whether each output frame shows what the source shows at that time: paired by time, compared small and in detail.

It counts findings; what they mean is judged in `audit`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from upscale_server.events import FramesDone, Observer
from upscale_server.media.convert import converted
from upscale_server.media.decode import decode_segment
from upscale_server.media.fit import resample
from upscale_server.media.formats import bits_of
from upscale_server.media.probe import Probed
from upscale_server.media.tracks import Window
from upscale_server.media.types import Colour, Frame, Plane, Segment, Size, Tally, VideoInfo
from upscale_server.ordered import prefetch

_GRID = Size(32, 18)
_SMALLEST_CELL = 8
"""Samples of the smaller picture on a side of a cell: with fewer, honest sharpening moves a mean by many levels."""
_AHEAD = 4
_NEIGHBOURS = 2
_DETAIL_EVERY = 10
_CLEARLY_CLOSER = 0.5
"""A frame that is at most half as far from a neighbour's source as from its own is in the wrong place."""
_NOTICEABLE = 0.15
"""Differences smaller than this, in levels, are coding noise: near-still pictures have no order to lose."""


@dataclass(slots=True)
class Findings:
    """What comparing the frames one by one found; differences in levels of 8 bits, each the worst of any frame."""

    expected: int = 0
    found: int = 0
    missing: int = 0
    extra: int = 0
    misplaced: int = 0
    luma: float = 0.0
    luma_bias: float = 0.0
    luma_cell: float = 0.0
    chroma: float = 0.0
    chroma_cell: float = 0.0
    detail_psnr: float = 100.0
    example: str = ""
    matched: deque[Fraction] = field(default_factory=lambda: deque(maxlen=4))

    def note(self, text: str) -> None:
        """Keep the first example of something wrong."""
        self.example = self.example or text


@dataclass(frozen=True, slots=True)
class _Seen:
    """A frame made small: means of the cells of each plane, `(3, rows, columns)`, and its luma for a closer look."""

    time: Fraction
    cells: NDArray[np.float32]
    luma: Plane
    bits: int


@dataclass(frozen=True, slots=True)
class _View:
    """Which frames of a file are looked at, and the part of each that is the picture.

    The grid of cells is laid over `base`, the smaller of the two pictures compared, and scaled up: its cells then
    cover the same part of both, whatever their sizes. Samples are brought into the range of `colour`.
    """

    info: VideoInfo
    window: Window
    picture: Size
    base: Size
    colour: Colour
    threads: int = 0


@dataclass(frozen=True, slots=True)
class Way:
    """How frames are compared.

    The output holds the `window` of the source's time; its frames may have bars around the `picture`. So many `threads`
    decode the source.
    """

    window: Window
    picture: Size
    threads: int = 0


def compare_frames(a: Probed, b: Probed, way: Way, observer: Observer) -> Findings:
    """Compare every frame of `b` with the frame of `a` that has its time; the observer is told of each."""
    window, picture = way.window, way.picture
    findings = Findings()
    base = Size(min(a.info.size.width, picture.width), min(a.info.size.height, picture.height))
    tolerance = b.info.time_base / 2  # the source's times are exact; only the output's container rounds
    sources = prefetch(_seen(_View(a.info, window, a.info.size, base, b.info.colour, way.threads)), ahead=_AHEAD)
    outputs = prefetch(_seen(_View(b.info, Window(), picture, base, b.info.colour)), ahead=_AHEAD)
    around: deque[_Seen] = deque()
    with closing(sources), closing(outputs):
        for seen in outputs:
            findings.expected += _draw(sources, around, seen.time)
            findings.found += 1
            _judge(seen, around, tolerance, findings)
            observer(FramesDone(1))
        findings.expected += sum(1 for _ in sources)
    findings.missing = findings.expected - (findings.found - findings.extra)
    return findings


def _draw(sources: Iterator[_Seen], around: deque[_Seen], time: Fraction) -> int:
    """Fill the window of source frames: two before `time`, and two behind it. Return how many were drawn."""
    drawn = 0
    while len(around) <= _NEIGHBOURS or around[-1 - _NEIGHBOURS].time <= time:
        following = next(sources, None)
        if following is None:
            break
        around.append(following)
        drawn += 1
    while len(around) > _NEIGHBOURS and around[_NEIGHBOURS].time < time:
        around.popleft()
    return drawn


def _judge(seen: _Seen, around: deque[_Seen], tolerance: Fraction, findings: Findings) -> None:
    own = min(around, key=lambda one: abs(one.time - seen.time), default=None)
    if own is None or abs(own.time - seen.time) > tolerance or own.time in findings.matched:
        findings.extra += 1
        findings.note(f"a frame at {float(seen.time):.6f} s that the source does not have")
        return
    findings.matched.append(own.time)
    difference = seen.cells - own.cells
    distance = float(np.abs(difference[0]).mean())
    nearest = min((_distance(seen, one) for one in around if one is not own), default=distance)
    if nearest < distance * _CLEARLY_CLOSER and distance - nearest > _NOTICEABLE:
        findings.misplaced += 1
        findings.note(f"the frame at {float(seen.time):.6f} s shows another moment")
    findings.luma = max(findings.luma, distance)
    findings.luma_bias = max(findings.luma_bias, abs(float(difference[0].mean())))
    findings.luma_cell = max(findings.luma_cell, float(np.abs(difference[0]).max()))
    findings.chroma = max(findings.chroma, float(np.abs(difference[1:]).mean(axis=(1, 2)).max()))
    findings.chroma_cell = max(findings.chroma_cell, float(np.abs(difference[1:]).max()))
    if findings.found % _DETAIL_EVERY == 1:
        findings.detail_psnr = min(findings.detail_psnr, _detail_psnr(seen, own))


def _distance(one: _Seen, other: _Seen) -> float:
    return float(np.abs(one.cells[0] - other.cells[0]).mean())


def _detail_psnr(seen: _Seen, own: _Seen) -> float:
    """Return the PSNR in dB of the larger luma, resampled to the smaller's size, against the smaller."""
    small, large = (own, seen) if own.luma.size <= seen.luma.size else (seen, own)
    size = Size(small.luma.shape[1], small.luma.shape[0])
    again = resample(large.luma, size, bits=large.bits)
    levels = [
        one.astype(np.float32) / (1 << (bits - 8)) for one, bits in ((again, large.bits), (small.luma, small.bits))
    ]
    error = float(np.square(levels[0] - levels[1]).mean())
    return 100.0 if error == 0 else 10 * float(np.log10(255**2 / error))


def _in_levels(plane: Plane, bits: int) -> NDArray[np.float32]:
    """Return samples in levels of 8 bits."""
    levels: NDArray[np.float32] = plane.astype(np.float32) / np.float32(1 << (bits - 8))
    return levels


def _seen(view: _View) -> Iterator[_Seen]:
    window, info = view.window, view.info
    start = None if window.start is None else -int(-window.start // info.time_base)
    end = None if window.end is None else -int(-window.end // info.time_base)
    for decoded in decode_segment(info, Segment(0, start, end, None), Tally(), threads=view.threads):
        frame = converted(decoded, decoded.pixel_format, info.colour, view.colour)
        planes = _picture_of(frame, view.picture)
        cells = np.stack([_cells(plane, view.base) for plane in planes]) / np.float32(
            1 << (bits_of(frame.pixel_format) - 8)
        )
        yield _Seen(frame.pts * info.time_base - window.shift, cells, planes[0], bits_of(frame.pixel_format))


def _picture_of(frame: Frame, picture: Size) -> list[Plane]:
    """Return the planes without bars; gray gets neutral chroma, so that colour where none should be is seen."""
    height, width = frame.planes[0].shape
    cut = [
        plane[inside(height, picture.height, plane.shape[0]), inside(width, picture.width, plane.shape[1])]
        for plane in frame.planes
    ]
    if len(cut) == 1:
        neutral: Plane = np.full_like(cut[0], 1 << (bits_of(frame.pixel_format) - 1))
        cut += [neutral, neutral]
    return cut


def inside(canvas: int, picture: int, side: int) -> slice:
    """Return where the picture lies on one side of a plane; bars are even, so chroma has half of them."""
    before = (canvas - picture) // 2 // 2 * 2
    step = -(-canvas // side)
    return slice(before // step, before // step - (-picture // step))


def _cells(plane: Plane, base: Size) -> NDArray[np.float32]:
    """Return the means over the cells: bands of rows first, which is one pass over contiguous memory."""
    rows = _borders(base.height, plane.shape[0], _GRID.height)
    columns = _borders(base.width, plane.shape[1], _GRID.width)
    bands = np.stack([plane[start:stop].sum(axis=0, dtype=np.uint32) for start, stop in pairwise(rows)])
    sums = np.add.reduceat(bands, columns[:-1], axis=1)
    means: NDArray[np.float32] = (sums / np.outer(np.diff(rows), np.diff(columns))).astype(np.float32)
    return means


def _borders(base: int, side: int, cells: int) -> NDArray[np.intp]:
    """Return where the cells of one side begin and end: whole samples of the base, scaled to the side."""
    count = max(1, min(cells, base // _SMALLEST_CELL))
    whole = np.linspace(0, base, count + 1).astype(int)
    return np.rint(whole * (side / base)).astype(np.intp)
