"""The pieces that stand for a video: where they lie, that they are apart, and what the source spends on them."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upscale_server.media.index import PacketIndex
from upscale_server.media.tracks import Window
from upscale_server.media.types import Colour, Hdr, Size, VideoInfo
from upscale_server.sampling import Samples, sample

_INFO = VideoInfo(
    path="", container="mov", stream_index=0, codec="h264", size=Size(96, 64), pixel_format="yuv420p",
    pixel_format_of_source="yuv420p", bits=8, time_base=Fraction(1, 100), average_rate=Fraction(25),
    sample_aspect_ratio=None, rotation=0, display_matrix=(), colour=Colour(), hdr=Hdr(), interlaced=False,
    may_interlace=False, variable_rate=False, timed=True, frame_count=0, frame_count_from_header=0,
    duration_seconds=0.0, byte_count=0, modified_ns=0,
    bit_rate=0, chapter_count=0,
)  # fmt: skip


def _index(pts: list[int], keyframes: list[int], sizes: list[int]) -> PacketIndex:
    return PacketIndex(
        tuple(pts), tuple(keyframes), reliable=True, last_duration=1, untimed_first=0, discarded=0, byte_count=0,
        encrypted=False, ends_early=False, sizes=tuple(sizes),
    )  # fmt: skip


def _even(seconds: int, keyframe_every: int = 1000) -> PacketIndex:
    """Return the index of a video of 25 frames a second, in which frame n weighs n bytes."""
    pts = list(range(0, seconds * 100, 4))
    return _index(pts, [one for one in pts if one % keyframe_every == 0], list(range(len(pts))))


def test_three_seconds_of_a_long_video_lie_around_a_sixth_a_half_and_five_sixths() -> None:
    """Each piece stands for the third that it is the middle of."""
    pieces = sample(_even(60), _INFO, Window()).pieces

    assert [952, 2948, 4948] == [one.segment.start_pts for one in pieces]
    assert [1052, 3048, 5048] == [one.segment.end_pts for one in pieces]
    assert [25, 25, 25] == [one.frame_count for one in pieces]
    assert [0, 2000, 4000] == [one.segment.decode_from_pts for one in pieces]


def test_a_clip_under_four_seconds_is_one_piece_in_the_middle() -> None:
    """Three pieces of it would be nearly all of it."""
    (piece,) = sample(_even(3), _INFO, Window()).pieces

    assert (100, 200) == (piece.segment.start_pts, piece.segment.end_pts)


def test_a_trimmed_job_is_sampled_where_it_is_kept() -> None:
    """What is cut away says nothing about the rest."""
    pieces = sample(_even(60), _INFO, Window(Fraction(30), Fraction(42))).pieces

    assert all(3000 <= (one.segment.start_pts or 0) and (one.segment.end_pts or 0) <= 4200 for one in pieces)


def test_keyframes_of_the_source_are_not_among_its_bytes() -> None:
    """They come where the source's encoder wanted, and would tell a piece that has one by chance for a hard one."""
    index = _even(2, keyframe_every=100)
    spent = sample(index, _INFO, Window()).source_bytes

    assert sum(range(50)) - 0 - 25 == spent


def test_a_stream_without_reliable_times_has_no_pieces() -> None:
    """It is decoded in one piece, so none can be taken out of it."""
    assert Samples(other_bytes=7) == sample(replace(_even(60), reliable=False), _INFO, Window(), 7)


def test_few_frames_a_second_make_longer_pieces() -> None:
    """A slide show's second would be a keyframe and nothing else."""
    pts = list(range(0, 60_000, 100))
    pieces = sample(_index(pts, [0], [1] * len(pts)), _INFO, Window()).pieces

    assert [12, 12, 12] == [one.frame_count for one in pieces]


@pytest.mark.slow
@given(
    st.lists(st.integers(1, 400), max_size=300),
    st.integers(0, 40),
    st.one_of(st.none(), st.integers(1, 90)),
)
def test_pieces_are_parts_of_what_is_kept_and_apart(steps: list[int], start: int, length: int | None) -> None:
    """Whatever the times and the cut are: no frame is in two pieces, and each piece has as many frames as it says."""
    pts = [0]
    for step in steps:
        pts.append(pts[-1] + step)
    window = Window(Fraction(start), None if length is None else Fraction(start + length))
    kept = [one for one in pts if one >= start * 100 and (length is None or one < (start + length) * 100)]

    samples = sample(_index(pts, [0], [1] * len(pts)), _INFO, window)

    assert bool(kept) == bool(samples.pieces)
    held = [[one for one in pts if piece.segment.holds(one)] for piece in samples.pieces]
    assert [piece.frame_count for piece in samples.pieces] == [len(one) for one in held]
    assert all(set(one) <= set(kept) for one in held)
    assert all(before[-1] < after[0] for before, after in pairwise(held))
