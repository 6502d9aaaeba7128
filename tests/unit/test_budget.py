"""The arithmetic of a size limit: what is left for the picture, and empty room that fits into it."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upscale_server.budget import (
    Room,
    cap_for,
    fitting_padding,
    limit_of,
    numbered_padding,
    other_bytes,
    reserved_padding,
)


@pytest.mark.slow
@given(
    most=st.integers(100_000, 2**32),
    frames=st.integers(1, 500_000),
    segments=st.integers(1, 2000),
    rate=st.fractions(1, 240),
)
def test_a_kept_cap_keeps_the_limit(most: int, frames: int, segments: int, rate: Fraction) -> None:
    """Rate times time, and a full buffer for each segment, are never more than the file may have."""
    cap = cap_for(Room(most, 0, frames, segments, rate))

    # The smallest rate that encoders work with is more than a few bytes for an hour; such a limit fails by its size.
    if cap.rate_kbit > 16:
        spent = (cap.rate_kbit * frames / float(rate) + cap.buffer_kbit * segments) * 125
        assert spent <= most + 125 * segments  # no encoder has a buffer of less than a kilobit


@given(seconds=st.floats(0.2, 600.0))
def test_a_longer_buffer_never_costs_more_than_a_third_of_the_rate(seconds: float) -> None:
    """What the buffers of segments cost is bounded, or short segments would be starved for bursts that never come."""
    frames = max(1, int(seconds * 25))

    cap = cap_for(Room(10_000_000, 0, frames, 1, Fraction(25)))

    plain = min(2_000_000.0, 10_000_000 * 8 / (frames / 25) / 1000)
    assert cap.rate_kbit >= 0.66 * plain * 0.97


def test_what_is_not_the_picture_is_taken_off_the_limit() -> None:
    """Sound of half the limit halves the picture's rate."""
    alone = cap_for(Room(2_000_000, 0, 250, 1, Fraction(25)))
    beside = cap_for(Room(2_000_000, 1_000_000, 250, 1, Fraction(25)))

    assert beside.rate_kbit == pytest.approx(alone.rate_kbit / 2, rel=0.02)  # headers are the same for both


def test_sound_larger_than_the_limit_still_leaves_the_picture_a_rate() -> None:
    """It may turn out to be left out; the finished file is what is judged."""
    assert cap_for(Room(1_000_000, 5_000_000, 250, 1, Fraction(25))).rate_kbit > 16


@pytest.mark.parametrize(
    ("times", "asked", "expected"),
    [(None, None, None), (8, None, 800), (None, 50, 50), (8, 50, 50), (8, 5000, 800)],
)
def test_the_smaller_of_two_limits_counts(times: int | None, asked: int | None, expected: int | None) -> None:
    """A profile's multiple of the source and the size asked for both hold."""
    assert expected == limit_of(times, 100, asked)


def test_other_tracks_count_for_the_time_that_is_kept() -> None:
    """Half of the frames come with half of the sound."""
    assert 150 == other_bytes(1000, 700, (50, 100))


@given(padding=st.integers(1, 1 << 17), most=st.one_of(st.none(), st.integers(1, 10**9)))
def test_padding_is_a_box_and_a_small_part_of_the_limit(padding: int, most: int | None) -> None:
    """Any number becomes one that both containers can write and that leaves the picture its room."""
    fitting = fitting_padding(padding, most)

    assert fitting >= 9
    assert fitting - 9 <= (most if most is not None else 1 << 22) / 64


def test_different_padding_stays_different() -> None:
    """As long as the limit has room for it, each number gives another size."""
    assert 60_000 == len({fitting_padding(number, 10_000_000) for number in range(9, 60_009)})
    assert 0 == fitting_padding(0, 10_000_000)


@given(first=st.integers(1, 1 << 40), most=st.one_of(st.none(), st.integers(1, 10**7)))
def test_jobs_in_a_row_never_have_the_same_padding(first: int, most: int | None) -> None:
    """A whole scoring batch differs, however short the clip: as many jobs in a row as the limit has lengths for."""
    lengths = 1 << 16 if most is None else max(1, min(1 << 16, most // 64))

    found = {fitting_padding(numbered_padding(number), most) for number in range(first, first + min(lengths, 500))}

    assert min(lengths, 500) == len(found)
    assert max(found) <= reserved_padding(9, most)


def test_nothing_is_reserved_without_padding() -> None:
    """A video that is not for the subnet loses no room."""
    assert 0 == reserved_padding(0, 10_000_000)
