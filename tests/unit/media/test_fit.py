"""What resampling promises: sizes, depth, flatness, borders and the two kernels agreeing."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support.kernels import BICUBIC, LANCZOS, matrix
from upscale_server.media.fit import chroma_offset, resample, resample_bicubic
from upscale_server.media.types import Size


def _texture(size: Size, bits: int) -> NDArray[np.uint8] | NDArray[np.uint16]:
    y, x = np.mgrid[0 : size.height, 0 : size.width]
    wave = 0.5 + 0.3 * np.sin(0.9 * x + 0.3 * y) * np.cos(0.7 * y)
    return np.rint(wave * ((1 << bits) - 1)).astype(np.uint8 if bits == 8 else np.uint16)


@pytest.mark.parametrize("target", [Size(128, 96), Size(97, 71), Size(40, 30), Size(64, 96)])
@pytest.mark.parametrize("offset", [(0.0, 0.0), (0.125, 0.0), (-0.3, 0.21)])
@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_resampling_follows_the_exact_lanczos_sum(target: Size, offset: tuple[float, float], bits: int) -> None:
    """Both kernels, at each depth and phase, are the textbook convolution up to their rounding."""
    plane = _texture(Size(64, 48), bits)
    rows = matrix(LANCZOS, 48, target.height, offset[1])
    columns = matrix(LANCZOS, 64, target.width, offset[0])
    expected = rows @ plane @ columns.T

    found = resample(plane, target, bits=bits, offset=offset)

    # Half a level of rounding (a tenth more for float32 sums of 16 bits); swscale, used for centred planes of up to
    # 12 bits, also drops coefficients below 0.2 % on each axis, which shows where the border collects them.
    by_swscale = offset == (0.0, 0.0) and bits <= 12
    tolerance = 0.6 + (0.004 * ((1 << bits) - 1) if by_swscale else 0.0)
    assert found.shape == (target.height, target.width)
    assert found.dtype == plane.dtype
    assert np.abs(found - expected).max() <= tolerance


@pytest.mark.parametrize("target", [Size(128, 96), Size(97, 71), Size(40, 30), Size(32, 24)])
@pytest.mark.parametrize("offset", [(0.0, 0.0), (-0.3, 0.21)])
@pytest.mark.parametrize("bits", [8, 10, 16])
def test_bicubic_is_the_one_of_keys_with_a_half(target: Size, offset: tuple[float, float], bits: int) -> None:
    """Up and down, at each depth and phase, it is the textbook's cubic convolution with a = -0.5, antialiased."""
    plane = _texture(Size(64, 48), bits)
    expected = matrix(BICUBIC, 48, target.height, offset[1]) @ plane @ matrix(BICUBIC, 64, target.width, offset[0]).T

    found = resample_bicubic(plane, target, bits=bits, offset=offset)

    assert found.shape == (target.height, target.width)
    # Half a level of rounding, a tenth more for float32 sums of 16 bits; OpenCV's a = -0.75 is several levels away.
    assert np.abs(found - expected).max() <= 0.6


@pytest.mark.parametrize("bits", [8, 9, 10, 11, 12, 14, 15, 16])
@pytest.mark.parametrize("offset", [(0.0, 0.0), (0.125, 0.0)])
def test_overshoot_is_clipped_to_the_bits_of_the_plane(bits: int, offset: tuple[float, float]) -> None:
    """A step from black to white rings, and the ringing may pass neither 0 nor white."""
    white = (1 << bits) - 1
    plane = np.zeros((32, 32), np.uint8 if bits == 8 else np.uint16)
    plane[:, 16:] = white

    found = resample(plane, Size(64, 64), bits=bits, offset=offset)

    assert (found.min(), found.max()) == (0, white)


@pytest.mark.parametrize("source", [Size(1, 1), Size(1, 9), Size(2, 3), Size(7, 7), Size(17, 31), Size(99, 1)])
@pytest.mark.parametrize("target", [Size(1, 1), Size(2, 2), Size(34, 62), Size(1, 40)])
@pytest.mark.parametrize("offset", [(0.0, 0.0), (0.25, -0.25)])
def test_flat_planes_of_any_size_stay_flat(source: Size, target: Size, offset: tuple[float, float]) -> None:
    """No size is too small and no border darkens."""
    plane = np.full((source.height, source.width), 200, np.uint8)

    found = resample(plane, target, bits=8, offset=offset)

    assert found.shape == (target.height, target.width)
    assert set(np.unique(found)) == {200}


def test_a_plane_that_already_fits_is_returned_as_it_is() -> None:
    """Nothing is resampled that need not be."""
    plane = _texture(Size(20, 10), 8)

    assert resample(plane, Size(20, 10), bits=8) is plane


def test_a_strided_view_is_resampled_like_its_copy() -> None:
    """Planes cut out of larger arrays are not misread."""
    whole = _texture(Size(80, 60), 10)
    view = whole[5:45, 7:71]

    found = resample(view, Size(100, 50), bits=10)

    assert np.array_equal(found, resample(view.copy(), Size(100, 50), bits=10))


def test_the_same_plane_gives_the_same_bytes() -> None:
    """Resumed work must end with the bytes of undisturbed work."""
    plane = _texture(Size(64, 48), 8)

    for offset in ((0.0, 0.0), (0.125, 0.0)):
        first = resample(plane, Size(111, 77), bits=8, offset=offset)
        assert np.array_equal(first, resample(plane, Size(111, 77), bits=8, offset=offset))


@pytest.mark.parametrize(
    ("location", "subsampling", "expected"),
    [
        ("left", (2, 2), (0.125, 0.0)),
        ("", (2, 2), (0.125, 0.0)),
        ("center", (2, 2), (0.0, 0.0)),
        ("topleft", (2, 2), (0.125, 0.125)),
        ("top", (2, 2), (0.0, 0.125)),
        ("bottomleft", (2, 2), (0.125, -0.125)),
        ("bottom", (2, 2), (0.0, -0.125)),
        ("topleft", (2, 1), (0.125, 0.0)),
        ("topleft", (1, 1), (0.0, 0.0)),
        ("left", (4, 1), (0.1875, 0.0)),
    ],
)
def test_chroma_phase_of_a_doubling(location: str, subsampling: tuple[int, int], expected: tuple[float, float]) -> None:
    """Each chroma location has the phase that its definition in H.273 implies."""
    assert chroma_offset(location, subsampling, 2.0, 2.0) == pytest.approx(expected)
