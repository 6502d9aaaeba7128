"""Reference mode gives what the official TSD-SR script gives: tensor by tensor and picture by picture.

The whole fixture needs `../shared`; what our part of it holds is tested everywhere.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support import tsdsr
from tests.support.tsdsr import PART, Case

tsdsr.need_torch()

import torch

from upscale_server.media.types import Size
from upscale_server.models.tsdsr import colour, pixels, weights
from upscale_server.models.tsdsr.constants import fix_constants
from upscale_server.models.tsdsr.networks import merge
from upscale_server.models.tsdsr.prediction import predict
from upscale_server.models.tsdsr.stages import Made, Request, Stages
from upscale_server.models.tsdsr.tiles import plan_tiles
from upscale_server.models.tsdsr.tiles import weights as tile_weights

CPU = torch.device("cpu")
TENSOR_TOLERANCE = 1e-4
"""Float32 in another order of sums: 2.6e-5 was measured for an independent implementation; mistakes begin at 0.09."""

PICTURE_LIMITS = {"none": (2, 75.0), "wavelet": (2, 75.0), "adain": (4, 70.0)}
"""Levels and dB: a difference of 1e-5 that crosses a truncation is a level, and AdaIN stretches it."""

LEAST_BFLOAT16_PSNR = 38.0
"""dB; random networks amplify rounding, 42 dB were measured for an independent implementation."""

NAMES = ("x4_48x40", "x2_96x64", "x2_33x57_round", "x2_150x117_tile", "x2_150x117_vae")
RESULTS = [(name, "sample", align) for name in NAMES for align in ("none", "wavelet", "adain")]
RESULTS += [(name, "mode", align) for name in NAMES for align in ("none", "wavelet")]


def made(case: Case, posterior: str, dtype: str = "float32", networks: Any = None) -> Made:
    """Take a case's picture through the networks."""
    model = tsdsr.model_of(networks or tsdsr.networks_of(dtype), case.options(dtype=dtype))
    picture = case.picture()
    geometry = model.geometry(Size(picture.shape[1], picture.shape[0]), case.facts["upscale"], case.facts["process_size"])
    stored = case.tensors(posterior).get("noise")
    noise = None if stored is None or posterior == "mode" else torch.from_numpy(stored)
    return model.made(pixels.values_of(picture, 255, CPU), Request(geometry, noise))


def tensors(found: Made) -> dict[str, torch.Tensor]:
    """Return what was made by the fixture's names."""
    return {
        "pixel_values": found.given, "posterior_mean": found.mean, "posterior_std": found.deviation,
        "latent": found.latent, "model_pred": found.prediction, "latent_out": found.latent - found.prediction,
        "decoded": found.decoded,
    }  # fmt: skip


def farthest(expected: dict[str, NDArray[np.float32]], found: dict[str, torch.Tensor]) -> float:
    """Return the largest difference of any tensor that the fixture holds."""
    shared = expected.keys() & found.keys()
    return max(float(np.abs(expected[name] - found[name].numpy()).max()) for name in shared)


@pytest.mark.parametrize("posterior", ["sample", "mode"])
@pytest.mark.parametrize("name", NAMES)
def test_every_tensor_is_the_official_one(name: str, posterior: str) -> None:
    """Input, distribution, latent, prediction, update and decoded picture agree in float32."""
    tsdsr.whole()
    case = tsdsr.cases()[name]

    assert farthest(case.tensors(posterior), tensors(made(case, posterior))) <= TENSOR_TOLERANCE


@pytest.mark.parametrize(("name", "posterior", "align"), RESULTS)
def test_every_picture_is_the_official_one(name: str, posterior: str, align: str) -> None:
    """The whole way, through the same door as a request, ends in the official bytes but for truncations on the edge."""
    tsdsr.whole()
    case = tsdsr.cases()[name]
    model = tsdsr.model_of(tsdsr.networks_of("float32"), case.options(align=align))
    expected = case.result(posterior, align)

    view = model.at(case.facts["upscale"], case.facts["process_size"], case.seed(posterior))
    found = view.upscale(case.picture()[None]).pixels[0]

    levels, least = PICTURE_LIMITS[align]
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

    assert tsdsr.psnr(case.result("mode", "none"), found) >= LEAST_BFLOAT16_PSNR


def test_a_seed_draws_the_recorded_noise() -> None:
    """The noise of a request is torch's own for that seed, on the CPU in float32."""
    case = tsdsr.cases()["x2_33x57_round"]
    expected = case.tensors("sample", PART)["noise"]

    generator = torch.Generator().manual_seed(case.facts["seed"])

    assert np.array_equal(expected, torch.randn(expected.shape, generator=generator).numpy())


@pytest.fixture(scope="module")
def transformer() -> Any:
    """Give the transformer of our part of the fixture, merged and with its constants fixed."""
    import diffusers

    folder = PART / "checkpoint" / "sd3" / "transformer"
    found = diffusers.SD3Transformer2DModel.from_pretrained(str(folder), local_files_only=True).float().eval()
    merge(found, PART / "checkpoint" / "tsdsr" / "transformer.safetensors")
    prompt = weights.embedding(PART / "embeddings" / "prompt_embeds.pt", 48, rank=3)
    fix_constants(found, prompt, weights.embedding(PART / "embeddings" / "pool_embeds.pt", 40, rank=2))
    return found


@pytest.mark.parametrize(("name", "posterior"), [("x2_33x57_round", "sample"), ("x2_150x117_tile", "mode")])
def test_our_part_alone_holds_the_prediction_to_the_official_one(transformer: Any, name: str, posterior: str) -> None:
    """One call and nine blended tiles; runs without the whole fixture."""
    case = tsdsr.cases()[name]
    stored = case.tensors(posterior, PART)
    latent = torch.from_numpy(stored["latent"])
    grid = plan_tiles(*latent.shape[2:], case.facts["latent_tile"], case.facts["latent_overlap"], 64)

    with torch.inference_mode():
        found = predict(transformer, latent, grid, tile_batch=4)

    assert np.abs(stored["model_pred"] - found.numpy()).max() <= TENSOR_TOLERANCE


@pytest.mark.parametrize("align", ["none", "wavelet", "adain"])
def test_our_part_alone_holds_the_finish_to_the_official_one(align: str) -> None:
    """From the decoded picture to the file's pixels; runs without the whole fixture."""
    case = tsdsr.cases()["x2_33x57_round"]
    decoded = torch.from_numpy(case.tensors("sample", PART)["decoded"])
    model = tsdsr.model_of(tsdsr.tiny_networks(), case.options(align=align))
    picture = case.picture(PART)
    geometry = model.geometry(Size(33, 57), 2, 64)
    stages = Stages(model._networks, model._options, model._stages(geometry).point, lambda _: None)

    found = stages.finished_as_reference(picture, Made(*(decoded,) * 6, finite=True), geometry)

    # No network runs here: only AdaIN's and the wavelet's sums can fall on the other side of a truncation.
    assert np.abs(case.result("sample", align, PART).astype(int) - found).max() <= 1


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

    clamped = {name: (0.0, 1.0) for name in ("wavelet", "adain")}
    for name, values in found.items():
        expected = np.clip(2 * units[name] - 1, -1, 1) if name.startswith("resize") else units[name]
        # Five blurs in another order of sums: 1e-6 of white.
        assert np.abs(np.clip(expected, *clamped.get(name, (-2.0, 2.0))) - values.numpy()).max() <= 2e-6
    for side in (10, 16, 64):
        assert np.allclose(units[f"gauss{side}"], tile_weights(side), rtol=1e-12, atol=0)
