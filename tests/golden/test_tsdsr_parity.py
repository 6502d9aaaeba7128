"""Reference mode gives what the official TSD-SR script gives: tensor by tensor and picture by picture.

The whole fixture needs `../shared`; what our part of it holds is tested everywhere.
"""

from __future__ import annotations

import numpy as np
import pytest

from upscale_server.models.extras import installed

if not installed("tsdsr"):
    pytest.skip("the extra [tsdsr] is not installed", allow_module_level=True)

import torch

from tests.support import tsdsr
from tests.support import tsdsr_parity as parity
from tests.support.tsdsr import PART
from upscale_server.media.types import Size
from upscale_server.models.tsdsr import colour, pixels
from upscale_server.models.tsdsr.tiles import weights as tile_weights

pytestmark = pytest.mark.integration

NAMES = ("x4_48x40", "x2_96x64", "x2_33x57_round", "x2_150x117_tile", "x2_150x117_vae")
RESULTS = [(name, "sample", align) for name in NAMES for align in ("none", "wavelet", "adain")]
RESULTS += [(name, "mode", align) for name in NAMES for align in ("none", "wavelet")]


@pytest.mark.parametrize("posterior", ["sample", "mode"])
@pytest.mark.parametrize("name", NAMES)
def test_every_tensor_is_the_official_one(name: str, posterior: str) -> None:
    """Input, distribution, latent, prediction, update and decoded picture agree in float32."""
    tsdsr.whole()
    case = tsdsr.cases()[name]

    assert (
        parity.farthest(case.tensors(posterior), parity.tensors(parity.made(case, posterior)))
        <= parity.TENSOR_TOLERANCE
    )


@pytest.mark.parametrize(("name", "posterior", "align"), RESULTS)
def test_every_picture_is_the_official_one(name: str, posterior: str, align: str) -> None:
    """The whole way, through the same door as a request, ends in the official bytes but for truncations on the edge."""
    tsdsr.whole()
    case = tsdsr.cases()[name]
    model = tsdsr.model_of(tsdsr.networks_of("float32"), case.options(align=align))
    expected = case.result(posterior, align)

    view = model.at(case.facts["upscale"], case.facts["process_size"], case.seed(posterior))
    found = view.upscale(case.picture()[None]).pixels[0]

    levels, least = parity.PICTURE_LIMITS[align]
    assert expected.shape == found.shape
    assert np.abs(expected.astype(int) - found).max() <= levels
    assert tsdsr.psnr(expected, found) >= least


@pytest.mark.parametrize("name", ["x4_48x40", "x2_150x117_tile"])
def test_bfloat16_stays_near_the_float32_picture(name: str) -> None:
    """The number format of GPUs, computed on the CPU, keeps the picture."""
    tsdsr.whole()
    case = tsdsr.cases()[name]
    model = tsdsr.model_of(tsdsr.networks_of("bfloat16"), case.options(align="none", dtype="bfloat16"))

    found = model.at(case.facts["upscale"], case.facts["process_size"]).upscale(case.picture()[None]).pixels[0]

    assert tsdsr.psnr(case.result("mode", "none"), found) >= parity.LEAST_BFLOAT16_PSNR


def test_a_seed_draws_the_recorded_noise() -> None:
    """The noise of a request is torch's own for that seed, on the CPU in float32."""
    case = tsdsr.cases()["x2_33x57_round"]
    expected = case.tensors("sample", PART)["noise"]

    generator = torch.Generator().manual_seed(case.facts["seed"])

    assert np.array_equal(expected, torch.randn(expected.shape, generator=generator).numpy())


@pytest.mark.parametrize(("name", "posterior"), [("x2_33x57_round", "sample"), ("x2_150x117_tile", "mode")])
def test_our_part_alone_holds_the_prediction_to_the_official_one(name: str, posterior: str) -> None:
    """One call and nine blended tiles; runs without the whole fixture."""
    assert parity.prediction_error(parity.transformer(), name, posterior) <= parity.TENSOR_TOLERANCE


@pytest.mark.parametrize("align", ["none", "wavelet", "adain"])
def test_our_part_alone_holds_the_finish_to_the_official_one(align: str) -> None:
    """From the decoded picture to the file's pixels; runs without the whole fixture."""
    expected, found = parity.finished(align)

    assert np.abs(expected.astype(int) - found).max() <= parity.PICTURE_LIMITS[align][0]
    assert tsdsr.psnr(expected, found) >= parity.LEAST_FINISH_PSNR


def test_single_functions_are_the_official_ones() -> None:
    """Wavelet halves, AdaIN, tile weights and the input's resizing, each alone."""
    with np.load(PART / "expected" / "units.npz") as stored:
        units = dict(stored)
    content, style, small = (torch.from_numpy(units[name]) for name in ("content", "style", "resize_in"))

    found = {
        "content_low": colour.low(content),
        "content_high": content - colour.low(content),
        "wavelet": colour.wavelet(content, style),
        "adain": colour.adain(content, style),
        # The input's resizing goes on to -1..1, clamped.
        "resize_26x34": pixels.network_input(small, Size(34, 26), Size(34, 26)),
        "resize_48x64": pixels.network_input(small, Size(64, 48), Size(64, 48)),
    }

    clamped = dict.fromkeys(("wavelet", "adain"), (0.0, 1.0))
    for name, values in found.items():
        expected = np.clip(2 * units[name] - 1, -1, 1) if name.startswith("resize") else units[name]
        # Five blurs in another order of sums: 1e-6 of white.
        assert np.abs(np.clip(expected, *clamped.get(name, (-2.0, 2.0))) - values.numpy()).max() <= 2e-6
    for side in (10, 16, 64):
        assert np.allclose(units[f"gauss{side}"], tile_weights(side), rtol=1e-12, atol=0)
