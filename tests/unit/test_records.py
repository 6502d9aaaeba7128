"""Values come back from JSON as the same values; what would cost hours to compute is refused."""

from __future__ import annotations

from fractions import Fraction

import pytest

from upscale_server.records import UNREADABLE, record, value_of


@pytest.mark.parametrize("value", [Fraction(1001, 30000), Fraction(-5), Fraction(2**90, 3)])
def test_fraction_comes_back(value: Fraction) -> None:
    """As numerator and denominator."""
    assert value == value_of(Fraction, record(value))


@pytest.mark.parametrize("said", ["1e999999999", "1e-999999999", "9" * 100_000, "1/0", "", "x", 3, 0.5, None, [1]])
def test_what_is_no_fraction_of_ours_is_refused_at_once(said: object) -> None:
    """An exponent of nine digits is a number of a gigabyte."""
    with pytest.raises(UNREADABLE):
        value_of(Fraction, said)
