"""Sizes and passes follow the documented tasks and rules."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upscale_server.errors import BadRequest, BadScale, NothingToUpscale, UnknownTask
from upscale_server.geometry import LEFTOVER, MOST_BY_NETWORK, TASKS, Target, fit_to, passes_for, target_of
from upscale_server.media.types import Size

SIZES = st.builds(Size, st.integers(16, 4000), st.integers(16, 4000))


@pytest.mark.parametrize(
    ("task", "source", "expected"),
    [
        ("SD2HD", Size(854, 480), Size(1920, 1080)),
        ("SD24K", Size(854, 480), Size(3840, 2158)),
        ("HD24K", Size(1920, 1080), Size(3840, 2160)),
        ("4K28K", Size(3840, 2160), Size(7680, 4320)),
        ("SD2HD", Size(640, 480), Size(1440, 1080)),
        ("SD2HD", Size(480, 854), Size(1080, 1920)),
        ("SD24K", Size(853, 480), Size(3838, 2160)),
    ],
)
def test_a_task_fits_the_source_into_its_box(task: str, source: Size, expected: Size) -> None:
    """The aspect ratio is kept, a portrait source turns the box, sides are even."""
    assert expected == fit_to(source, target_of(task, None, None, None)).picture


@pytest.mark.parametrize(
    ("source", "box", "expected"),
    [
        (Size(300, 201), Size(600, 999), Size(600, 402)),
        (Size(200, 101), Size(210, 999), Size(210, 106)),
        (Size(200, 100), Size(202, 999), Size(202, 100)),
        (Size(300, 200), Size(600, 999), Size(600, 400)),
    ],
)
def test_sides_go_to_the_nearest_even_number_and_ties_go_down(source: Size, box: Size, expected: Size) -> None:
    """402 stays; 106.05 goes to 106; 101 lies between 100 and 102 and goes down."""
    assert expected == fit_to(source, Target(box=box)).picture


def test_exact_fit_puts_the_picture_on_a_canvas_of_the_box() -> None:
    """Bars fill what the aspect ratio leaves free."""
    fitted = fit_to(Size(640, 480), target_of(None, "1080p", None, "exact"))

    assert (Size(1440, 1080), Size(1920, 1080)) == (fitted.picture, fitted.canvas)


@pytest.mark.slow
@given(SIZES, st.sampled_from([2, 3, 4]))
def test_a_scale_multiplies_both_sides_exactly(source: Size, scale: int) -> None:
    """No rounding happens with a factor, whatever the size."""
    assert Size(source.width * scale, source.height * scale) == fit_to(source, Target(scale=scale)).canvas


@given(SIZES, st.sampled_from(sorted(TASKS)))
def test_the_picture_fills_the_box_without_leaving_it(source: Size, task: str) -> None:
    """One side of the picture reaches the box (within the even step), none passes it."""
    box = TASKS[task]
    turned = Size(box.height, box.width) if source.height > source.width else box
    try:
        picture = fit_to(source, Target(box=box, turns=True)).picture
    except NothingToUpscale:
        assert source.width >= turned.width or source.height >= turned.height
        return

    assert (picture.width % 2, picture.height % 2) == (0, 0)
    assert picture.width <= turned.width
    assert picture.height <= turned.height
    assert turned.width - picture.width <= 1 or turned.height - picture.height <= 1


def test_a_source_as_large_as_the_box_is_refused() -> None:
    """Nothing is pretended: there is nothing to upscale."""
    with pytest.raises(NothingToUpscale, match="1920x1080"):
        fit_to(Size(1920, 1080), target_of("SD2HD", None, None, None))


@pytest.mark.parametrize(
    ("enlargement", "scales", "expected"),
    [
        (Fraction(2), (2, 4), (2,)),
        (Fraction(9, 4), (2, 4), (2,)),
        (Fraction(5, 2), (2, 4), (2,)),
        (Fraction(13, 5), (2, 4), (4,)),
        (Fraction(3), (2, 4), (4,)),
        (Fraction(9, 2), (2, 4), (4,)),
        (Fraction(9, 2), (2,), (2, 2)),
        (Fraction(8), (2, 4), (4,)),
        (Fraction(8), (2,), (2, 2)),
        (Fraction(6, 5), (2, 4), (2,)),
        (Fraction(3), (3,), (3,)),
        (Fraction(8), (8,), (8,)),
        (Fraction(2), (4,), (4,)),
    ],
)
def test_passes_are_the_fewest_that_leave_little_to_lanczos(
    enlargement: Fraction, scales: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    """SD2HD's 2.25 is one x2; 4.5 is one x4 where the family has it, else two x2; past x4 Lanczos does the rest."""
    assert expected == passes_for(enlargement, scales)


@pytest.mark.slow
@given(st.fractions(Fraction(101, 100), 5), st.sampled_from([(2,), (2, 4), (2, 3, 4), (4,)]))
def test_up_to_five_times_the_leftover_is_small(enlargement: Fraction, scales: tuple[int, ...]) -> None:
    """Within what the network may do, Lanczos never enlarges by more than the bound."""
    product = 1
    for scale in passes_for(enlargement, scales):
        product *= scale

    assert enlargement / product <= LEFTOVER
    assert product <= MOST_BY_NETWORK


@pytest.mark.parametrize(
    ("task", "to", "scale", "fit", "error"),
    [
        ("SD2HD", "4k", None, None, BadRequest),
        ("HD28K", None, None, None, UnknownTask),
        (None, "huge", None, None, BadRequest),
        (None, "0x10", None, None, BadRequest),
        (None, None, 5, None, BadScale),
        (None, None, 2, "exact", BadRequest),
        (None, "4k", None, "scale", BadRequest),
        (None, "4k", None, "stretch", BadRequest),
    ],
)
def test_contradictions_are_refused(
    task: str | None, to: str | None, scale: int | None, fit: str | None, error: type[BadRequest]
) -> None:
    """Each wrong or double request has its own error, raised before any work."""
    with pytest.raises(error):
        target_of(task, to, scale, fit)
