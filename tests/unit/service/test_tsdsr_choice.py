"""Which model the image server takes: what `auto` means here, and what it says about it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.image_served import image_settings
from upscale_server.errors import BadRequest, MissingExtra, ModelMissing
from upscale_server.events import ignore
from upscale_server.image_settings import Tsdsr
from upscale_server.media.image import load_bytes
from upscale_server.media.types import Size
from upscale_server.models.at_hand import tsdsr_options
from upscale_server.service import gpu_facts, picture_models, tsdsr_models
from upscale_server.service.picture_facts import Ask
from upscale_server.service.tsdsr_models import TsdsrModels, open_tsdsr, why_not
from upscale_server.settings import Settings

FILES = (
    "sd3/transformer/config.json",
    "sd3/transformer/diffusion_pytorch_model.safetensors",
    "sd3/vae/config.json",
    "sd3/vae/diffusion_pytorch_model.safetensors",
    "lora/transformer.safetensors",
    "lora/vae.safetensors",
    "embeddings/prompt_embeds.pt",
    "embeddings/pool_embeds.pt",
)


def settings_with(folder: Path, device: str = "auto", model: str = "auto") -> Settings:
    """Return settings whose weights are files of the right names; nothing is loaded from them here."""
    for name in FILES:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    places = {f"{name}_dir": str(folder / name) for name in ("sd3", "lora", "embeddings")}
    return image_settings(folder / "state", image={"model": model}, tsdsr=Tsdsr(**places, device=device))


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Note how TSD-SR would be opened; loading it is tested where torch is."""
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(tsdsr_models, "open_tsdsr", lambda settings, **more: asked.append({"of": settings, **more}))
    monkeypatch.setattr(tsdsr_models, "require", lambda *_: None)
    monkeypatch.setattr(tsdsr_models, "version", lambda _: "2.13.0+cu130")
    return asked


def gpus(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Have the machine these GPUs."""
    monkeypatch.setattr(gpu_facts, "nvidia_gpus", lambda: names)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_auto_is_tsdsr_where_weights_and_a_gpu_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened: list[dict[str, Any]]
) -> None:
    """And the GPU is then demanded: it is why the model was chosen."""
    gpus(monkeypatch, "NVIDIA A100")

    picture_models.open_models(settings_with(tmp_path))

    assert [True] == [one["chosen_for_gpu"] for one in opened]


@pytest.mark.slow
@pytest.mark.parametrize(("device", "chosen"), [("auto", False), ("cpu", True)])
def test_auto_without_a_gpu_is_tsdsr_only_where_the_cpu_is_asked_for(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    opened: list[dict[str, Any]],
    device: str,
    chosen: bool,  # noqa: FBT001 - a case
) -> None:
    """`--device cpu` is the asking; otherwise the built-in network runs and `/info` says why."""
    gpus(monkeypatch)

    models = picture_models.open_models(settings_with(tmp_path, device))

    assert chosen == bool(opened)
    if not chosen:
        assert "fast-clean" == models.facts.name
        assert "there is no GPU" in dict(models.facts.details)["tsdsr"]
        models.close()


@pytest.mark.slow
@pytest.mark.parametrize("visible", ["", "-1", "none"])
def test_auto_with_hidden_gpus_is_the_built_in_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened: list[dict[str, Any]], visible: str
) -> None:
    """A GPU that CUDA_VISIBLE_DEVICES hides is none: the server starts, and says why it is not TSD-SR."""
    gpus(monkeypatch, "NVIDIA A100")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    models = picture_models.open_models(settings_with(tmp_path))
    models.close()

    assert [] == opened
    assert "there is no GPU" in dict(models.facts.details)["tsdsr"]


@pytest.mark.slow
def test_auto_with_a_torch_for_the_cpu_beside_a_gpu_is_the_built_in_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened: list[dict[str, Any]]
) -> None:
    """Nobody has asked for a GPU by name, so the start does not fail; `/info` says what to install."""
    gpus(monkeypatch, "NVIDIA A100")
    monkeypatch.setattr(tsdsr_models, "version", lambda _: "2.13.0+cpu")

    models = picture_models.open_models(settings_with(tmp_path))
    models.close()

    assert [] == opened
    assert "torch 2.13.0+cpu is built for the CPU" in dict(models.facts.details)["tsdsr"]
    assert "" == why_not(settings_with(tmp_path, "cuda"))


def test_weights_that_are_not_all_there_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty settings by their variables, missing files by their paths."""
    gpus(monkeypatch, "NVIDIA A100")
    settings = settings_with(tmp_path)
    gone = tmp_path / "lora" / "vae.safetensors"
    gone.unlink()

    assert str(gone) in why_not(settings)
    assert "UPSCALE_TSDSR__SD3_DIR" in why_not(image_settings(tmp_path))


def test_packages_that_are_missing_are_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`auto` goes on with the built-in network and names the extra."""

    def refuse(*_: object) -> None:
        raise MissingExtra("TSD-SR needs the extra [tsdsr], which is not installed")

    gpus(monkeypatch, "NVIDIA A100")
    monkeypatch.setattr(tsdsr_models, "require", refuse)

    assert "the extra [tsdsr]" in why_not(settings_with(tmp_path))


def test_whoever_asks_hears_where_memory_did_not_suffice() -> None:
    """The observer that becomes `X-Warnings` is the one that the loaded model tells."""
    asked: list[tuple[object, ...]] = []
    facts = SimpleNamespace(
        mode="exact", tile_batch=1, transformer=True, vae=True, device="cpu", dtype="torch.float32", sha256s=()
    )
    loaded: Any = SimpleNamespace(facts=facts, at=lambda *given: asked.append(given))

    TsdsrModels(loaded).at(Ask(2, 128, 7), Size(8, 8), ignore)

    assert [(2, 128, 7, ignore)] == asked


def test_tsdsr_by_name_is_that_or_nothing(tmp_path: Path) -> None:
    """Without weights the start fails, and no other model takes its place."""
    with pytest.raises((ModelMissing, MissingExtra)):
        picture_models.open_models(image_settings(tmp_path, image={"model": "tsdsr"}))


def test_a_tile_and_its_overlap_must_go_together(tmp_path: Path) -> None:
    """Checked before anything is loaded."""
    with pytest.raises(BadRequest, match="latent overlap is 64"):
        tsdsr_options(image_settings(tmp_path, tsdsr=Tsdsr(latent_overlap=64)))


def test_the_real_model_behind_the_seam(tmp_path: Path, repository: Path) -> None:
    """A tiny TSD-SR in the real layout: its facts, the exact size, the same bytes twice, others by a seed."""
    pytest.importorskip("diffusers", reason="the extra [tsdsr] is not installed here")
    fixture = repository.parent / "shared" / "fixtures" / "tsdsr"
    if not fixture.is_dir():
        pytest.skip(f"there is no tiny TSD-SR at {fixture}")
    from upscale_server.service.picture_work import Wish, make  # noqa: PLC0415 - beside its only use
    from upscale_server.settings import Limits  # noqa: PLC0415 - the same

    places = Tsdsr(
        sd3_dir=str(fixture / "checkpoint/sd3"),
        lora_dir=str(fixture / "checkpoint/tsdsr"),
        embeddings_dir=str(fixture / "embeddings"),
        device="cpu",
    )
    sent = min((fixture / "inputs").glob("*.png")).read_bytes()
    models: TsdsrModels = open_tsdsr(image_settings(tmp_path, tsdsr=places), chosen_for_gpu=True)

    made = [
        make(partial(load_bytes, sent, "in"), "in", Wish(Ask(2, 128, seed)), models, Limits()).content
        for seed in (None, None, 7)
    ]
    models.close()

    assert (True, True, "cpu", "torch.float32") == (
        models.facts.transformer, models.facts.vae, models.facts.device, models.facts.dtype,
    )  # fmt: skip
    assert made[0] == made[1] != made[2]
