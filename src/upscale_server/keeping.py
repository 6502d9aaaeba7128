"""Which of a source's time and which of its tracks an output keeps, and by how much everything must start later.

It reads times and asks the container's muxer; the picture's size and encoding are decided elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

from upscale_server.errors import BadRequest, UnsupportedFormat
from upscale_server.media.index import PacketIndex
from upscale_server.media.probe import Probed
from upscale_server.media.tracks import Refused, Window, earliest_time, refused_by, without_keyframe
from upscale_server.media.types import VideoInfo
from upscale_server.profiles import Profile, profile_named
from upscale_server.wish import Wish

NO_NEGATIVE_TIME = ("matroska", "webm")
"""Containers that show nothing before zero."""
_LONGEST_QUICKTIME_STEP = 2**31 - 1


def kept_of(probed: Probed, wish: Wish) -> tuple[Window, tuple[Refused, ...]]:
    """Return the time that is kept, and the tracks that the container cannot hold."""
    _gaps_fit(probed, wish)
    path, picture = Path(probed.info.path), probed.info.stream_index
    refused = tuple(refused_by(path, picture, wish.container))
    refused += tuple(_unwanted(probed.info, profile_named(wish.profile), {one.index for one in refused}))
    window = _window(probed.info, probed.index, wish)
    refused += tuple(without_keyframe(path, picture, window))
    if window.start is None:
        window = replace(window, delay=_delay(probed, wish.container, frozenset(one.index for one in refused)))
    return window, refused


def _unwanted(info: VideoInfo, profile: Profile, refused: set[int]) -> Iterator[Refused]:
    """Yield the other tracks that the container could hold and the profile does not want."""
    for one in info.streams:
        kept = profile.kept_kinds is None or one.kind in profile.kept_kinds
        if not kept and one.index not in refused:
            yield Refused(one.index, one.kind, one.codec, f"is not part of the {profile.name} profile")


def _window(info: VideoInfo, index: PacketIndex, wish: Wish) -> Window:
    """Return the kept time; a trimmed job starts on the first frame at or after the moment asked for."""
    if wish.start_seconds is None and wish.duration_seconds is None:
        return Window()
    if not index.reliable:
        raise BadRequest("the source's packets have no reliable times; it cannot be trimmed")
    start, duration = wish.start_seconds or 0.0, wish.duration_seconds
    if not 0 <= start < math.inf:
        raise BadRequest(f"start is {start} seconds; expected 0 or more")
    if duration is not None and not 0 < duration < math.inf:
        raise BadRequest(f"duration is {duration} seconds; expected more than 0")
    moment = index.pts[0] * info.time_base + Fraction(start).limit_denominator(1_000_000)
    first = next((pts for pts in index.pts if pts * info.time_base >= moment), None)
    if first is None:
        raise BadRequest(f"start is {start} seconds; the video is {info.duration_seconds:.3f} long")
    begin = first * info.time_base
    end = None if duration is None else begin + Fraction(duration).limit_denominator(1_000_000)
    return Window(begin if start else None, end)


def _gaps_fit(probed: Probed, wish: Wish) -> None:
    """Refuse a pause between two pictures that QuickTime's 32 bits cannot count."""
    longest = max((later - earlier for earlier, later in pairwise(probed.index.pts)), default=0)
    ticks = longest * probed.info.time_base.numerator
    if wish.container in ("mp4", "mov") and ticks > _LONGEST_QUICKTIME_STEP:
        raise UnsupportedFormat(
            f"two pictures are {float(longest * probed.info.time_base):.0f} s apart; {wish.container} counts up to "
            f"{float(_LONGEST_QUICKTIME_STEP / Fraction(probed.info.time_base.denominator)):.0f} s in this time base",
            hint="choose an .mkv output",
        )


def _delay(probed: Probed, container: str, left_out: frozenset[int]) -> Fraction:
    """Return by how much everything must start later because the output has no time before zero.

    QuickTime's edit lists hide what lies before zero; Matroska counts an encoder's priming samples (CodecDelay) where
    the source said how many. That is right for priming, and wrong for pictures and for other containers' sound.
    """
    info = probed.info
    to_matroska = container in NO_NEGATIVE_TIME
    hidden_in_source = "matroska" in info.container or ("mov" in info.container and not to_matroska)
    first_picture = probed.index.pts[0] * info.time_base if probed.index.pts else Fraction(0)
    if probed.index.untimed_first and probed.index.pts:
        first_picture -= probed.index.untimed_first / info.average_rate
    earliest = first_picture if hidden_in_source else earliest_time(Path(info.path), left_out)
    return max(Fraction(0), -min(earliest, first_picture))
