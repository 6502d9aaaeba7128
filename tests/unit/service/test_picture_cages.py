"""A picture read in a cage is the one read here; what kills or holds its reader costs that picture alone."""

from __future__ import annotations

import io
import os
import signal
import time
from collections.abc import Iterator
from functools import partial

import numpy as np
import pytest
from PIL import Image, ImageCms

from upscale_server.cage import InmateDied
from upscale_server.errors import SourceCorrupt, SourceTruncated, TooManyPixels
from upscale_server.media.image import check_size, load_bytes
from upscale_server.media.types import Size
from upscale_server.service import picture_cages
from upscale_server.service.picture_cages import PictureCages

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
CHECK = partial(check_size, name="in", max_pixels=10_000, max_side=200)


@pytest.fixture
def cages() -> Iterator[PictureCages]:
    """Give one cage, so that the next picture meets what the last left."""
    one = PictureCages(1, 10_000)
    yield one
    one.close()


def _png(mode: str) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.arange(60 * 40, dtype=np.uint16).reshape(40, 60)).save(out, "PNG") if mode == "I;16" else (
        Image.new(mode, (60, 40), 77).save(out, "PNG")
    )
    return out.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "I;16"])
def test_picture_is_the_one_that_is_read_here(cages: PictureCages, mode: str) -> None:
    """Pixels, alpha, bits, and everything that came with them."""
    content = _png(mode)
    here, there = load_bytes(content, "in", CHECK), cages.read(content, "in", CHECK)

    assert np.array_equal(here.pixels, there.pixels)
    assert (here.alpha is None) == (there.alpha is None)
    assert here.alpha is None or np.array_equal(here.alpha, there.alpha)
    assert (here.bits, here.format, here.warnings) == (there.bits, there.format, there.warnings)
    assert here.attachments == there.attachments


@pytest.mark.slow
def test_attachments_come_along(cages: PictureCages) -> None:
    """ICC, EXIF and the rest are bytes, and stay the same bytes."""
    out, exif = io.BytesIO(), Image.Exif()
    exif[0x010E] = "a description"
    Image.new("RGB", (60, 40), 77).save(out, "JPEG", exif=exif, icc_profile=SRGB, comment=b"hello", dpi=(72, 72))
    content = out.getvalue()

    assert load_bytes(content, "in", CHECK).attachments == cages.read(content, "in", CHECK).attachments


@pytest.mark.slow
def test_refusals_are_named_as_here(cages: PictureCages) -> None:
    """The size on its header, the cut file as cut."""
    with pytest.raises(TooManyPixels):
        cages.read(_png("RGB"), "in", partial(check_size, name="in", max_pixels=100, max_side=200))
    with pytest.raises(SourceTruncated):
        cages.read(_png("RGB")[:-30], "in", CHECK)


@pytest.mark.slow
def test_reader_that_dies_twice_is_the_pictures_doing(cages: PictureCages) -> None:
    """Once more it is tried; then it is said, and the next picture is read."""
    with pytest.raises(SourceCorrupt, match="SIGKILL"):
        cages.read(_png("RGB"), "in", _killing)

    assert Size(60, 40) == cages.read(_png("RGB"), "in", CHECK).size


@pytest.mark.slow
def test_reader_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bomb of time is refused as one of pixels is."""
    monkeypatch.setattr(picture_cages, "LONGEST_SECONDS", 1.0)
    cages = PictureCages(1, 10_000)
    with pytest.raises(SourceCorrupt, match="no packet further"):
        cages.read(_png("RGB"), "in", _waiting)
    cages.close()


def _killing(size: Size) -> None:
    del size
    os.kill(os.getpid(), signal.SIGKILL)


def _waiting(size: Size) -> None:
    del size
    time.sleep(600)


def _around(bits: int) -> picture_cages._Around:
    return picture_cages._Around(bits, "PNG", load_bytes(_png("L"), "in", CHECK).attachments, ())


@pytest.mark.parametrize(
    "arrays",
    [
        (),
        (np.zeros(4, np.uint8),),
        (np.zeros((2, 2, 4), np.uint8),),
        (np.zeros((2, 2), np.uint16),),
        (np.zeros((2, 2), np.uint8), np.zeros((3, 2), np.uint8)),
        (np.zeros((2, 2), np.uint8), np.zeros((2, 2), np.uint16)),
        (np.zeros((2, 2), np.uint8),) * 3,
    ],
    ids=["none", "a row", "four channels", "other bits", "another alpha", "alpha of other bits", "three"],
)
def test_what_is_no_picture_is_as_good_as_a_death(arrays: tuple[np.ndarray, ...]) -> None:
    """An inmate that was taken over says what it likes; no array but a picture's goes on."""
    with pytest.raises(InmateDied, match="for a picture of 8 bits"):
        picture_cages._picture_of(_around(8), arrays, CHECK)


def test_picture_larger_than_allowed_is_refused_outside_too() -> None:
    """The check on the header is done by who may be an attacker."""
    with pytest.raises(TooManyPixels):
        picture_cages._picture_of(_around(8), (np.zeros((150, 150), np.uint8),), CHECK)
