"""What the pipeline may expect of every engine: the same suite over each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from tests.support import tiny_checkpoints, tiny_models
from tests.support.tiny_models import Form
from upscale_server.models import catalogue
from upscale_server.models.base import Pixels, Upscaler
from upscale_server.models.device import nvidia_gpus
from upscale_server.models.extras import installed
from upscale_server.models.guard import FARTHEST_BLOCK, block_difference
from upscale_server.models.load import load

SIZES = ((40, 56), (17, 31))
"""Few and small: every shape is compiled once for every model."""

Make = Callable[[Path], Path]

NETWORKS: dict[str, Make] = {
    "nearest-x2": lambda path: tiny_models.nearest(path, Form()),
    "nearest-x3": lambda path: tiny_models.nearest(path, Form(scale=3)),
    "nearest-x4-rgb": lambda path: tiny_models.nearest(path, Form(scale=4, channels=3)),
    "fixed-shape": lambda path: tiny_models.nearest(path, Form(size=(40, 48))),
    "nhwc": lambda path: tiny_models.nearest(path, Form(layout="NHWC")),
    "nhwc-rgb-fixed": lambda path: tiny_models.nearest(path, Form(layout="NHWC", channels=3, size=(40, 48))),
    "fp16": lambda path: tiny_models.nearest(path, Form(element=tiny_models.HALF)),
    "uint8-rgb": lambda path: tiny_models.nearest(path, Form(element=tiny_models.BYTE, channels=3)),
    "convolutional": lambda path: tiny_models.convolutional(path, Form()),
    "residual": lambda path: tiny_models.residual(path, Form()),
    "convolutional-x3-resize": lambda path: tiny_models.convolutional(path, Form(scale=3), tail="resize_sum"),
    "range-255": lambda path: tiny_models.of_range_255(path, Form()),
}


PAIRS = [("lanczos", "lanczos-x2"), ("lanczos", "lanczos-x3"), ("bicubic", "bicubic-x2")] + [
    (engine, name) for engine in ("openvino", "onnxruntime") for name in ("built-in", *NETWORKS)
]
PAIRS += [("torch", name) for name in ("built-in", "residual", *tiny_checkpoints.CHECKPOINTS)]
PAIRS += [("torch-cuda", name) for name in ("built-in", "residual", "compact-x2", "esrgan-x4", "span-x2")]
PAIRS += [("cuda", name) for name in ("built-in", "nearest-x4-rgb", "fixed-shape", "nhwc", "convolutional-x3-resize")]
PAIRS += [("tensorrt", name) for name in ("built-in", "nearest-x4-rgb")]  # each shape takes minutes to build

ON_GPU = ("torch-cuda", "cuda", "tensorrt")


@pytest.fixture(scope="module", params=PAIRS, ids="-".join)
def upscaler(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upscaler]:
    """Give one engine with one model after the other."""
    engine, name = request.param
    if not installed(engine):
        pytest.skip(f"the packages of engine {engine} are not installed")
    if engine in ON_GPU and not nvidia_gpus():
        pytest.skip("there is no NVIDIA GPU here")
    if engine in {"cuda", "tensorrt"} and not _has_provider(engine):
        pytest.skip(f"the installed ONNX Runtime has no {engine}")
    if name == "built-in":
        card = next(card for card in catalogue.available() if card.path)
    elif engine in catalogue.CLASSICAL:
        card = catalogue.find(engine, int(name[-1]))
    elif name in tiny_checkpoints.CHECKPOINTS:
        path = tiny_checkpoints.made(tmp_path_factory.mktemp("models") / f"{name}.safetensors")
        card = catalogue.find(str(path), 2)
    else:
        card = catalogue.find(str(NETWORKS[name](tmp_path_factory.mktemp("models") / f"{name}.onnx")), 2)
    with closing(load(card, engine=engine, lanes=2, threads=2)) as loaded:
        yield loaded


def _has_provider(engine: str) -> bool:
    from upscale_server.models.engines.onnxruntime.session import available_engines  # noqa: PLC0415 - an extra

    return engine in available_engines()


def _pictures(upscaler: Upscaler, count: int, height: int, width: int, bits: int = 8) -> Pixels:
    """Return smooth random pictures in the form that the model takes, all different."""
    rng = np.random.default_rng(height * width + bits)
    colours = () if upscaler.card.domain == "luma" else (3,)
    coarse = rng.random((count, height // 4 + 1, width // 4 + 1, *colours))
    fine = coarse.repeat(4, axis=1).repeat(4, axis=2)[:, :height, :width]
    values = 0.1 + 0.7 * fine + 0.1 * rng.random(fine.shape)
    return np.rint(values * ((1 << bits) - 1)).astype(np.uint8 if bits == 8 else np.uint16)


@pytest.mark.slow
@pytest.mark.parametrize("bits", [8, 10])
@pytest.mark.parametrize(("height", "width"), [(1, 1), *SIZES])
def test_every_side_is_multiplied_and_the_type_kept(upscaler: Upscaler, height: int, width: int, bits: int) -> None:
    """Any size, even or odd, comes back `scale` times as large, in the same dtype and within white."""
    scale = upscaler.card.scale
    lr = _pictures(upscaler, 2, height, width, bits)

    upscaled = upscaler.upscale(lr, bits=bits)

    assert (2, height * scale, width * scale, *lr.shape[3:]) == upscaled.pixels.shape
    assert lr.dtype == upscaled.pixels.dtype
    assert upscaled.pixels.max() <= (1 << bits) - 1
    assert [True, True] == upscaled.finite.tolist()


@pytest.mark.parametrize("bits", [8, 10, 16])
def test_the_result_shows_its_input(upscaler: Upscaler, bits: int) -> None:
    """Averaged down, the result is the input: value range, layout, colour order and depth are right."""
    lr = _pictures(upscaler, 1, 40, 56, bits)

    hr = upscaler.upscale(lr, bits=bits).pixels

    average, worst = block_difference(lr[0], hr[0])
    white = (1 << bits) - 1
    # A wrong white, a swapped axis or swapped colours are tens of levels of 255 away from a random picture.
    assert average < 3.0 / 255 * white
    assert worst < FARTHEST_BLOCK * white / 4


def test_a_frame_has_the_same_bytes_in_any_batch(upscaler: Upscaler) -> None:
    """Resumed work cuts batches elsewhere and must still end with the same bytes."""
    lr = _pictures(upscaler, 5, 40, 56)

    together = upscaler.upscale(lr).pixels

    for index in (4, 0, 2):
        assert np.array_equal(together[index], upscaler.upscale(lr[index : index + 1]).pixels[0])


@pytest.mark.slow
def test_threads_do_not_mix_frames(upscaler: Upscaler) -> None:
    """More callers than lanes wait for each other and each gets its own frames."""
    batches = [_pictures(upscaler, 2, *SIZES[index % 2]) + np.uint8(index) for index in range(12)]
    expected = [upscaler.upscale(batch).pixels for batch in batches]

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda batch: upscaler.upscale(batch).pixels, batches))

    assert all(np.array_equal(mine, other) for mine, other in zip(expected, found, strict=True))


def test_the_input_is_only_read(upscaler: Upscaler) -> None:
    """Frames are shared with other stages; a strided, read-only view is taken as it is."""
    whole = _pictures(upscaler, 1, 70, 90)
    view = whole[:, 5:45, 3:59]
    view.setflags(write=False)

    found = upscaler.upscale(view).pixels

    assert np.array_equal(found, upscaler.upscale(view.copy()).pixels)


def test_exact_is_nearly_the_working_precision(upscaler: Upscaler) -> None:
    """A frame redone in f32 does not stand out among its neighbours."""
    lr = _pictures(upscaler, 1, 40, 56)

    difference = upscaler.upscale(lr).pixels.astype(int) - upscaler.upscale(lr, exact=True).pixels

    # The self-test demands 45 dB, that is an rms of 1.4 levels; single pixels may reach a few times that.
    assert np.abs(difference).max() <= 6
    assert np.sqrt(np.mean(difference**2.0)) <= 1.5


def test_an_empty_batch_gives_an_empty_batch(upscaler: Upscaler) -> None:
    """The end of a segment may leave no frames."""
    lr = _pictures(upscaler, 1, 16, 16)[:0]

    upscaled = upscaler.upscale(lr)

    assert (0, 0) == (len(upscaled.pixels), len(upscaled.finite))


def test_working_tells_what_runs(upscaler: Upscaler) -> None:
    """Engine, device and precision are named and the self-test has passed."""
    working = upscaler.working

    assert working.engine in {*catalogue.CLASSICAL, "openvino", "onnxruntime", "torch", *ON_GPU}
    assert working.device.startswith("GPU" if working.engine in ON_GPU else "CPU")
    assert working.precision in {"bf16", "f16", "f32", "integer"}
    assert working.self_test_psnr >= 45.0


def test_closing_twice_is_safe(tmp_path: Path) -> None:
    """`close` may run in a `finally` after a `with`."""
    path = tiny_models.nearest(tmp_path / "nearest.onnx", Form())
    for card in (catalogue.find("lanczos", 2), catalogue.find(str(path), 2)):
        loaded = load(card)

        loaded.close()
        loaded.close()
