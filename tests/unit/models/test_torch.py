"""What is particular to the torch engine: our own family natively, checkpoints, devices, precisions, memory, reach."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from tests.support import tiny_checkpoints, tiny_models
from tests.support.tiny_models import Form
from upscale_server.cli import check_engines
from upscale_server.errors import BadRequest, DeviceUnused, ModelInvalid, OutOfMemory, UpscaleError
from upscale_server.events import ignore
from upscale_server.media.types import Size
from upscale_server.models import catalogue, device
from upscale_server.models.base import EngineOptions, Pixels
from upscale_server.models.card import ModelCard
from upscale_server.models.choices import Points
from upscale_server.models.device import cpu_computes_bf16
from upscale_server.models.extras import installed
from upscale_server.models.ladder import at_working_point
from upscale_server.models.load import load
from upscale_server.models.trial import textured_picture
from upscale_server.models.versions import made_with
from upscale_server.models.working_point import WorkingPoint

if not installed("torch"):
    pytest.skip("the extra [torch] is not installed", allow_module_level=True)

import torch
from torch.nn import functional

from upscale_server.models.engines.torch import TorchUpscaler, costs, devices, inspection, lanes, reach
from upscale_server.models.engines.torch.architectures import described
from upscale_server.models.engines.torch.network import CheckpointNetwork, Copy, network_of
from upscale_server.models.engines.torch.pixels import Work

CPU = torch.device("cpu")
OURS = [card for card in catalogue.available() if card.path]


def _card(folder: Path, name: str) -> ModelCard:
    return catalogue.find(str(tiny_checkpoints.made(folder / f"{name}.safetensors")), 2)


def _opened(folder: Path, name: str, **options: object) -> TorchUpscaler:
    return TorchUpscaler(_card(folder, name), EngineOptions(**options), "torch")  # type: ignore[arg-type]


def _picture(height: int, width: int, channels: int, bits: int = 8) -> Pixels:
    """Return a batch of the textured picture."""
    levels = np.rint(textured_picture(height, width, channels) * ((1 << bits) - 1))
    batch = levels.astype(np.uint8 if bits == 8 else np.uint16)[None]
    return batch[..., 0] if channels == 1 else batch


@pytest.mark.parametrize("card", OURS, ids=lambda card: f"{card.name}-x{card.scale}")
@pytest.mark.parametrize("bits", [8, 10])
def test_our_own_family_gives_what_openvino_gives(card: ModelCard, bits: int) -> None:
    """The same weights, read out of the same file; sums in another order may round the other way."""
    lr = _picture(45, 62, 1, bits)

    with (
        closing(load(card, engine="openvino", precision="f32")) as one,
        closing(load(card, engine="torch", precision="f32")) as other,
    ):
        difference = one.upscale(lr, bits=bits).pixels.astype(int) - other.upscale(lr, bits=bits).pixels

    assert np.abs(difference).max() <= 1


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: tiny_models.nearest(path, Form()), "holds Interpolate"),
        (lambda path: tiny_models.convolutional(path, Form(), tail="resize_sum"), "holds Interpolate"),
        (tiny_models.unshuffling, "holds SpaceToDepth"),
        (tiny_models.not_finite_at_white, "not of our own family"),
        (lambda path: tiny_models.residual(path, Form(), end="relu"), "Relu stands behind Add"),
    ],
)
def test_an_onnx_of_another_family_is_refused_and_told_where_it_runs(tmp_path: Path, make, said: str) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001 - makers of several forms
    """Engine torch reads our own shape of network; what it does not know it does not guess."""
    path = tmp_path / "other.onnx"
    make(path)

    with pytest.raises(ModelInvalid, match=said) as caught:
        load(catalogue.find(str(path), 2), engine="torch")

    assert "openvino runs any ONNX" in str(caught.value.hint)


@pytest.mark.parametrize(
    "make",
    [
        lambda path: tiny_models.convolutional(path, Form(), channels=12, body=5),
        lambda path: tiny_models.residual(path, Form(scale=3), channels=12, blocks=3),
    ],
)
def test_an_onnx_like_ours_runs_whatever_its_size(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    """The family is a shape, not so many files."""
    path = make(tmp_path / "like.onnx")
    card, lr = catalogue.find(str(path), 2), _picture(30, 41, 1)

    with closing(load(card, engine="torch")) as one, closing(load(card, engine="openvino", precision="f32")) as other:
        difference = one.upscale(lr, exact=True).pixels.astype(int) - other.upscale(lr).pixels

    assert np.abs(difference).max() <= 1


@pytest.mark.parametrize("name", ["compact-x2", "span-x2"])
def test_the_same_frame_has_the_same_bytes_in_every_run(tmp_path: Path, name: str) -> None:
    """A job that goes on elsewhere must not show where: another load, other lanes, another order."""
    lr = np.concatenate([_picture(40, 56, 3), _picture(40, 56, 3)[:, ::-1]])

    with closing(_opened(tmp_path, name, threads=2)) as one:
        first = one.upscale(lr).pixels
        precision = one.working.precision
    with closing(_opened(tmp_path, name, threads=2, lanes=3, precision=precision)) as other:
        again = [other.upscale(lr[index : index + 1]).pixels[0] for index in (1, 0)]

    assert np.array_equal(first, np.stack(again[::-1]))


@pytest.mark.skipif(not cpu_computes_bf16(), reason="this processor does not compute in bf16")
def test_exact_is_f32_whatever_the_working_precision_is(tmp_path: Path) -> None:
    """A suspect frame is computed again in what all others are measured against."""
    lr = _picture(40, 56, 3)

    with (
        closing(_opened(tmp_path, "esrgan-x4", precision="bf16")) as low,
        closing(_opened(tmp_path, "esrgan-x4", precision="f32")) as full,
    ):
        assert ("bf16", "f32") == (low.working.precision, full.working.precision)
        assert np.array_equal(low.upscale(lr, exact=True).pixels, full.upscale(lr).pixels)
        assert not np.array_equal(low.upscale(lr).pixels, full.upscale(lr).pixels)


def test_a_precision_that_the_device_has_not_is_refused(tmp_path: Path) -> None:
    """An explicit precision is kept or refused, never replaced."""
    with pytest.raises(ModelInvalid, match="torch does not compute in f16 on CPU"):
        _opened(tmp_path, "compact-x2", precision="f16")


def test_a_precision_that_fails_its_self_test_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `auto` the next one runs, and `working` says so; an explicit one fails."""
    monkeypatch.setattr("upscale_server.models.engines.torch.upscaler.LOWEST_SELF_TEST_PSNR", 100.0)
    monkeypatch.setattr(devices, "cpu_computes_bf16", lambda: True)

    with closing(_opened(tmp_path, "compact-x2")) as upscaler:
        assert "f32" == upscaler.working.precision
    with pytest.raises(ModelInvalid, match=r"dB in bf16 away from its own f32 result") as caught:
        _opened(tmp_path, "compact-x2", precision="bf16")
    assert "ask for precision f32" == caught.value.hint


@pytest.mark.parametrize("low_is_faster", [True, False])
def test_on_the_cpu_the_faster_precision_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, low_is_faster: bool
) -> None:
    """Bf16 is slower than f32 for some layers, where a processor has it and where it has not."""
    monkeypatch.setattr(devices, "cpu_computes_bf16", lambda: True)
    monkeypatch.setattr(
        TorchUpscaler, "_seconds", lambda _self, _batch, *, exact: 1.0 if exact == low_is_faster else 0.5
    )

    with closing(_opened(tmp_path, "compact-x2")) as upscaler:
        assert ("bf16" if low_is_faster else "f32") == upscaler.working.precision


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
@pytest.mark.parametrize("name", ["built-in", "compact-x2"])
def test_a_gpu_that_is_asked_for_and_not_there_fails_the_start(tmp_path: Path, name: str) -> None:
    """The CPU is never an unrequested fallback."""
    card = OURS[0] if name == "built-in" else _card(tmp_path, name)

    with pytest.raises(DeviceUnused, match=r"torch-cuda was asked for, and the installed torch .* (sees no GPU|CPU)"):
        load(card, engine="torch-cuda")


def test_weights_on_another_device_than_asked_for_fail_the_start() -> None:
    """The place is read back from the weights, not taken from the request."""
    with pytest.raises(DeviceUnused, match="cuda was asked for, and the network is on cpu"):
        devices.refuse_elsewhere(CPU, torch.device("cuda", 0))
    with pytest.raises(DeviceUnused, match="meta was asked for, and the network is on cpu"):
        lanes._Copies(_StaysOnTheCpu(), torch.device("meta")).get("f32")


class _StaysOnTheCpu:
    """A network that ignores the device it is asked onto."""

    def copy_to(self, _device: torch.device, _precision: str) -> Copy:
        """Return a copy on the CPU."""
        return Copy(torch.nn.Conv2d(1, 1, 1), lambda lr: (lr, torch.tensor(data=True)))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_doctor_warns_of_a_gpu_that_torch_cannot_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """A torch for the CPU on a machine with a GPU is found before a job is."""
    assert "ok" == check_engines.torch_check().verdict
    monkeypatch.setattr(device, "nvidia_gpus", lambda: ("a GPU",))

    found = check_engines.torch_check()

    assert "warning" == found.verdict
    assert found.found.endswith("engines torch; the GPU is not usable")
    assert "install torch for your CUDA version" in found.advice
    assert "pip install --force-reinstall torch" == found.fix


def test_the_plan_tells_the_versions_that_bytes_depend_on() -> None:
    """Another torch rounds otherwise."""
    assert {"torch", "spandrel"} <= made_with("torch").keys() & made_with("torch-cuda").keys()
    assert "torch" not in made_with("openvino")


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime", "lanczos"])
def test_a_checkpoint_runs_on_torch_only(tmp_path: Path, engine: str) -> None:
    """An engine that is asked for is never replaced by another."""
    with pytest.raises(BadRequest, match=f"engine {engine} cannot run the model compact-x2; torch or torch-cuda can"):
        load(_card(tmp_path, "compact-x2"), engine=engine)


def test_a_closed_upscaler_says_so(tmp_path: Path) -> None:
    """And closing it again is safe."""
    upscaler = _opened(tmp_path, "compact-x2")
    upscaler.close()
    upscaler.close()

    with pytest.raises(UpscaleError, match="closed"):
        upscaler.upscale(_picture(16, 16, 3))


# ------------------------------------------------------------------------------------------------ memory and tiles


def test_a_window_that_does_not_fit_is_halved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Running out of memory makes smaller windows and the same picture."""
    lr = _picture(150, 400, 3)
    sizes: list[int] = []
    real = lanes.upscaled

    def little_memory(copy: Copy, pixels: torch.Tensor, work: Work) -> tuple[torch.Tensor, torch.Tensor]:
        sizes.append(pixels.shape[0] * pixels.shape[1])
        if sizes[-1] > 40_000:
            message = "CUDA out of memory. Tried to allocate 20.00 GiB."
            raise torch.cuda.OutOfMemoryError(message)
        return real(copy, pixels, work)

    with closing(_opened(tmp_path, "compact-x2", precision="f32")) as upscaler:
        expected = upscaler.upscale(lr).pixels
        monkeypatch.setattr(lanes, "upscaled", little_memory)
        asked = WorkingPoint(1, 1, lr.size // 3, "f32")
        found = at_working_point(upscaler, Size(400, 150), asked, Points(), ignore).upscale(lr).pixels

    assert sizes[0] == 60_000
    assert max(sizes[1:]) <= 40_000
    # The reach of this network is known on paper and overlaps are as wide, but other shapes add up in another order.
    assert np.abs(found.astype(int) - expected).max() <= 1


def test_a_batch_can_be_stopped_between_two_tiles(tmp_path: Path) -> None:
    """A cancelled job ends there; the self-test asks too, so only what comes after it counts."""
    asked: list[None] = []

    with _opened(tmp_path, "compact-x2", precision="f32", between_tiles=lambda: asked.append(None)) as upscaler:
        asked.clear()
        upscaler.upscale(np.concatenate([_picture(40, 56, 3)] * 2))

    assert 2 == len(asked)


def test_the_cpu_out_of_memory_is_named() -> None:
    """Torch has a class for the GPU only; on the CPU its allocator says so in words."""
    with pytest.raises(OutOfMemory), devices.faults_are_named():
        torch.empty(1 << 50, dtype=torch.uint8)


def test_what_torch_cannot_run_is_one_line() -> None:
    """Its messages go over many."""
    with pytest.raises(ModelInvalid, match=r"^torch cannot run the model: first$"), devices.faults_are_named():
        raise RuntimeError("first\nsecond")


def test_windows_of_a_network_with_large_layers_are_smaller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ESRGAN works on 16 times the pixels with all its channels; a fixed bound keeps it within memory."""
    copy = network_of(_card(tmp_path, "esrgan-x4")).copy_to(CPU, "f32")
    # The largest layers take and give 8 channels of f32 for each of 16 pixels.
    per_pixel = 2 * 8 * 16 * 4

    assert 600_000 == costs.window_pixels(copy, 3, 1, 600_000)
    monkeypatch.setattr(costs, "LARGEST_LAYER_BYTES", 10_000 * per_pixel)
    assert 10_000 == costs.window_pixels(copy, 3, 1, 600_000)


def test_macs_are_counted_per_pixel(tmp_path: Path) -> None:
    """Three kernels of 3x3 and a last one for four pixels of three colours each."""
    assert 9 * (3 * 8 + 8 * 8 + 8 * 8 + 8 * 12) == _card(tmp_path, "compact-x2").macs_per_pixel


def test_an_infinity_behind_the_clipping_is_seen(tmp_path: Path) -> None:
    """Spandrel clips to white; a frame whose values overflow must be computed again all the same."""
    state = tiny_checkpoints.compact()
    for name, value in state.items():
        value.zero_()
        if name.endswith("weight") and value.dim() == 4:
            value[0, 0, 1, 1] = {"body.0.weight": 1e20, "body.2.weight": 1e15, "body.4.weight": 1e15}.get(name, 1e15)
    state["body.0.bias"][0] = -0.99e20  # only what is whiter than the trial picture gets through
    path = tiny_checkpoints.save(tmp_path / "overflowing.safetensors", state)
    lr = _picture(20, 30, 3)

    with closing(load(catalogue.find(str(path), 2), precision="f32")) as upscaler:
        assert [True, False] == upscaler.upscale(np.concatenate([lr, np.full_like(lr, 255)])).finite.tolist()


# ------------------------------------------------------------------------------------------------ architectures


def test_kernels_are_merged_once_and_the_result_is_the_same() -> None:
    """SPAN writes to itself in each call otherwise, which two lanes must not do at once."""
    lr = torch.rand(1, 3, 12, 17, generator=torch.Generator().manual_seed(1))
    expected = described(tiny_checkpoints.span(), "span")(lr)

    copy = CheckpointNetwork(described(tiny_checkpoints.span(), "span")).copy_to(CPU, "f32")

    assert not any(hasattr(module, "update_params") for module in copy.module.modules())
    with torch.inference_mode():
        # The same sums in another memory format.
        assert torch.allclose(expected, copy.values(lr)[0], atol=1e-5)


def test_sides_that_a_network_cannot_take_are_padded(tmp_path: Path) -> None:
    """Real-ESRGAN x2 moves 2x2 pixels into channels first and wants multiples of four."""
    path = tiny_checkpoints.save(tmp_path / "unshuffle.safetensors", tiny_checkpoints.esrgan_that_unshuffles())
    card = catalogue.find(str(path), 2)

    with closing(load(card)) as upscaler:
        upscaled = upscaler.upscale(_picture(17, 31, 3)).pixels

    assert (2, 4) == (card.scale, card.size_multiple)
    assert (1, 34, 62, 3) == upscaled.shape


def test_the_reach_of_plain_layers_is_known_on_paper(tmp_path: Path) -> None:
    """Four kernels of 3x3 in a row look four pixels far, and what is measured is never more."""
    copy = network_of(_card(tmp_path, "compact-x2")).copy_to(CPU, "f32")

    assert 4 == reach.paper_reach(copy, 3, 1)
    assert reach.measured_reach(copy, 3, 1) <= 4
    assert 4 == reach.reach_of(copy, 3, 1)


class _Blur(torch.nn.Module):  # type: ignore[misc] # torch has no types where it is not installed
    """A layer of an unknown kind that looks ten pixels far, or everywhere."""

    def __init__(self, radius: int) -> None:
        super().__init__()
        self.radius, self.weight = radius, torch.nn.Parameter(torch.ones(1))

    def forward(self, lr: torch.Tensor) -> torch.Tensor:
        """Blur with a box."""
        if not self.radius:
            return 0.5 * (lr + lr.mean(dim=(2, 3), keepdim=True))
        side = 2 * self.radius + 1
        return functional.avg_pool2d(lr, side, stride=1, padding=self.radius)


@pytest.mark.parametrize(("radius", "measured", "overlap"), [(10, 10, 15), (0, 48, reach.FARTHEST)])
def test_the_reach_of_unknown_layers_is_measured_by_cutting(radius: int, measured: int, overlap: int) -> None:
    """What differs near a cut is the reach, and half as much again is overlapped; the picture's mean is beyond that."""
    module = _Blur(radius)
    copy = Copy(module, lambda lr: (module(lr), torch.tensor(data=True)))

    assert reach.paper_reach(copy, 1, 1) == float("inf")
    assert measured == reach.measured_reach(copy, 1, 1)
    assert overlap == reach.reach_of(copy, 1, 1)


def test_a_network_that_is_different_in_each_run_is_refused() -> None:
    """A frame that was lost must come out again as it was."""
    generator = torch.Generator().manual_seed(3)
    copy = Copy(
        torch.nn.Conv2d(1, 1, 1),
        lambda lr: (lr + 1e-4 * torch.rand(lr.shape, generator=generator), torch.tensor(data=True)),
    )

    with pytest.raises(ModelInvalid, match="another result each time"):
        inspection._try(copy, "random.safetensors", {"size_multiple": 1, "domain": "luma", "scale": 1})


def test_a_network_that_enlarges_otherwise_than_its_architecture_says_is_refused() -> None:
    """The card says what a plan is made of."""
    copy = Copy(torch.nn.Conv2d(1, 1, 1), lambda lr: (lr, torch.tensor(data=True)))

    with pytest.raises(ModelInvalid, match="enlarges 1 times; its architecture says 2"):
        inspection._try(copy, "liar.safetensors", {"size_multiple": 1, "domain": "luma", "scale": 2})


# ------------------------------------------------------------------------------------------------ CUDA, without a GPU


class _NoGraph:
    """What stands for a CUDA graph: capturing fails."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __enter__(self) -> None:
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    def __exit__(self, *_: object) -> None:
        pass

    def synchronize(self) -> None:
        """Wait for nothing."""


@pytest.fixture
def cuda_lane(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> lanes.CudaLane:
    """Give the lane for CUDA with the CPU in its place: what it does around the device runs here."""
    for name in ("Stream", "CUDAGraph", "graph"):
        monkeypatch.setattr(torch.cuda, name, _NoGraph)
    for name in ("stream", "device"):
        monkeypatch.setattr(torch.cuda, name, lambda *_: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(lanes, "_pinned", torch.empty_like)
    return lanes.CudaLane(network_of(_card(tmp_path, "compact-x2")), CPU)


@pytest.mark.parametrize("bits", [8, 10])
def test_a_graph_that_cannot_be_captured_is_told_and_the_pixels_are_right(
    cuda_lane: lanes.CudaLane, tmp_path: Path, bits: int
) -> None:
    """The lane launches kernel by kernel from then on; windows do not overwrite each other's results."""
    work = Work("f32", (1 << bits) - 1, 1.0)
    windows = [_picture(20, 30, 3, bits)[0], np.ascontiguousarray(_picture(20, 30, 3, bits)[0][::-1])]
    plain = lanes.CpuLane(network_of(_card(tmp_path, "compact-x2")))

    found = [cuda_lane.run(window, work) for window in windows]

    assert "no CUDA graphs: operation not permitted when stream is capturing" == cuda_lane.note
    for window, (pixels, finite) in zip(windows, found, strict=True):
        assert finite
        assert np.array_equal(plain.run(window, work)[0], pixels)


def test_a_lane_keeps_few_shapes_and_none_when_memory_runs_out(
    cuda_lane: lanes.CudaLane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each shape holds its buffers; what they hold may be what the next window lacks."""
    work = Work("f32", 255, 1.0)
    for height in range(8, 15):
        cuda_lane.run(_picture(height, 16, 3)[0], work)
    assert lanes._MOST_SHAPES == len(cuda_lane._shapes)

    def too_little(*_: object) -> None:
        raise torch.cuda.OutOfMemoryError

    monkeypatch.setattr(lanes, "upscaled", too_little)
    with pytest.raises(OutOfMemory):
        cuda_lane.run(_picture(40, 16, 3)[0], work)
    assert 0 == len(cuda_lane._shapes)
