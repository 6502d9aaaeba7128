"""Weights of TSD-SR that are missing, damaged or somebody else's are refused by name before anything runs."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from upscale_server.errors import DeviceUnused, ModelInvalid, ModelMissing
from upscale_server.models import extras
from upscale_server.models.at_hand import tsdsr_options
from upscale_server.models.tsdsr.loading import load_tsdsr
from upscale_server.models.tsdsr.options import TsdsrOptions
from upscale_server.settings import Settings

if not extras.installed("tsdsr"):
    pytest.skip("the extra [tsdsr] is not installed", allow_module_level=True)

import diffusers
import torch
from safetensors.torch import load_file, save_file

from benchmarks.tsdsr_networks import REAL, TINY, random_networks, write_checkpoint
from tests.support import tsdsr
from tests.support.tsdsr import PART
from upscale_server.models.tsdsr import device, weights
from upscale_server.models.tsdsr.files import sha256_of

LORA = PART / "checkpoint" / "tsdsr" / "transformer.safetensors"


def test_weights_that_are_not_there_are_named() -> None:
    """The setting or the file, and where to read on."""
    with pytest.raises(ModelMissing, match="UPSCALE_TSDSR__SD3_DIR"):
        load_tsdsr(TsdsrOptions("", "b", "c"))
    with pytest.raises(ModelMissing, match=r"a/transformer/config\.json.* and 5 more"):
        load_tsdsr(TsdsrOptions("a", "b", "c"))


@pytest.fixture(scope="module")
def transformer() -> torch.nn.Module:
    """Give the base transformer of our part of the fixture."""
    folder = PART / "checkpoint" / "sd3" / "transformer"
    return diffusers.SD3Transformer2DModel.from_pretrained(str(folder), local_files_only=True)


def test_stable_diffusion_3_medium_has_the_published_targets_and_sizes() -> None:
    """266 and 31 modules have a pair; the constants take a third of 2.03 billion parameters away. No memory is used."""
    with torch.device("meta"):
        networks = random_networks(REAL, torch.device("meta"), torch.bfloat16)
    layers = (torch.nn.Linear, torch.nn.Conv2d)
    encoder = [name for name, module in networks.vae.encoder.named_modules() if isinstance(module, layers)]

    assert 31 == sum(weights.trained_in_vae(f"encoder.{name}") for name in encoder)
    assert 34_274_208 == sum(one.numel() for one in networks.vae.encoder.parameters())
    assert 49_545_475 == sum(one.numel() for one in networks.vae.decoder.parameters())
    assert 1_338_573_376 == sum(one.numel() for one in networks.transformer.parameters())
    # 49 layers that became constants had a pair too: norms of 24 blocks, two each, and the last.
    targets = [name for name, module in networks.transformer.named_modules() if isinstance(module, layers)]
    assert 266 - 49 == sum(map(weights.trained_in_transformer, targets))


def changed_lora(folder: Path, **tensors: torch.Tensor | None) -> Path:
    """Write the LoRA with tensors put in or, where None, taken out."""
    kept = load_file(LORA) | {key.replace("__", "."): value for key, value in tensors.items()}
    path = folder / "lora.safetensors"
    save_file({key: value for key, value in kept.items() if value is not None}, path)
    return path


def test_the_official_targets_are_found_in_the_networks(transformer: torch.nn.Module) -> None:
    """The rule for targets gives exactly the pairs that the file holds; the rank is the file's."""
    assert 4 == weights.check_lora(LORA, transformer, weights.trained_in_transformer)


def test_a_lora_that_lacks_a_pair_is_refused(transformer: torch.nn.Module, tmp_path: Path) -> None:
    """Peft would take it and leave a layer as it was."""
    path = changed_lora(tmp_path, transformer__pos_embed__proj__lora_A__weight=None)

    with pytest.raises(ModelInvalid, match=r"lacks 1 of 70 .*pos_embed\.proj\.lora_A"):
        weights.check_lora(path, transformer, weights.trained_in_transformer)


def test_a_lora_with_a_strange_key_is_refused(transformer: torch.nn.Module, tmp_path: Path) -> None:
    """An alpha, say, that would be passed over in silence."""
    path = changed_lora(tmp_path, transformer__pos_embed__proj__alpha=torch.ones(1))

    with pytest.raises(ModelInvalid, match=r"1 tensors that name no module.*pos_embed\.proj\.alpha"):
        weights.check_lora(path, transformer, weights.trained_in_transformer)


def test_a_lora_of_another_shape_is_refused(transformer: torch.nn.Module, tmp_path: Path) -> None:
    """The text says which tensor, what it has and what was expected."""
    path = changed_lora(tmp_path, transformer__proj_out__lora_B__weight=torch.ones(8, 4))

    with pytest.raises(ModelInvalid, match=r"proj_out\.lora_B\.weight has shape \(8, 4\); expected \(64, 4\)"):
        weights.check_lora(path, transformer, weights.trained_in_transformer)


def test_a_damaged_lora_is_refused(transformer: torch.nn.Module, tmp_path: Path) -> None:
    """Half a download is no model."""
    path = tmp_path / "half.safetensors"
    path.write_bytes(LORA.read_bytes()[:5000])

    with pytest.raises(ModelInvalid, match="no readable safetensors file"):
        weights.check_lora(path, transformer, weights.trained_in_transformer)


class _Runs:
    """A pickle of it calls something."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("run",)


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        (torch.ones(1, 13, 47), r"shape \(1, 13, 47\); expected"),
        (torch.ones(2, 13, 48), r"shape \(2, 13, 48\); expected"),
        (torch.ones(48), r"shape \(48,\); expected"),
        (torch.full((1, 13, 48), float("nan")), "not finite"),
        ({"prompt": torch.ones(1)}, "holds a dict"),
        (_Runs(), "no tensor saved by torch.save"),
    ],
)
def test_embeddings_that_do_not_fit_are_refused(stored: object, message: str, tmp_path: Path) -> None:
    """Shape, values and kind are checked, and no pickle is run."""
    torch.save(stored, tmp_path / "prompt_embeds.pt")

    with pytest.raises(ModelInvalid, match=message):
        weights.embedding(tmp_path / "prompt_embeds.pt", 48, rank=3)


def test_an_embedding_without_a_batch_axis_is_taken(tmp_path: Path) -> None:
    """Both ways of saving are in use."""
    torch.save(torch.ones(13, 48, dtype=torch.float16), tmp_path / "prompt_embeds.pt")

    found = weights.embedding(tmp_path / "prompt_embeds.pt", 48, rank=3)

    assert ((1, 13, 48), torch.float32) == (tuple(found.shape), found.dtype)


def test_a_whole_set_loads_and_says_what_it_is() -> None:
    """Facts are read back: device, number format as torch spells it, digests; pins are held against them."""
    tsdsr.whole()
    options = tsdsr.cases()["x4_48x40"].options()
    digest = sha256_of(Path(options.embeddings_dir) / "prompt_embeds.pt")

    facts = load_tsdsr(replace(options, prompt_sha256=digest.upper())).facts

    assert (True, True, "cpu", "torch.float32") == (facts.transformer, facts.vae, facts.device, facts.dtype)
    assert ("prompt_embeds.pt", digest) in facts.sha256s
    with pytest.raises(ModelInvalid, match="pinned is"):
        load_tsdsr(replace(options, pooled_sha256="0" * 64))


def test_what_a_benchmark_writes_is_loaded_as_weights_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each layer that was trained has its pair; a LoRA that is zero leaves the networks as they are."""
    for name, value in write_checkpoint(TINY, tmp_path).items():
        monkeypatch.setenv(name, value)
    options = tsdsr_options(Settings())

    model = load_tsdsr(replace(options, device="cpu"))

    assert (True, True) == (model.facts.transformer, model.facts.vae)
    assert (1, 48, 64, 3) == model.at(4, 64).upscale(np.zeros((1, 12, 16, 3), np.uint8)).pixels.shape


def test_a_base_model_of_another_kind_is_refused(tmp_path: Path) -> None:
    """SD3.5 has more attention, another VAE other latents; the value that is wrong is named."""
    tsdsr.whole()
    options = tsdsr.cases()["x4_48x40"].options()
    shutil.copytree(options.sd3_dir, tmp_path / "sd3", copy_function=shutil.copyfile)
    config = tmp_path / "sd3" / "vae" / "config.json"
    config.write_text(config.read_text().replace("1.5305", "0.18215"))

    with pytest.raises(ModelInvalid, match=r"scaling_factor is 0\.18215; expected 1\.5305"):
        load_tsdsr(replace(options, sd3_dir=str(tmp_path / "sd3")))


def test_a_gpu_that_is_not_here_is_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who names a device gets it or an error; `auto` takes what there is."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    assert "cpu" == device.chosen_device("auto").type
    with pytest.raises(DeviceUnused, match="asked to run on cuda"):
        device.chosen_device("cuda")
