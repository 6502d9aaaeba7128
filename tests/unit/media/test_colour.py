"""The one conversion between Y'CbCr and RGB: known colours, round trips and chroma siting."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from upscale_server.errors import UnsupportedFormat
from upscale_server.media.colour import FULL, LIMITED, Layout, from_rgb, layout_of, to_rgb
from upscale_server.media.types import Colour

# 8-bit limited-range codes of pure colours, computed by hand from Kr and Kb of H.273.
PRIMARIES = {
    1: {(255, 0, 0): (63, 102, 240), (0, 255, 0): (173, 42, 26), (0, 0, 255): (32, 240, 118)},
    6: {(255, 0, 0): (81, 90, 240), (0, 255, 0): (145, 54, 34), (0, 0, 255): (41, 240, 110)},
    9: {(255, 0, 0): (74, 97, 240), (0, 255, 0): (164, 47, 25), (0, 0, 255): (29, 240, 119)},
}


def _flat(rgb: tuple[int, int, int], side: int = 4) -> np.ndarray:
    return np.broadcast_to(np.array(rgb, np.uint8), (side, side, 3)).copy()


@pytest.mark.parametrize("matrix", PRIMARIES)
def test_pure_colours_have_the_codes_of_the_standard(matrix: int) -> None:
    """Red, green and blue land on the codes that H.273 gives for each matrix."""
    for rgb, expected in PRIMARIES[matrix].items():
        planes = from_rgb(_flat(rgb), "yuv444p", Colour(matrix=matrix, range=LIMITED))

        assert expected == tuple(int(plane[0, 0]) for plane in planes)


def test_untagged_planes_are_read_as_bt601_limited() -> None:
    """A stream that says nothing is converted as FFmpeg and the callers' scorers do it."""
    red = from_rgb(_flat((255, 0, 0)), "yuv420p", Colour())

    assert (81, 90, 240) == tuple(int(plane[0, 0]) for plane in red)


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("range_", [LIMITED, FULL])
def test_black_and_white_are_exact_at_every_depth(bits: int, range_: int) -> None:
    """The ends of the range are met without a rounding error, limited and full."""
    name = "yuv444p" if bits == 8 else f"yuv444p{bits}le"
    white = 2**bits - 1
    rgb = np.zeros((2, 2, 3), np.uint8 if bits == 8 else np.uint16)
    rgb[1] = white

    planes = from_rgb(rgb, name, Colour(matrix=1, range=range_))

    expected = [16 << (bits - 8), 235 << (bits - 8)] if range_ == LIMITED else [0, white]
    assert expected == [int(planes[0][0, 0]), int(planes[0][1, 0])]
    assert np.array_equal(rgb, to_rgb(planes, name, Colour(matrix=1, range=range_)))


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    matrix=st.sampled_from([1, 2, 4, 5, 6, 7, 9]),
    range_=st.sampled_from([0, LIMITED, FULL]),
    bits=st.sampled_from([8, 10, 12, 16]),
)
def test_round_trip_at_444_changes_no_sample_by_more_than_one_level(
    seed: int, matrix: int, range_: int, bits: int
) -> None:
    """Y'CbCr to RGB and back keeps every colour inside the RGB cube to one level, at every depth and matrix."""
    name = "yuv444p" if bits == 8 else f"yuv444p{bits}le"
    colour = Colour(matrix=matrix, range=range_)
    random = np.random.default_rng(seed)
    rgb = random.integers(0, 2**bits, (9, 13, 3)).astype(np.uint8 if bits == 8 else np.uint16)
    planes = from_rgb(rgb, name, colour)

    back = from_rgb(to_rgb(planes, name, colour), name, colour)

    for expected, found in zip(planes, back, strict=True):
        assert np.abs(expected.astype(int) - found.astype(int)).max() <= 1


def test_wide_rgb_makes_the_round_trip_of_8_bits_exact() -> None:
    """With 16-bit RGB between, no code inside the cube changes at all."""
    colour = Colour(matrix=1, range=LIMITED)
    # Inside the cube with a margin: a code at its face may stand for a colour a fraction of a level outside.
    rgb = np.random.default_rng(3).integers(4, 252, (31, 17, 3)).astype(np.uint8)
    planes = from_rgb(rgb, "yuv444p", colour)

    back = from_rgb(to_rgb(planes, "yuv444p", colour, rgb_bits=16), "yuv444p", colour, rgb_bits=16)

    assert all(np.array_equal(expected, found) for expected, found in zip(planes, back, strict=True))


@pytest.mark.parametrize("location", ["", "left", "center", "topleft", "top", "bottomleft", "bottom"])
@pytest.mark.parametrize("name", ["yuv420p", "yuv422p", "yuv411p", "yuv420p10le"])
def test_siting_keeps_a_colour_ramp_in_place(location: str, name: str) -> None:
    """A linear ramp of colour comes back where it was, whatever the chroma location; a wrong phase would shift it."""
    bits = layout_of(name).bits
    white = 2**bits - 1
    across = np.linspace(0.2, 0.8, 64)[None, :] * np.ones((48, 1))
    down = np.linspace(0.2, 0.8, 48)[:, None] * np.ones((1, 64))
    rgb = np.round(np.stack([across, down, 1 - across], axis=2) * white)
    rgb = rgb.astype(np.uint8 if bits == 8 else np.uint16)
    colour = Colour(matrix=1, range=FULL, chroma_location=location)

    back = to_rgb(from_rgb(rgb, name, colour), name, colour)

    # The ramp climbs 0.6 * white / 64 a sample: half a sample of misplaced chroma is about 1.2 levels of 255 and
    # a quarter 0.6; 0.35 leaves room for the bias of rounding a regular ramp. A single sample may round twice.
    inside = (slice(10, -10), slice(14, -14))
    difference = back[inside].astype(float) - rgb[inside]
    assert np.abs(difference.mean(axis=(0, 1))).max() <= 0.35 * white / 255
    assert np.abs(difference).max() <= 2 * white / 255 + 1


@pytest.mark.parametrize(
    ("location", "x", "y"),
    [("left", 0.0, 0.5), ("", 0.0, 0.5), ("center", 0.5, 0.5), ("topleft", 0.0, 0.0), ("bottom", 0.5, 1.0)],
)
def test_chroma_is_taken_where_the_location_says(location: str, x: float, y: float) -> None:
    """Chroma sample (0, 0) of a group lies x, y luma samples from the group's first: seen on a tilted ramp."""
    ramp = 20_000 + 300.0 * np.arange(64)[None, :] + 200.0 * np.arange(48)[:, None]
    rgb = np.round(np.stack([ramp, ramp[::-1, ::-1], ramp], axis=2)).astype(np.uint16)
    full_size = from_rgb(rgb, "yuv444p16le", Colour(range=FULL))[1].astype(float)

    small = from_rgb(rgb, "yuv420p16le", Colour(range=FULL, chroma_location=location))[1]

    step_x, step_y = full_size[24, 31] - full_size[24, 30], full_size[25, 30] - full_size[24, 30]
    expected = full_size[24, 30] + x * step_x + y * step_y
    # A quarter of a sample is 25 to 85 codes here; the kernel and rounding stay within 4.
    assert abs(expected - float(small[12, 15])) <= 4


@pytest.mark.parametrize("size", [(7, 5), (1, 1), (2, 3), (33, 1)])
def test_odd_sizes_have_rounded_up_chroma_and_come_back(size: tuple[int, int]) -> None:
    """An odd picture has half a chroma sample more, and a flat colour stays flat to its border."""
    width, height = size
    rgb = np.broadcast_to(np.array((200, 90, 40), np.uint8), (height, width, 3))

    planes = from_rgb(rgb, "yuv420p", Colour())

    assert ((height + 1) // 2, (width + 1) // 2) == planes[1].shape
    # Limited range at 8 bits keeps a colour to 2 levels of 255: half a chroma step times 2.02 / 0.88, and luma.
    assert np.abs(to_rgb(planes, "yuv420p", Colour()).astype(int) - rgb).max() <= 2


def test_gray_planes_become_equal_channels() -> None:
    """Gray has no matrix: each channel is luma stretched to full range, also with a tag that colour could not use."""
    rgb = to_rgb((np.array([[16, 235]], np.uint8),), "gray", Colour(matrix=10, range=LIMITED))

    assert [[[0, 0, 0], [255, 255, 255]]] == rgb.tolist()


def test_identity_matrix_is_a_permutation() -> None:
    """Planes tagged as RGB hold G, B, R and come out unmixed."""
    planes = tuple(np.full((2, 2), value, np.uint8) for value in (10, 20, 30))

    assert [30, 10, 20] == to_rgb(planes, "yuv444p", Colour(matrix=0, range=FULL))[0, 0].tolist()


def test_matrix_without_linear_form_is_refused_with_a_way_out() -> None:
    """Constant luminance (10) cannot be converted by a matrix, and the error says what to use instead."""
    planes = tuple(np.zeros((2, 2), np.uint8) for _ in range(3))

    with pytest.raises(UnsupportedFormat, match="matrix code 10") as caught:
        to_rgb(planes, "yuv444p", Colour(matrix=10))

    assert "luma model" in str(caught.value.hint)


def test_layout_reads_names_and_refuses_others() -> None:
    """Names of planar YUV and gray are understood; anything else is an error that names it."""
    assert Layout(10, 2, 2) == layout_of("yuv420p10le")
    assert Layout(8, 2, 1) == layout_of("yuvj422p")
    assert Layout(16, gray=True) == layout_of("gray16le")
    for name in ("rgb24", "nv12", "yuv420p32le", "yuv999p"):
        with pytest.raises(UnsupportedFormat, match=name):
            layout_of(name)
