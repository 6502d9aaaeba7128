"""Names and paths become cards, and files are held against their cards."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import tiny_models
from tests.support.tiny_models import Form
from upscale_server.errors import BadScale, ModelInvalid, ModelMissing
from upscale_server.models import catalogue
from upscale_server.models.catalogue import available, find, verify


@pytest.fixture
def builtin_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a folder with our models that a test may damage."""
    folder = tmp_path / "builtin"
    shutil.copytree(catalogue.BUILTIN, folder)
    monkeypatch.setattr(catalogue, "BUILTIN", folder)
    return folder


def test_every_built_in_model_is_found_by_family_and_by_stem() -> None:
    """What `upscale models` lists can be asked for."""
    ours = [card for card in available() if card.path]

    assert ours
    for card in ours:
        assert card == find(card.name, card.scale) == find(f"{card.name}-x{card.scale}", card.scale)


def test_every_built_in_file_is_what_its_card_says() -> None:
    """Hash, size and facts are those of the file that is shipped."""
    for card in (card for card in available() if card.path):
        verify(card)

        assert Path(card.path).stat().st_size == card.byte_count
        assert card.trained_on
        assert card.licence != "unknown"


def test_an_unknown_name_is_answered_with_what_there_is() -> None:
    """The message helps to find the right name."""
    with pytest.raises(ModelMissing, match=r"no model 'fastest' of scale 2; there are .*lanczos"):
        find("fastest", 2)


def test_a_scale_that_the_family_has_not_is_missing() -> None:
    """x7 is not silently another scale."""
    name = next(card.name for card in available() if card.path)

    with pytest.raises(ModelMissing, match="of scale 7"):
        find(name, 7)


@pytest.mark.parametrize("scale", [0, 9, -1])
def test_lanczos_refuses_scales_beyond_eight(scale: int) -> None:
    """The kernel without weights has limits too."""
    with pytest.raises(BadScale, match=f"scale is {scale}"):
        find("lanczos", scale)


def test_a_tampered_built_in_file_is_refused(builtin_copy: Path) -> None:
    """One changed byte in the weights is enough."""
    card = next(card for card in available() if card.path)
    weights = bytearray(Path(card.path).read_bytes())
    weights[len(weights) // 2] ^= 1
    Path(card.path).write_bytes(weights)

    with pytest.raises(ModelInvalid, match="its card says"):
        verify(card)
    assert Path(card.path).parent == builtin_copy


def test_a_lost_built_in_file_is_missing(builtin_copy: Path) -> None:
    """A card without weights does not count as a model."""
    card = next(card for card in available() if card.path)
    Path(card.path).unlink()

    with pytest.raises(ModelMissing, match=str(builtin_copy)):
        verify(card)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "\x00", '{"scale": 2, "file": "x.onnx"}', '{"name": "n", "scale": "2", "domain": "luma"}']
)
def test_a_damaged_card_is_named(builtin_copy: Path, text: str) -> None:
    """A broken JSON ends with its path, not with a KeyError."""
    (builtin_copy / "broken-x2.json").write_text(text, encoding="utf-8")

    with pytest.raises(ModelInvalid, match="broken-x2"):
        available()


def test_a_file_is_looked_at(tmp_path: Path) -> None:
    """A path needs no card: scale, channels, layout and hash are found out."""
    path = tiny_models.nearest(tmp_path / "mine.onnx", Form(scale=3, channels=3, layout="NHWC"))

    card = find(str(path), 2)

    assert ("mine", 3, "rgb", "NHWC", 1.0) == (card.name, card.scale, card.domain, card.layout, card.value_range)
    assert (64, path.stat().st_size) == (len(card.sha256), card.byte_count)


def test_the_card_beside_a_file_wins(tmp_path: Path) -> None:
    """What the owner of a model writes down is believed."""
    path = tiny_models.nearest(tmp_path / "mine.onnx", Form())
    said = {"name": "ours", "value_range": 255.0, "receptive_field": 40, "precisions": ["f32"], "licence": "MIT"}
    path.with_suffix(".json").write_text(json.dumps(said), encoding="utf-8")

    card = find(str(path), 2)

    assert ("ours", 255.0, 40, ("f32",), "MIT") == (
        card.name,
        card.value_range,
        card.receptive_field,
        card.precisions,
        card.licence,
    )


def test_a_hash_beside_a_file_is_held_against_it(tmp_path: Path) -> None:
    """A card with a hash protects any model, not ours alone."""
    path = tiny_models.nearest(tmp_path / "mine.onnx", Form())
    path.with_suffix(".json").write_text(json.dumps({"sha256": "0" * 64}), encoding="utf-8")

    with pytest.raises(ModelInvalid, match="its card says 0000"):
        find(str(path), 2)


def test_a_missing_file_is_missing(tmp_path: Path) -> None:
    """A path that leads nowhere says so, with the path."""
    with pytest.raises(ModelMissing, match=r"no model file .*nowhere\.onnx"):
        find(str(tmp_path / "nowhere.onnx"), 2)


@pytest.mark.slow
def test_listing_models_does_not_load_an_engine() -> None:
    """`upscale models` and `upscale plan` answer before OpenVINO would have started."""
    code = (
        "import sys; from upscale_server.models import catalogue, load; catalogue.available();"
        "sys.exit('openvino' in sys.modules)"
    )

    done = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": "src"}, cwd=_root(), check=False)

    assert 0 == done.returncode


def _root() -> Path:
    return Path(__file__).parents[3]
