"""How many bits the picture may have so that the whole file stays under its limit: arithmetic, no file is opened.

It caps the encoder's rate from the start, because encoding twice costs as much as upscaling twice. Whether the limit
was kept is seen on the finished file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

_HEADER_BYTES = 4096
_BYTES_A_FRAME = 24  # of a sample's entries in QuickTime's tables; Matroska needs fewer
_SAFETY = Fraction(97, 100)
"""Part of the room that is planned with: encoders end a buffer a little over where they aim."""
_LEAST_PART = Fraction(1, 10)
"""Of the limit; tracks that are left out count here as kept, and must not refuse a job that would fit."""
_BUFFER_SECONDS = 4.0
_BUFFER_PART = 0.3
"""The buffer lets a burst through, and each segment starts with a full one, which is paid for by the rate."""
_LEAST_KBIT = 16
_MOST_KBIT = 2_000_000  # encoders hold rates in 32 bits

_LEAST_BOX = 9  # of the two containers' smallest empty boxes the larger
_PADDING_RANGE = 1 << 16
_PADDING_PART = 64
"""The padding takes at most this part of the limit."""


@dataclass(frozen=True, slots=True)
class Cap:
    """The most an encoder may spend: a rate in kbit/s, and a buffer in kbit that a burst may use."""

    rate_kbit: int
    buffer_kbit: int


@dataclass(frozen=True, slots=True)
class Room:
    """What the limit is for: bytes of the file, of what is not the picture, and the picture's frames and segments."""

    most_bytes: int
    other_bytes: int
    frame_count: int
    segment_count: int
    rate: Fraction


def cap_for(room: Room) -> Cap:
    """Return the cap under which the picture fits into its room."""
    overhead = room.other_bytes + _HEADER_BYTES + _BYTES_A_FRAME * room.frame_count
    picture_bytes = max(room.most_bytes - overhead, int(room.most_bytes * _LEAST_PART))
    # Encoders count frames of the nominal rate, whatever their times are, so this is their clock and not the video's.
    seconds = max(1, room.frame_count) / float(room.rate)
    segments = max(1, room.segment_count)
    buffer_seconds = min(_BUFFER_SECONDS, seconds / segments * _BUFFER_PART)
    rate = picture_bytes * 8 * float(_SAFETY) / (seconds + segments * buffer_seconds) / 1000
    kbit = min(_MOST_KBIT, max(_LEAST_KBIT, int(rate)))
    return Cap(kbit, max(1, int(kbit * buffer_seconds)))


def limit_of(times_source: int | None, source_bytes: int, asked: int | None) -> int | None:
    """Return the smaller of a multiple of the source and the number asked for; None without either."""
    bounds = [asked, None if times_source is None else times_source * source_bytes]
    return min((bound for bound in bounds if bound is not None), default=None)


def numbered_padding(number: int) -> int:
    """Return the padding of the job with a number: another for each of as many jobs in a row as the limit leaves."""
    return _LEAST_BOX + number


def fitting_padding(padding: int, most_bytes: int | None) -> int:
    """Return the padding, brought into a small part of the limit; 0 stays 0, anything else holds at least a box."""
    if padding <= 0:
        return 0
    return _LEAST_BOX + max(0, padding - _LEAST_BOX) % _paddings(most_bytes)


def reserved_padding(padding: int, most_bytes: int | None) -> int:
    """Return what the picture's rate leaves free for padding, whatever its length is.

    A rate that depended on the length would make two jobs' pictures differ by a few bytes, which may be just what
    their padding differs by.
    """
    return _LEAST_BOX + _paddings(most_bytes) - 1 if padding > 0 else 0


def _paddings(most_bytes: int | None) -> int:
    """Return how many lengths there are."""
    return _PADDING_RANGE if most_bytes is None else max(1, min(_PADDING_RANGE, most_bytes // _PADDING_PART))


def other_bytes(source_bytes: int, picture_bytes: int, kept: Sequence[int]) -> int:
    """Return the bytes of what is carried over: the source's without its picture, as far as its time is kept.

    Args:
        source_bytes: of the file.
        picture_bytes: of its picture's packets.
        kept: frames kept, and frames there are.
    """
    frames, there = kept
    return max(0, source_bytes - picture_bytes) * frames // max(1, there)
