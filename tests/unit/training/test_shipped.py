"""Every shipped model is what its card says."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest

from training.recipes import RECIPES

BUILTIN = Path(__file__).parents[3] / "src/upscale_server/models/builtin"
CARDS = sorted(BUILTIN.glob("*.json"))
PAGE = Path(__file__).parents[3] / "docs/models.md"


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.stem)
def test_a_card_agrees_with_its_file_and_recipe(path: Path) -> None:
    """Hash, size and counts; a stale card would make the package refuse the weights."""
    card = json.loads(path.read_text(encoding="utf-8"))
    weights = path.with_name(card["file"]).read_bytes()
    shape = RECIPES[path.stem].shape

    assert card["sha256"] == hashlib.sha256(weights).hexdigest()
    assert card["bytes"] == len(weights)
    assert (card["parameters"], card["macs_per_pixel"]) == (shape.parameters, shape.macs_per_pixel)
    assert card["receptive_field"] == shape.receptive_field
    assert card["scale"] == shape.scale
    assert card["licence"] == "Apache-2.0"


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.stem)
def test_card_page_and_evaluation_tell_the_same_figures(path: Path) -> None:
    """Weights that were replaced without measuring them again, or on one page only, are found."""
    card = json.loads(path.read_text(encoding="utf-8"))
    page = PAGE.read_text(encoding="utf-8")
    results = json.loads((PAGE.parent / "models/evaluation.json").read_text(encoding="utf-8"))["results"]
    tables = results[f"x{card['scale']}"]
    sets = [rows[card["name"]] for rows in tables["pictures"].values()]
    cells = [f"{row['psnr_y']:.2f} / {row['ssim_y']:.4f}" for row in sets]

    assert sets == [card["measured"][name] for name in tables["pictures"]]
    assert tables["held_out"]["mean"][card["name"]] == card["measured"]["held_out_clips_x264_ultrafast_crf23"]
    assert tables["footage"]["mean"][card["name"]] == card["measured"]["real_clips"]
    assert f"| {card['name']} | {' | '.join(cells)} |" in page
    # Minutes on the page are cut or rounded to whole ones.
    shown = re.search(rf"\| `{card['name']}` \| ×{card['scale']} \|.*\| (\d+) min \|", page)
    assert shown is not None
    assert float(shown[1]) == pytest.approx(card["trained_minutes"], abs=1)


@pytest.mark.slow
@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.stem)
def test_a_model_beats_lanczos_on_a_sharp_scene(path: Path) -> None:
    """A guard against a file with the right hash and the wrong weights, without any picture set."""
    pytest.importorskip("openvino")
    from training.metrics import psnr  # noqa: PLC0415
    from training.resize import bicubic, lanczos, to_bytes  # noqa: PLC0415
    from training.upscalers import onnx_contender  # noqa: PLC0415

    model = onnx_contender(path)
    y, x = np.mgrid[0:192, 0:192]
    discs = [((x - cx) ** 2 + (y - cy) ** 2 < r * r) for cx, cy, r in ((60, 70, 40), (130, 110, 45), (90, 150, 20))]
    hr = to_bytes(np.where(discs[0] ^ discs[1] ^ discs[2], 180.0, 60.0 + 0.2 * x))
    hr = to_bytes(bicubic(np.kron(hr, np.ones((4, 4))), 192, 192))
    lr = to_bytes(bicubic(hr, 192 // model.scale, 192 // model.scale))

    found = psnr(model.upscale(lr), hr, border=8)

    assert found > psnr(to_bytes(lanczos(lr, 192, 192)), hr, border=8) + 0.5


def test_no_card_is_without_weights_and_no_weights_without_card() -> None:
    """The folder is consistent, and no part file is left in it."""
    models = sorted(path.stem for path in BUILTIN.glob("*.onnx"))

    assert models == [path.stem for path in CARDS]
    assert not list(BUILTIN.glob(".*.part"))
