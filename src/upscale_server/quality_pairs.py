"""Which pictures of two files show the same moment, as luma planes that can be compared sample by sample.

Of long files, runs of consecutive frames spread evenly. What the differences are worth is `quality`'s business.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice

from upscale_server.audit_frames import inside
from upscale_server.media.convert import converted
from upscale_server.media.decode import decode_segment
from upscale_server.media.fit import resample
from upscale_server.media.formats import bits_of
from upscale_server.media.probe import Probed
from upscale_server.media.types import Colour, Frame, Plane, Segment, Size, Tally
from upscale_server.ordered import prefetch

RUN = 24
"""Frames in a row that are looked at where not all are: a second of film, long enough for flicker to be seen."""
_LEAST_RUNS = 3
"""Of large pictures, where few frames are looked at: the first second alone may be a title, or black."""
_AHEAD = 4
_WHOLE = Segment(0, None, None, None)


@dataclass(frozen=True, slots=True)
class Side:
    """A file, the picture inside its frames (which may have bars), and what is taken off its times."""

    probed: Probed
    picture: Size
    shift: Fraction = Fraction(0)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two luma planes of one moment, `(H, W)`; `follows` tells that the pair before is of the frame before."""

    reference: Plane
    distorted: Plane
    follows: bool


@dataclass(frozen=True, slots=True)
class Common:
    """What both sides are brought to: the reference's size and range, and the larger depth."""

    size: Size
    bits: int
    colour: Colour


_Picture = tuple[Fraction, Plane]
_Span = tuple[Segment, Segment]


def common_of(reference: Side, distorted: Side) -> Common:
    """Return what two sides are compared as."""
    infos = (reference.probed.info, distorted.probed.info)
    return Common(reference.picture, max(bits_of(info.pixel_format) for info in infos), infos[0].colour)


def pairs_of(
    reference: Side, distorted: Side, most: int, beat: Callable[[], object] = lambda: None
) -> Generator[Pair, None, None]:
    """Yield the pairs that are looked at, in order of time.

    Args:
        reference: its times and size are what the other is brought to.
        distorted: larger pictures are resampled to the reference's with Lanczos-3, antialiased.
        most: pairs at most; all there are where they are no more.
        beat: called at every picture and while one is waited for: the way to a run may be long. It may raise.
    """
    common = common_of(reference, distorted)
    tolerance = distorted.probed.info.time_base / 2  # as in the audit: only the output's container rounds
    for one, other in _spans(reference, distorted, most, tolerance):
        a = prefetch(_pictures(reference, one, common), ahead=_AHEAD, beat=beat)
        b = prefetch(_pictures(distorted, other, common), ahead=_AHEAD, beat=beat)
        with closing(a), closing(b):
            yield from islice(_matched(a, b, tolerance), most)


def runs_of(count: int, most: int) -> list[tuple[int, int]]:
    """Return the first and the last number of each run of frames that is looked at, of `count` frames."""
    if count <= most:
        return [(0, count - 1)]
    length = min(most, max(2, min(RUN, most // _LEAST_RUNS)))
    runs = most // length
    starts = [(count - length) * place // (runs - 1) for place in range(runs)] if runs > 1 else [(count - length) // 2]
    return [(start, start + length - 1) for start in starts]


def _spans(reference: Side, distorted: Side, most: int, tolerance: Fraction) -> Iterator[_Span]:
    """Yield the segments of both files that are looked at; without a table of times, the beginning."""
    table = distorted.probed.index.pts
    if not (reference.probed.index.reliable and distorted.probed.index.reliable):
        yield _WHOLE, _WHOLE
        return
    for first, last in runs_of(len(table), most):
        times = [table[place] * distorted.probed.info.time_base - distorted.shift for place in (first, last)]
        begin, end = times[0] - tolerance, times[1] + tolerance
        yield _between(reference, begin, end), _between(distorted, begin, end)


def _between(side: Side, begin: Fraction, end: Fraction) -> Segment:
    """Return the frames from one moment to another, both included; it starts at a frame, so that seeking is short."""
    info, index = side.probed.info, side.probed.index
    first = -int(-(begin + side.shift) // info.time_base)
    stop = int((end + side.shift) // info.time_base) + 1
    place = bisect.bisect_left(index.pts, first)
    first = index.pts[place] if place < len(index.pts) else first
    steps_back = 1 if info.may_interlace or "mpegts" in info.container else 0
    return Segment(0, first, stop, index.keyframe_before(first, steps=steps_back))


def _pictures(side: Side, segment: Segment, common: Common) -> Iterator[_Picture]:
    info = side.probed.info
    for frame in decode_segment(info, segment, Tally()):
        yield frame.pts * info.time_base - side.shift, _luma(frame, side, common)


def _luma(frame: Frame, side: Side, common: Common) -> Plane:
    """Return a frame's luma without bars, at the common size, depth and range."""
    height, width = frame.planes[0].shape
    cut = frame.planes[0][inside(height, side.picture.height, height), inside(width, side.picture.width, width)]
    bits = bits_of(frame.pixel_format)
    gray = Frame((resample(cut, common.size, bits=bits),), _gray(bits), frame.pts, frame.time_base)
    return converted(gray, _gray(common.bits), side.probed.info.colour, common.colour).planes[0]


def _gray(bits: int) -> str:
    return "gray" if bits == 8 else f"gray{bits}le"


def _matched(reference: Iterator[_Picture], distorted: Iterator[_Picture], tolerance: Fraction) -> Iterator[Pair]:
    """Pair pictures by time; one without a partner is left out, and nothing follows what is not there."""
    own, follows = next(reference, None), False
    for time, plane in distorted:
        while own is not None and own[0] < time - tolerance:
            own, follows = next(reference, None), False
        if own is None:
            return
        if own[0] > time + tolerance:
            follows = False
            continue
        yield Pair(own[1], plane, follows)
        own, follows = next(reference, None), True
