"""The branches collapse to the kernel that is trained and shipped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs PyTorch (extra [train])")

from training.layers import Layer, Shape  # noqa: E402  after the skip
from training.machine import describe  # noqa: E402
from training.network import BranchedConv, Network  # noqa: E402
from training.shards import Pairs, PatchSampler  # noqa: E402
from training.train import Run, Slot, learning_rate_at, steps, train  # noqa: E402
from training.watch import upscale  # noqa: E402
from training.weights import History, load_checkpoint, save_checkpoint  # noqa: E402

PLAIN, SKIPS = Shape(8, 2, 2), Shape(8, 2, 2, skips=True)


@pytest.mark.parametrize("shape", [PLAIN, SKIPS])
def test_the_collapsed_layers_compute_what_the_network_computes(shape: Shape) -> None:
    """Same picture through branches and through plain kernels, in float32 (rounding only)."""
    torch.manual_seed(1)
    network = Network(shape)
    lr = torch.rand(2, 1, 12, 14)

    with torch.no_grad():
        expected = network(lr)
        found = upscale(lr, network.layers(), shape)

    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("shape", [PLAIN, SKIPS])
def test_loading_layers_reproduces_them_exactly_enough(shape: Shape) -> None:
    """The plain branch takes what the others leave."""
    torch.manual_seed(1)
    source, target = Network(shape), Network(shape)

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


def test_the_numbers_of_the_quality_network() -> None:
    """Worked by hand: 576 + (2 x 8 + 1) x 36864 + 2304 MACs; nineteen convolutions."""
    shape = Shape(64, 8, 2, skips=True)

    assert shape.macs_per_pixel == 629568
    assert shape.receptive_field == 19


def test_a_block_with_skips_of_silent_kernels_changes_nothing() -> None:
    """Where the body's kernels are nought, the tail sees what the first convolution found, by the long skip alone."""
    layers = [Layer(np.zeros((o, i, 3, 3), np.float32), np.zeros(o, np.float32)) for i, o in SKIPS.widths]
    layers[0].bias[:] = 0.25
    layers[-1].kernel[:, :, 1, 1] = 1 / 8

    found = upscale(torch.zeros(1, 1, 6, 6), layers, SKIPS)

    torch.testing.assert_close(found, torch.full((1, 1, 12, 12), 0.25))


def test_a_network_with_skips_starts_no_louder_than_its_input() -> None:
    """However many blocks: each starts as next to nothing."""
    torch.manual_seed(1)
    lr = torch.rand(1, 1, 16, 16)

    with torch.no_grad():
        found = Network(Shape(16, 16, 2, skips=True))(lr)

    assert float(found.abs().max()) < 3


def test_the_learning_rate_warms_up_and_ends_near_zero() -> None:
    """Warm-up by steps, cosine by time, whatever the number of steps was."""
    assert learning_rate_at(0.0, 0, 1e-3) == pytest.approx(1e-3 / 200)
    assert learning_rate_at(0.0, 1000, 1e-3) == pytest.approx(1e-3)
    assert learning_rate_at(0.5, 1000, 1e-3) == pytest.approx(5e-4, rel=0.01)
    assert learning_rate_at(1.0, 1000, 1e-3) == pytest.approx(1e-6)


def wavy() -> PatchSampler:
    """Give patches of a smooth scene."""
    y, x = np.mgrid[0:96, 0:96]
    hr = (127 + 80 * np.sin(x / 5) * np.cos(y / 7)).astype(np.uint8)[None]
    return PatchSampler({"clean": Pairs(hr[:, ::2, ::2].copy(), hr)}, {"clean": 1.0}, lr_size=24, seed=1)


def slot_of(seconds: float) -> Slot:
    """Give a slot of so many seconds."""
    return Slot(minutes=seconds / 60, batch=4, device=torch.device("cpu"), learning_rate=1e-3, seed=1)


def test_a_short_slot_learns_and_hands_over_its_averages(tmp_path: Path) -> None:
    """Two seconds on a smooth scene beat the untrained network; the checkpoint gives the same layers back."""
    torch.manual_seed(1)
    sampler, network = wavy(), Network(Shape(8, 1, 2))
    lr, target = (torch.from_numpy(array) for array in sampler.batch(8))
    before = float((upscale(lr, network.layers(), network.shape) - target).abs().mean())
    kept: list[Run] = []

    run = Run(network, History(), slot_of(2))
    train(run, sampler, slot_of(2), kept.append)
    layers = kept[-1].averaged.layers()
    save_checkpoint(tmp_path / "small.npz", layers, History(minutes=run.seconds / 60, steps=run.step))
    loaded, history = load_checkpoint(tmp_path / "small.npz")

    assert float((upscale(lr, layers, network.shape) - target).abs().mean()) < before
    assert history.steps == run.step
    np.testing.assert_array_equal(loaded[0].kernel, layers[0].kernel)


def test_a_slot_that_was_broken_off_goes_on_as_the_same_one(tmp_path: Path) -> None:
    """Weights, averages, the optimizer's memory, the clock and what had been trained before are all there again."""
    torch.manual_seed(1)
    first = Run(Network(PLAIN), History(minutes=5, steps=7), slot_of(60))
    for _, _ in zip(steps(first, wavy(), slot_of(60)), range(3), strict=False):
        pass
    first.curve.append((0.1, 30.0))
    first.save(tmp_path / "slot.unfinished")

    second = Run(Network(PLAIN), History(), slot_of(60))
    second.load(tmp_path / "slot.unfinished")
    clocks = first.seconds, second.seconds
    for run in (first, second):
        next(steps(run, wavy(), replace(slot_of(60), minutes=1e9)))

    assert (first.step, first.curve, first.past) == (second.step, second.curve, second.past)
    assert clocks[0] == clocks[1] > 0
    for one, other in zip(first.averaged.layers(), second.averaged.layers(), strict=True):
        np.testing.assert_array_equal(one.kernel, other.kernel)


def test_the_machine_has_a_name() -> None:
    """Cards say where they were trained."""
    assert "cores" in describe()
