"""Luma is what the published tables measure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.pictures import luma_of, read_luma, read_manifest


def test_luma_is_limited_range_bt601() -> None:
    """Black is 16, white is 235, and green weighs most (the figures of MATLAB's rgb2ycbcr)."""
    rgb = np.array([[[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)

    assert luma_of(rgb)[0] == pytest.approx([16.0, 235.0, 81.481, 144.553, 40.966], abs=1e-3)


def test_gray_pictures_have_luma_too(tmp_path: Path) -> None:
    """A one-channel file is read like a gray RGB file."""
    Image.new("L", (4, 2), 255).save(tmp_path / "white.png")

    assert read_luma(tmp_path / "white.png").tolist() == [[235] * 4] * 2


def test_the_manifest_names_every_crop_of_both_folders(tmp_path: Path) -> None:
    """File, source and licence, in file order."""
    for folder, name in (("train", "a.webp"), ("train_luma", "b.webp")):
        text = f"file\trepository\tpath\tlicence\n{name}\towner/repo\tdir/{name}\tCC0\n"
        (tmp_path / f"{folder}.tsv").write_text(text, encoding="utf-8")

    found = read_manifest(tmp_path)

    assert [picture.file for picture in found] == [tmp_path / "train/a.webp", tmp_path / "train_luma/b.webp"]
    assert {picture.licence for picture in found} == {"CC0"}
