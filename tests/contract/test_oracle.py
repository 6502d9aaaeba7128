"""Every engine against arithmetic that is known exactly: a network that is bilinear enlargement and nothing else."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from tests.support import tiny_models
from tests.support.tiny_models import Form
from upscale_server.errors import ModelInvalid
from upscale_server.models import catalogue
from upscale_server.models.base import EngineOptions, Pixels
from upscale_server.models.extras import installed
from upscale_server.models.load import load, load_with

ENGINES = ("openvino", "onnxruntime")
FORMS = {
    "luma-x2": Form(),
    "luma-x3": Form(scale=3),
    "luma-x4-fixed": Form(scale=4, size=(24, 40)),
    "rgb-x2": Form(channels=3),
    "rgb-x3": Form(scale=3, channels=3),
}


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    """Give one engine after the other."""
    if not installed(request.param):
        pytest.skip(f"the extra [{request.param}] is not installed")
    return str(request.param)


def _picture(form: Form, height: int, width: int, bits: int) -> Pixels:
    colours = () if form.channels == 1 else (3,)
    levels = np.random.default_rng(height + bits).integers(0, 1 << bits, (1, height, width, *colours))
    return levels.astype(np.uint8 if bits == 8 else np.uint16)


def _weights(length: int, scale: int) -> np.ndarray:
    """Return the matrix that enlarges a line: sample i lies at `(i + 0.5) / scale - 0.5`, clamped at the ends."""
    place = np.clip((np.arange(length * scale) + 0.5) / scale - 0.5, 0, length - 1)
    low = np.minimum(place.astype(int), max(0, length - 2))
    matrix = np.zeros((length * scale, length))
    matrix[np.arange(len(place)), low] = 1 - (place - low)
    matrix[np.arange(len(place)), np.minimum(low + 1, length - 1)] += place - low
    return matrix


@pytest.mark.slow
@pytest.mark.parametrize("bits", [8, 10])
@pytest.mark.parametrize("size", [(40, 56), (17, 31)])
@pytest.mark.parametrize("name", FORMS)
def test_bilinear_is_what_arithmetic_says(
    engine: str, tmp_path: Path, name: str, size: tuple[int, int], bits: int
) -> None:
    """Every sample is the exact value, rounded: luma and RGB, even and odd sides, whole and in fixed windows."""
    form = FORMS[name]
    card = catalogue.find(str(tiny_models.bilinear(tmp_path / "bilinear.onnx", form)), form.scale)
    lr = _picture(form, *size, bits)
    down, across = _weights(size[0], form.scale), _weights(size[1], form.scale)
    exact = np.einsum("yh,xw,nhw...->nyx...", down, across, lr.astype(np.float64), optimize=True)

    with closing(load(card, engine=engine, precision="f32")) as loaded:
        found = loaded.upscale(lr, bits=bits).pixels

    # Half a level is rounding; f32 keeps 24 bits of a value, so that ten bits are off by less than 1e-3 of a level.
    assert np.abs(found - exact).max() <= 0.5 + 1e-3


def test_three_inputs_are_refused(tmp_path: Path) -> None:
    """The line names them."""
    with pytest.raises(ModelInvalid, match=r"takes 3 inputs \(lr, reference, noise\); expected one picture"):
        catalogue.find(str(tiny_models.several_inputs(tmp_path / "three.onnx", "lr", "reference", "noise")), 2)


def test_three_inputs_are_refused_even_when_a_card_says_otherwise(engine: str, tmp_path: Path) -> None:
    """A complete card is believed without a look; the engine still does not run with inputs made up."""
    path = tiny_models.several_inputs(tmp_path / "three.onnx", "lr", "reference", "noise")
    path.with_suffix(".json").write_text(
        '{"scale": 2, "domain": "luma", "value_range": 1.0, "receptive_field": 0, "size_multiple": 1}', "utf-8"
    )

    with pytest.raises(ModelInvalid, match="input"):
        load_with(catalogue.find(str(path), 2), engine, EngineOptions())
