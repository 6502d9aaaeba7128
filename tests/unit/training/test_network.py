"""The branches collapse to the kernel that is trained and shipped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs PyTorch (extra [train])")

from training.layers import Shape  # noqa: E402  after the skip
from training.machine import describe  # noqa: E402
from training.network import BranchedConv, Network  # noqa: E402
from training.shards import Pairs, PatchSampler  # noqa: E402
from training.train import Slot, learning_rate_at, train  # noqa: E402
from training.watch import upscale  # noqa: E402
from training.weights import History, load_checkpoint, save_checkpoint  # noqa: E402


def test_the_collapsed_layers_compute_what_the_network_computes() -> None:
    """Same picture through branches and through plain kernels, in float32 (rounding only)."""
    torch.manual_seed(1)
    network = Network(Shape(8, 2, 2))
    lr = torch.rand(2, 1, 12, 14)

    with torch.no_grad():
        expected = network(lr)
        found = upscale(lr, network.layers(), 2)

    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_loading_layers_reproduces_them_exactly_enough() -> None:
    """The plain branch takes what the others leave."""
    torch.manual_seed(1)
    source, target = Network(Shape(8, 2, 2)), Network(Shape(8, 2, 2))

    target.load(source.layers())

    for found, expected in zip(target.layers(), source.layers(), strict=True):
        np.testing.assert_allclose(found.kernel, expected.kernel, atol=1e-6)
        np.testing.assert_allclose(found.bias, expected.bias, atol=1e-6)


def test_kernels_are_collapsed_in_float32_under_autocast() -> None:
    """A bf16 sum of branches would lose the small edge branches."""
    conv = BranchedConv(8, 8)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert conv.kernel().dtype == torch.float32


def test_the_numbers_of_the_fast_network() -> None:
    """Worked by hand: 288 + 4 x 9216 + 1152 MACs; one pixel of reach per convolution."""
    shape = Shape(32, 4, 2)

    assert shape.macs_per_pixel == 38304
    assert shape.parameters == 38468
    assert shape.receptive_field == 6


def test_the_learning_rate_warms_up_and_ends_near_zero() -> None:
    """Warm-up by steps, cosine by time, whatever the number of steps was."""
    assert learning_rate_at(0.0, 0, 1e-3) == pytest.approx(1e-3 / 200)
    assert learning_rate_at(0.0, 1000, 1e-3) == pytest.approx(1e-3)
    assert learning_rate_at(0.5, 1000, 1e-3) == pytest.approx(5e-4, rel=0.01)
    assert learning_rate_at(1.0, 1000, 1e-3) == pytest.approx(1e-6)


def test_a_short_slot_learns_and_hands_over_its_averages(tmp_path: Path) -> None:
    """Two seconds on a smooth scene beat the untrained network; the checkpoint gives the same layers back."""
    torch.manual_seed(1)
    y, x = np.mgrid[0:96, 0:96]
    hr = (127 + 80 * np.sin(x / 5) * np.cos(y / 7)).astype(np.uint8)[None]
    sampler = PatchSampler({"clean": Pairs(hr[:, ::2, ::2].copy(), hr)}, {"clean": 1.0}, lr_size=24, seed=1)
    network = Network(Shape(8, 1, 2))
    lr, target = (torch.from_numpy(array) for array in sampler.batch(8))
    before = float((upscale(lr, network.layers(), 2) - target).abs().mean())
    kept: list[tuple] = []

    slot = Slot(minutes=2 / 60, batch=4, device=torch.device("cpu"), learning_rate=1e-3, seed=1)
    train(network, sampler, slot, lambda *facts: kept.append(facts))
    layers, minutes, steps = kept[-1]
    save_checkpoint(tmp_path / "small.npz", layers, History(minutes=minutes, steps=steps))
    loaded, history = load_checkpoint(tmp_path / "small.npz")

    assert float((upscale(lr, layers, 2) - target).abs().mean()) < before
    assert history.steps == steps
    np.testing.assert_array_equal(loaded[0].kernel, layers[0].kernel)


def test_the_machine_has_a_name() -> None:
    """Cards say where they were trained."""
    assert "cores" in describe()
