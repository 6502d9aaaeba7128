"""Patches keep LR and HR together."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from training.shards import Pairs, PatchSampler, load_pairs, save_pairs


def nearest_pairs(scale: int) -> Pairs:
    """Pairs whose HR is LR with every sample repeated, so that alignment can be checked exactly."""
    lr = np.random.default_rng(1).integers(0, 256, (3, 20, 24), dtype=np.uint8)
    return Pairs(lr, lr.repeat(scale, axis=1).repeat(scale, axis=2))


def test_flips_and_turns_keep_lr_and_hr_aligned() -> None:
    """Every drawn HR patch is the repeated LR patch, whatever the orientation."""
    sampler = PatchSampler({"clean": nearest_pairs(2)}, {"clean": 1.0}, lr_size=8, seed=1)

    lr, hr = sampler.batch(32)

    assert lr.shape == (32, 1, 8, 8)
    np.testing.assert_array_equal(hr, lr.repeat(2, axis=2).repeat(2, axis=3))


def test_the_mix_decides_how_often_a_kind_is_drawn() -> None:
    """A weight of three to one, over 400 draws (5 standard deviations are 0.11)."""
    kinds = {
        "dark": Pairs(np.zeros((1, 8, 8), np.uint8), np.zeros((1, 16, 16), np.uint8)),
        "light": Pairs(np.full((1, 8, 8), 255, np.uint8), np.full((1, 16, 16), 255, np.uint8)),
    }
    sampler = PatchSampler(kinds, {"dark": 1.0, "light": 3.0}, lr_size=8, seed=1)

    lr, _ = sampler.batch(400)

    assert abs(float(lr.mean()) - 0.75) < 0.11


def test_stored_pairs_come_back(tmp_path: Path) -> None:
    """What is written is what is mapped, and no part file stays."""
    pairs = nearest_pairs(4)

    save_pairs(tmp_path, "clean", pairs)
    found = load_pairs(tmp_path, "clean")

    np.testing.assert_array_equal(found.lr, pairs.lr)
    np.testing.assert_array_equal(found.hr, pairs.hr)
    assert found.scale == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clean.hr.npy", "clean.lr.npy"]
