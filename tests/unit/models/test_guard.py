"""Broken frames are caught and redone; legitimate ones, however odd, are not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import numpy as np
import pytest
from numpy.typing import NDArray

from upscale_server.errors import UpscaleError
from upscale_server.models import catalogue
from upscale_server.models.base import Pixels, Upscaled, Upscaler, Working
from upscale_server.models.card import ModelCard
from upscale_server.models.guard import upscale_guarded
from upscale_server.models.load import load

HEIGHT, WIDTH = 64, 96


def _pictures() -> dict[str, NDArray[np.float64]]:
    """Return the nastiest pictures that are still pictures, 0 to 1."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    return {
        "black": np.zeros((HEIGHT, WIDTH)),
        "white": np.ones((HEIGHT, WIDTH)),
        "noise": rng.random((HEIGHT, WIDTH)),
        "noise of two levels": rng.integers(0, 2, (HEIGHT, WIDTH)),
        "checkerboard": (x + y) % 2,
        "coarse checkerboard": (x // 3 + y // 3) % 2,
        "stripes": x % 2,
        "stripes two wide": x // 2 % 2,
        "rows two high": y // 2 % 2,
        "squares four wide": (x // 4 % 2) ^ (y // 4 % 2),
        "lines at block borders": x % 8 == 7,
        "edges at block borders": x % 16 < 8,
        "every third pixel": (x % 3 == 0) & (y % 3 == 0),
        "diagonals": (x + y) % 3 == 0,
        "sparse dots": rng.random((HEIGHT, WIDTH)) < 0.05,
        "sparse holes": rng.random((HEIGHT, WIDTH)) > 0.05,
        "ramp": x / WIDTH,
    }


def _levels(picture: NDArray[np.float64], low: int = 0, high: int = 255, bits: int = 8) -> Pixels:
    """Return a batch of one picture between two levels of 8 bits, at any depth."""
    values = np.rint((low + picture * (high - low)) / 255 * ((1 << bits) - 1))
    return values.astype(np.uint8 if bits == 8 else np.uint16)[None]


PICTURES = {name: _levels(picture)[0] for name, picture in _pictures().items()}
MODELS = ["lanczos", *(card.name for card in catalogue.available() if card.path and card.scale == 2)]


class _Faulty:
    """An upscaler that repeats pixels, and spoils chosen frames in the working precision, or always."""

    def __init__(self, spoil: dict[int, NDArray[np.uint8] | None], *, even_exact: bool = False) -> None:
        self._spoil = spoil
        self._even_exact = even_exact
        self.exact_calls = 0

    @property
    def card(self) -> ModelCard:
        return ModelCard(name="faulty", scale=2, domain="luma")

    @property
    def working(self) -> Working:
        return Working("fake", "CPU", "f32", 120.0)

    def upscale(self, lr: Pixels, *, bits: int = 8, exact: bool = False) -> Upscaled:  # noqa: ARG002
        self.exact_calls += exact
        hr = lr.repeat(2, axis=1).repeat(2, axis=2)
        finite = np.ones(len(lr), np.bool_)
        if exact and not self._even_exact:
            return Upscaled(hr, finite)
        for index, picture in self._spoil.items():
            where = 0 if exact else index
            finite[where] = picture is not None
            hr[where] = 0 if picture is None else picture
        return Upscaled(hr, finite)

    def close(self) -> None:
        """Hold nothing."""


@pytest.fixture(scope="module", params=MODELS)
def upscaler(request: pytest.FixtureRequest) -> Iterator[Upscaler]:
    """Give each x2 model that is shipped, and Lanczos."""
    with closing(load(catalogue.find(request.param, 2))) as loaded:
        yield loaded


@pytest.mark.parametrize(
    ("low", "high", "bits"),
    [
        (0, 255, 8), (0, 128, 8), (0, 63, 8), (0, 16, 8), (64, 192, 8), (128, 255, 8), (235, 255, 8),
        (0, 255, 10), (0, 16, 10), (235, 255, 10),
    ],
)  # fmt: skip
def test_legitimate_frames_are_never_redone(upscaler: Upscaler, low: int, high: int, bits: int) -> None:
    """Noise, checkerboards and single-pixel lines look like themselves after upscaling, at any two levels."""
    for name, picture in _pictures().items():
        _, redone = upscale_guarded(upscaler, _levels(picture, low, high, bits), bits=bits)

        assert () == redone, name


def _broken() -> dict[str, NDArray[np.uint8]]:
    """Return what a frame may be when a network, a tile or memory went wrong."""
    rng = np.random.default_rng(5)
    good = PICTURES["ramp"].repeat(2, axis=0).repeat(2, axis=1)
    tile = good.copy()
    tile[:64, 96:160] = 0
    return {
        "black": np.zeros_like(good),
        "white": np.full_like(good, 255),
        "noise": rng.integers(0, 256, good.shape).astype(np.uint8),
        "negative": 255 - good,
        "mirrored": good[:, ::-1].copy(),
        "one tile black": tile,
    }


@pytest.mark.parametrize("name", _broken())
def test_a_broken_frame_is_redone_in_f32(name: str) -> None:
    """Whatever is broken, the frame that is returned is the exact one and the others are untouched."""
    lr = np.stack([PICTURES["ramp"]] * 3)
    upscaler = _Faulty({1: _broken()[name]})

    pixels, redone = upscale_guarded(upscaler, lr, bits=8)

    assert np.array_equal(lr.repeat(2, axis=1).repeat(2, axis=2), pixels)
    assert [1] == [index for index, _ in redone]
    assert "% of white from the input" in redone[0][1]
    assert 1 == upscaler.exact_calls


def test_a_black_result_of_a_dark_picture_is_noticed() -> None:
    """The bound shrinks with the contrast of a frame, so night scenes are guarded too."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    lr = (12 + 6 * np.sin(x / 9) * np.cos(y / 7)).astype(np.uint8)[None]
    upscaler = _Faulty({0: np.zeros((2 * HEIGHT, 2 * WIDTH), np.uint8)})

    _, redone = upscale_guarded(upscaler, lr, bits=8)

    assert [0] == [index for index, _ in redone]


def test_a_frame_that_is_not_finite_is_redone_in_f32() -> None:
    """The network's own flag counts, even if the clipped pixels look right."""
    lr = PICTURES["black"][None]

    _, redone = upscale_guarded(_Faulty({0: None}), lr, bits=8)

    assert ((0, "values are not finite"),) == redone


def test_a_frame_that_stays_broken_ends_the_work_with_its_index() -> None:
    """No wrong frame is ever written."""
    lr = np.stack([PICTURES["ramp"]] * 3)

    with pytest.raises(UpscaleError, match="frame 2 of the batch is wrong even in f32: values are not finite"):
        upscale_guarded(_Faulty({2: None}, even_exact=True), lr, bits=8)


def test_frames_smaller_than_a_block_are_guarded() -> None:
    """One pixel is enough to be compared."""
    lr = np.full((1, 1, 1), 200, np.uint8)

    _, redone = upscale_guarded(_Faulty({0: np.zeros((2, 2), np.uint8)}), lr, bits=8)

    assert [0] == [index for index, _ in redone]


class _Generative(_Faulty):
    """The same, by a model that invents."""

    @property
    def card(self) -> ModelCard:
        return ModelCard(name="generative", scale=2, domain="luma", generative=True)


def test_a_generative_model_need_not_look_like_its_input() -> None:
    """Its black picture is taken as it is; the same from another model is computed again."""
    lr = _levels(_pictures()["noise"])
    spoiled = {0: np.zeros((2 * HEIGHT, 2 * WIDTH), np.uint8)}

    invented, redone = upscale_guarded(_Generative(spoiled), lr, bits=8)

    assert () == redone
    assert 0 == invented.max()
    assert [0] == [index for index, _ in upscale_guarded(_Faulty(spoiled), lr, bits=8)[1]]


def test_a_generative_model_that_is_not_finite_is_redone() -> None:
    """Broken values are broken in any model."""
    generative = _Generative({0: None})

    _, redone = upscale_guarded(generative, _levels(_pictures()["noise"]), bits=8)

    assert ((0, "values are not finite"),) == redone
    assert 1 == generative.exact_calls
