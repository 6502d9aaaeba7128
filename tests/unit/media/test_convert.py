"""Depth, range and chroma grid change by the book, rounding once, and colours stay where they were."""

from __future__ import annotations

from fractions import Fraction
from typing import cast

import numpy as np
import pytest

from upscale_server.media.convert import converted
from upscale_server.media.types import FULL, LIMITED, Colour, Frame, Plane

SIZE = (16, 24)


def _frame(pixel_format: str, *planes: Plane) -> Frame:
    return Frame(planes, pixel_format, 7, Fraction(1, 25))


def _flat(value: int, shape: tuple[int, int], dtype: type = np.uint8) -> Plane:
    return cast("Plane", np.full(shape, value, dtype))


def test_nothing_to_convert_gives_the_frame_itself() -> None:
    """The usual frame is not copied, and an unspecified range is limited."""
    frame = _frame("yuv420p", _flat(100, SIZE), _flat(90, (8, 12)), _flat(200, (8, 12)))

    assert frame is converted(frame, "yuv420p", Colour(range=0), Colour(range=LIMITED))


def test_ten_bits_are_rounded_to_the_nearest_of_eight() -> None:
    """Limited range of 10 bits is four times that of 8: each group of four goes to its nearest, ties up."""
    luma = np.arange(64, 64 + SIZE[0] * SIZE[1], dtype=np.uint16).reshape(SIZE)
    chroma = _flat(513, (8, 12), np.uint16)

    small = converted(_frame("yuv420p10le", luma, chroma, chroma), "yuv420p", Colour(), Colour())

    assert np.array_equal((luma + 2) // 4, small.planes[0])
    assert np.uint8 == small.planes[0].dtype
    assert 128 == small.planes[1][0, 0]
    assert (7, "yuv420p") == (small.pts, small.pixel_format)


def test_the_top_of_ten_bits_does_not_wrap() -> None:
    """1023 would round to 256."""
    small = converted(_frame("gray10le", _flat(1023, SIZE, np.uint16)), "gray", Colour(), Colour())

    assert 255 == small.planes[0].max()


@pytest.mark.parametrize(("full", "limited"), [(0, 16), (255, 235), (128, 126), (1, 17)])
def test_full_range_luma_becomes_limited(full: int, limited: int) -> None:
    """Black is 16 and white is 235 (H.273, 8.3)."""
    neutral = _flat(128, (8, 12))

    found = converted(
        _frame("yuv420p", _flat(full, SIZE), neutral, neutral), "yuv420p", Colour(range=FULL), Colour(range=LIMITED)
    )

    assert {limited} == set(found.planes[0].ravel().tolist())
    assert {128} == set(found.planes[1].ravel().tolist())


def test_full_range_chroma_becomes_limited_around_its_middle() -> None:
    """Chroma keeps 128 and shrinks by 224/255 on both sides."""
    blue, red = _flat(255, (8, 12)), _flat(1, (8, 12))

    found = converted(
        _frame("yuv420p", _flat(0, SIZE), blue, red), "yuv420p", Colour(range=FULL), Colour(range=LIMITED)
    )

    assert (240, 16) == (found.planes[1][0, 0], found.planes[2][0, 0])


def test_range_is_converted_there_and_back_without_loss_of_more_than_a_level() -> None:
    """Limited has fewer levels than full, so full comes back to within one."""
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    frame = _frame("gray", cast("Plane", ramp))

    there = converted(frame, "gray", Colour(range=FULL), Colour(range=LIMITED))
    back = converted(there, "gray", Colour(range=LIMITED), Colour(range=FULL))

    assert int(np.abs(back.planes[0].astype(int) - ramp).max()) <= 1


@pytest.mark.parametrize("pixel_format", ["yuv444p", "yuv422p"])
def test_chroma_stays_at_its_place_when_its_grid_gets_coarser(pixel_format: str) -> None:
    """A ramp across the picture has, at each sample of the left-sited grid, the value of that column."""
    columns = SIZE[1] if pixel_format == "yuv444p" else SIZE[1] // 2
    step = 1 if pixel_format == "yuv444p" else 2
    ramp = cast("Plane", np.tile((40 + 4 * step * np.arange(columns)).astype(np.uint8), (SIZE[0], 1)))

    found = converted(_frame(pixel_format, _flat(50, SIZE), ramp, ramp), "yuv420p", Colour(), Colour())

    expected = 40 + 8 * np.arange(12)
    assert (8, 12) == found.planes[1].shape
    # Away from the border, where the replicated edge bends the ramp.
    assert np.abs(found.planes[1][:, 3:-3].astype(int) - expected[3:-3]).max() <= 1


def test_gray_gets_chroma_without_colour() -> None:
    """A gray source becomes 4:2:0 with neutral planes; its odd size is rounded up as formats do."""
    found = converted(_frame("gray10le", _flat(512, (5, 7), np.uint16)), "yuv420p", Colour(), Colour())

    assert [(5, 7), (3, 4), (3, 4)] == [plane.shape for plane in found.planes]
    assert {128} == set(found.planes[1].ravel().tolist()) | set(found.planes[2].ravel().tolist())
