"""Each likely mistake in TSD-SR makes parity fail: twelve are planted, one at a time.

A parity test that no mistake can break proves nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from upscale_server.models.extras import installed

if not installed("tsdsr"):
    pytest.skip("the extra [tsdsr] is not installed", allow_module_level=True)

import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from tests.support import tsdsr
from tests.support import tsdsr_parity as parity
from tests.support.tsdsr import PART
from upscale_server.media.types import Size
from upscale_server.models.tsdsr import colour, pixels, prediction, stages, vae, vae_tiles

pytestmark = pytest.mark.integration

Plant = Callable[[pytest.MonkeyPatch], None]
TILED = ("x2_150x117_tile", "mode")


def _assert_prediction_fails(network: torch.nn.Module) -> None:
    assert parity.prediction_error(network, *TILED) > parity.TENSOR_TOLERANCE


def _without_patch_embedding(folder: Path) -> Path:
    kept = load_file(PART / "checkpoint" / "tsdsr" / "transformer.safetensors")
    path = folder / "transformer.safetensors"
    save_file({key: value for key, value in kept.items() if "pos_embed.proj" not in key}, path)
    return path


def test_lora_missing_on_the_patch_embedding_is_seen(tmp_path: Path) -> None:
    """Mistake 1: the one convolution among the transformer's targets is forgotten."""
    _assert_prediction_fails(parity.transformer(_without_patch_embedding(tmp_path)))


def test_timestep_999_is_seen() -> None:
    """Mistake 2: steps are counted from 0."""
    _assert_prediction_fails(parity.transformer(timestep=999.0))


def test_symmetric_tile_weights_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mistake 3: the official centre, t/2 down and (t - 1)/2 across, is "corrected"."""
    across = prediction.weights

    def symmetric(side: int) -> np.ndarray:
        middle = across(side)[side // 2]
        return np.outer(middle, middle)

    monkeypatch.setattr(prediction, "weights", symmetric)
    _assert_prediction_fails(parity.transformer())


def test_flat_tile_weights_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mistake 4: overlaps are averaged."""
    monkeypatch.setattr(prediction, "weights", lambda side: np.ones((side, side)))
    _assert_prediction_fails(parity.transformer())


def _round(monkeypatch: pytest.MonkeyPatch) -> None:
    truncated = pixels.truncated
    monkeypatch.setattr(pixels, "truncated", lambda values: truncated((values + 0.5 / 255).clamp(0, 1)))


def _lanczos(monkeypatch: pytest.MonkeyPatch) -> None:
    def fit(given: np.ndarray, size: Size) -> np.ndarray:
        return np.asarray(Image.fromarray(given).resize((size.width, size.height), Image.Resampling.LANCZOS))

    monkeypatch.setattr(pixels, "pillow_fit", fit)


def _biased(monkeypatch: pytest.MonkeyPatch) -> None:
    def moments(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        variance, mean = torch.var_mean(values, dim=(2, 3), keepdim=True, correction=0)
        return mean, (variance + 1e-5).sqrt()

    monkeypatch.setattr(colour, "_moments", moments)


@pytest.mark.parametrize(("plant", "align"), [(_round, "none"), (_lanczos, "wavelet"), (_biased, "adain")])
def test_a_mistake_in_finishing_is_seen(plant: Plant, align: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mistakes 5 to 7: rounding for truncation, Lanczos for bicubic, the biased variance."""
    plant(monkeypatch)

    expected, found = parity.finished(align)

    assert tsdsr.psnr(expected, found) < parity.LEAST_FINISH_PSNR


def _shift(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = vae.Vae.moments

    def shifted(self: vae.Vae, *given: object) -> tuple[torch.Tensor, torch.Tensor]:
        mean, deviation = moments(self, *given)
        return mean - 0.0609, deviation

    monkeypatch.setattr(vae.Vae, "moments", shifted)


def _antialias(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixels, "network_input", lambda values, size, _: 2 * pixels.fit(values, size) - 1)


def _add(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = vae.Vae.picture
    predicted: list[torch.Tensor] = []

    def kept(*given: object) -> torch.Tensor:
        predicted.append(prediction.predict(*given))
        return predicted[0]

    monkeypatch.setattr(stages, "predict", kept)
    monkeypatch.setattr(vae.Vae, "picture", lambda self, latent, how: picture(self, latent + 2 * predicted[0], how))


@pytest.mark.parametrize("plant", [_shift, _antialias, _add])
def test_a_mistake_between_input_and_decoding_is_seen(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mistakes 8 to 10: SD3's shift, an antialiased input, the prediction added instead of taken away."""
    tsdsr.whole()
    case = tsdsr.cases()["x2_33x57_round"]
    plant(monkeypatch)

    assert parity.farthest(case.tensors("sample"), parity.tensors(parity.made(case, "sample"))) > 0.01


def _untiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vae, "windows", lambda *_: ())


def _true_variance(monkeypatch: pytest.MonkeyPatch) -> None:
    normed = vae_tiles._normed

    def exact(given: vae_tiles.Tiles, norm: torch.nn.Module) -> vae_tiles.Tiles:
        pixel_counts = [tile.shape[2] * tile.shape[3] for tile in given]
        flat = torch.cat(
            [tile.reshape(norm.num_groups, -1, count) for tile, count in zip(given, pixel_counts, strict=True)], 2
        )
        channels = given[0].shape[1]
        whole = normed([flat.reshape(1, channels, 1, -1)], norm)[0]
        parts = whole.split(pixel_counts, dim=3)
        return [part.reshape(tile.shape) for part, tile in zip(parts, given, strict=True)]

    monkeypatch.setattr(vae_tiles, "_normed", exact)


@pytest.mark.parametrize("plant", [_untiled, _true_variance])
def test_a_mistake_in_the_tiled_vae_is_seen(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mistakes 11 and 12: the VAE's tiling ignored, and the true variance where the script leaves a term out."""
    tsdsr.whole()
    case = tsdsr.cases()["x2_150x117_vae"]
    plant(monkeypatch)
    model = tsdsr.model_of(tsdsr.networks_of("float32"), case.options())
    geometry = model.geometry(Size(150, 117), 2, 128)
    given = pixels.network_input(pixels.values_of(case.picture(), 255, parity.CPU), geometry.resized, geometry.padded)

    with torch.inference_mode():
        mean, _ = model._networks.vae.moments(given, vae.Holding(encoder_tile=128, decoder_tile=12))

    assert np.abs(case.tensors("sample")["posterior_mean"] - mean.numpy()).max() > 0.01
