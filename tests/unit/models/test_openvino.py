"""What is particular to the OpenVINO engine: precision, tiles, finite values, memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support import tiny_models
from tests.support.tiny_models import Form
from upscale_server.errors import ModelInvalid, OutOfMemory, UpscaleError
from upscale_server.events import ignore
from upscale_server.media.types import Size
from upscale_server.models import catalogue
from upscale_server.models.base import EngineOptions, Pixels
from upscale_server.models.choices import Points
from upscale_server.models.engines.openvino import OpenVinoUpscaler, upscaler
from upscale_server.models.engines.openvino.runner import Runner, device_precisions
from upscale_server.models.guard import upscale_guarded
from upscale_server.models.ladder import at_working_point
from upscale_server.models.load import load
from upscale_server.models.trial import textured_picture
from upscale_server.models.working_point import WorkingPoint

needs_bf16 = pytest.mark.skipif("bf16" not in device_precisions(), reason="this processor has no bf16")

Open = Callable[..., OpenVinoUpscaler]


@pytest.fixture
def opened() -> Iterator[Open]:
    """Give a function that opens a model file and closes it when the test ends."""
    open_now: list[OpenVinoUpscaler] = []

    def open_file(path: Path, **options: object) -> OpenVinoUpscaler:
        loaded = OpenVinoUpscaler(catalogue.find(str(path), 2), EngineOptions(**options))  # type: ignore[arg-type]
        open_now.append(loaded)
        return loaded

    yield open_file
    for loaded in open_now:
        loaded.close()


def _picture(height: int, width: int, bits: int = 8, channels: int = 1) -> Pixels:
    """Return a batch of the textured picture."""
    values = np.rint(textured_picture(height, width, channels) * ((1 << bits) - 1))
    pixels = values.astype(np.uint8 if bits == 8 else np.uint16)
    return pixels[None, ..., 0] if channels == 1 else pixels[None]


def _repeated(lr: NDArray[np.generic], scale: int) -> NDArray[np.generic]:
    return lr.repeat(scale, axis=1).repeat(scale, axis=2)


@pytest.mark.slow
@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize(
    "form",
    [
        Form(),
        Form(scale=3, layout="NHWC"),
        Form(channels=3),
        Form(channels=3, layout="NHWC", scale=4),
        Form(size=(40, 48)),
        Form(element=tiny_models.HALF),
    ],
)
def test_pixels_go_through_unchanged(opened: Open, tmp_path: Path, form: Form, bits: int) -> None:
    """A network that repeats pixels gives back every level of every depth, in every form of input."""
    loaded = opened(tiny_models.nearest(tmp_path / "nearest.onnx", form), precision="f32")
    lr = _picture(61, 83, bits, form.channels)

    found = loaded.upscale(lr, bits=bits).pixels

    # float16 inputs hold 11 significant bits: 12 and 16 bits lose what the model's own input type cannot carry,
    # if the engine computes in it; OpenVINO computes it in f32 and loses nothing.
    assert np.array_equal(_repeated(lr, form.scale), found)


def test_a_network_of_bytes_rounds_deeper_sources_to_its_own_depth(opened: Open, tmp_path: Path) -> None:
    """10 bits through a uint8 network come out as the nearest of 256 levels, and no further away."""
    loaded = opened(tiny_models.nearest(tmp_path / "bytes.onnx", Form(element=tiny_models.BYTE)), precision="f32")
    lr = _picture(32, 48, 10)

    found = loaded.upscale(lr, bits=10).pixels

    # Half a step of 8 bits is 2.006 levels of 10; rounding the result adds half a level.
    assert np.abs(found.astype(int) - _repeated(lr, 2)).max() <= 2.6


@pytest.mark.slow
@pytest.mark.parametrize("tail", ["shuffle_sum", "resize_sum"])
@pytest.mark.parametrize(("scale", "bits"), [(2, 8), (3, 10), (4, 16)])
def test_the_network_is_computed_as_onnx_defines_it(
    opened: Open, tmp_path: Path, tail: str, scale: int, bits: int
) -> None:
    """Conversion, residual and shuffle inside the graph equal ONNX's own evaluator, rounding included."""
    path = tiny_models.convolutional(tmp_path / "conv.onnx", Form(scale=scale), tail=tail)
    white = (1 << bits) - 1
    lr = _picture(21, 34, bits)
    expected = tiny_models.reference(path, (lr[:, None] / white).astype(np.float32))[:, 0] * white

    found = opened(path, precision="f32").upscale(lr, bits=bits).pixels

    # Half a level is rounding; float32 sums in another order move a value by some 1e-6 of white.
    assert np.abs(found - np.clip(expected, 0, white)).max() <= 0.5 + 4e-6 * white


@pytest.mark.slow
@needs_bf16
@pytest.mark.parametrize("tail", ["shuffle_sum", "resize_sum"])
def test_the_input_is_added_in_f32_whatever_the_network_computes_in(opened: Open, tmp_path: Path, tail: str) -> None:
    """In bf16 only the detail is rounded: an input of 16 bits keeps far more than bf16's 8 significant bits."""
    loaded = opened(tiny_models.convolutional(tmp_path / "conv.onnx", Form(), tail=tail), precision="bf16")
    lr = _picture(48, 64, 16)

    difference = loaded.upscale(lr, bits=16).pixels.astype(int) - loaded.upscale(lr, bits=16, exact=True).pixels

    # An input rounded to bf16 is off by up to 128 of 65535 near white, rms 60. The detail here is about 2 % of white.
    assert np.sqrt(np.mean(difference**2.0)) < 20


@pytest.mark.slow
@needs_bf16
def test_auto_takes_bf16_where_the_processor_has_it(opened: Open, tmp_path: Path) -> None:
    """The precision reported is that of the compiled convolutions."""
    loaded = opened(tiny_models.convolutional(tmp_path / "conv.onnx", Form()))

    assert "bf16" == loaded.working.precision


@pytest.mark.slow
def test_f32_is_kept_when_asked_for(opened: Open, tmp_path: Path) -> None:
    """An explicit precision is what runs, and equals the plain network."""
    loaded = opened(tiny_models.convolutional(tmp_path / "conv.onnx", Form()), precision="f32")

    assert "f32" == loaded.working.precision
    assert loaded.working.self_test_psnr > 90


@pytest.mark.slow
def test_a_network_that_its_maker_quantized_gives_the_same_in_the_precision_that_it_is_said_to_have(
    opened: Open, tmp_path: Path
) -> None:
    """All of its convolutions take eight bits; a plan keeps what the rest of it is computed in."""
    path = tiny_models.quantized(tmp_path / "quantized.onnx", Form())
    chosen = opened(path)

    asked = opened(path, precision=chosen.working.precision)

    lr = _picture(61, 83, 16)
    assert chosen.working == asked.working
    assert np.array_equal(chosen.upscale(lr, bits=16).pixels, asked.upscale(lr, bits=16).pixels)


@pytest.mark.slow
@needs_bf16
def test_bf16_that_fails_the_self_test_is_refused_when_asked_for(
    opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network that does not bear bf16 is not run in it, and not silently in something else."""
    path = tiny_models.convolutional(tmp_path / "conv.onnx", Form())
    monkeypatch.setattr(upscaler, "psnr", lambda *_: 30.0)

    with pytest.raises(ModelInvalid, match=r"30\.0 dB in bf16") as caught:
        opened(path, precision="bf16")

    assert "ask for precision f32" == caught.value.hint


@pytest.mark.slow
@needs_bf16
def test_auto_goes_to_f32_where_bf16_fails_and_says_so(
    opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `auto` the precision is ours to choose, and `working` tells which it is."""
    path = tiny_models.convolutional(tmp_path / "conv.onnx", Form())
    answers = iter([30.0, 80.0])
    monkeypatch.setattr(upscaler, "psnr", lambda *_: next(answers))

    loaded = opened(path)

    assert ("f32", 80.0) == (loaded.working.precision, loaded.working.self_test_psnr)


def test_a_precision_that_the_processor_lacks_is_refused(
    opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """bf16 is not emulated."""
    path = tiny_models.nearest(tmp_path / "nearest.onnx", Form())
    monkeypatch.setattr(upscaler, "device_precisions", lambda: ("f32",))

    with pytest.raises(ModelInvalid, match="does not compute in bf16; it has f32"):
        opened(path, precision="bf16")


def test_a_card_with_another_scale_than_the_network_is_refused(tmp_path: Path) -> None:
    """A plan is made from the card, so the card must be true."""
    path = tiny_models.nearest(tmp_path / "nearest.onnx", Form(scale=3))
    path.with_suffix(".json").write_text(
        '{"scale": 2, "domain": "luma", "value_range": 1.0, "receptive_field": 0, "size_multiple": 1}', "utf-8"
    )

    with pytest.raises(ModelInvalid, match="its card says scale 2"):
        load(catalogue.find(str(path), 2))


def _tileable(tmp_path: Path, name: str) -> Path:
    """Return one of: our own network, one with a residual in three colours, one with a size multiple."""
    if name == "built-in":
        return Path(next(card.path for card in catalogue.available() if card.path))
    if name == "unshuffling":
        return tiny_models.unshuffling(tmp_path / "unshuffling.onnx")
    return tiny_models.convolutional(tmp_path / "conv.onnx", Form(scale=3), tail="resize_sum")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["built-in", "convolutional", "unshuffling"])
@pytest.mark.parametrize("precision", ["auto", "f32"])
@pytest.mark.parametrize("max_tile_pixels", [2_000, 6_000])
def test_tiled_equals_untiled(opened: Open, tmp_path: Path, name: str, precision: str, max_tile_pixels: int) -> None:
    """Seams and borders cannot be seen: no pixel is more than a level away."""
    path = _tileable(tmp_path, name)
    lr = _picture(107, 133)
    whole = opened(path, precision=precision).upscale(lr).pixels

    tiled = opened(path, precision=precision, max_tile_pixels=max_tile_pixels).upscale(lr).pixels

    assert np.abs(whole.astype(int) - tiled).max() <= 1


@pytest.mark.slow
def test_a_fixed_shape_equals_a_free_one(opened: Open, tmp_path: Path) -> None:
    """A network that only takes 64x48 upscales a larger picture as if it took any size."""
    free = tiny_models.convolutional(tmp_path / "free.onnx", Form())
    fixed = tiny_models.convolutional(tmp_path / "fixed.onnx", Form(size=(48, 64)))
    lr = _picture(101, 150)

    found = opened(fixed, precision="f32").upscale(lr).pixels

    assert np.abs(found.astype(int) - opened(free, precision="f32").upscale(lr).pixels).max() <= 1


@pytest.mark.slow
def test_the_number_of_threads_does_not_change_the_bytes(opened: Open, tmp_path: Path) -> None:
    """Two machines with the same processor and other settings agree."""
    path = tiny_models.convolutional(tmp_path / "conv.onnx", Form())
    lr = _picture(150, 170)

    one = opened(path, threads=1).upscale(lr).pixels

    assert np.array_equal(one, opened(path, threads=2, lanes=2).upscale(lr).pixels)


@pytest.mark.slow
@pytest.mark.parametrize("bits", [8, 10])
def test_frames_with_values_that_are_not_finite_are_told_apart(opened: Open, tmp_path: Path, bits: int) -> None:
    """The second output of the graph flags exactly the frame that divided by zero, in either precision."""
    loaded = opened(tiny_models.not_finite_at_white(tmp_path / "burst.onnx"))
    lr = np.concatenate([_picture(32, 48, bits)] * 3)
    lr[1, 5, 7] = (1 << bits) - 1

    assert [True, False, True] == loaded.upscale(lr, bits=bits).finite.tolist()
    assert [True, False, True] == loaded.upscale(lr, bits=bits, exact=True).finite.tolist()


def test_one_bad_tile_flags_its_frame(opened: Open, tmp_path: Path) -> None:
    """A frame is finite when all of its tiles are."""
    loaded = opened(tiny_models.not_finite_at_white(tmp_path / "burst.onnx"), max_tile_pixels=1_000)
    lr = np.concatenate([_picture(64, 80)] * 2)
    lr[1, 60, 78] = 255

    assert [True, False] == loaded.upscale(lr).finite.tolist()


def test_the_guard_names_a_frame_that_even_f32_cannot_save(opened: Open, tmp_path: Path) -> None:
    """From the network's division by zero to the error that the job ends with."""
    loaded = opened(tiny_models.not_finite_at_white(tmp_path / "burst.onnx"))
    lr = np.concatenate([_picture(32, 48)] * 2)
    lr[1, 0, 0] = 255

    with pytest.raises(UpscaleError, match="frame 1 of the batch"):
        upscale_guarded(loaded, lr, bits=8)


@pytest.mark.slow
def test_a_tile_that_does_not_fit_into_memory_is_halved(
    opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The frame is finished with smaller tiles, and the same pixels."""
    loaded = opened(tiny_models.convolutional(tmp_path / "conv.onnx", Form()), precision="f32")
    lr = _picture(240, 300)
    expected = loaded.upscale(lr).pixels
    run = Runner.run

    def refuse_large(self: Runner, picture: NDArray[np.generic]) -> list[NDArray[np.generic]]:
        if picture.size > 30_000:
            raise OutOfMemory("the network's tile does not fit into memory")
        return run(self, picture)

    monkeypatch.setattr(Runner, "run", refuse_large)
    asked = WorkingPoint(1, 1, lr.size, "f32")
    found = at_working_point(loaded, Size(300, 240), asked, Points(), ignore).upscale(lr).pixels

    assert np.abs(expected.astype(int) - found).max() <= 1


def test_an_allocation_that_fails_inside_openvino_is_named(opened: Open, tmp_path: Path) -> None:
    """OpenVINO's own text about memory becomes OutOfMemory, whatever class it is raised as."""
    loaded = opened(tiny_models.nearest(tmp_path / "nearest.onnx", Form()))
    lr = _picture(16, 16)
    loaded.upscale(lr)
    runner = list(loaded._runners.values())[-1]
    runner._free.get()
    runner._free.put(_Failing())

    with pytest.raises(OutOfMemory):
        loaded.upscale(lr)


class _Failing:
    """An infer request on a machine whose memory is full."""

    def infer(self, *_: object, **__: object) -> None:
        raise RuntimeError("Exception from src/plugins/intel_cpu/src/graph.cpp:1\nstd::bad_alloc")


def test_a_closed_upscaler_says_so(opened: Open, tmp_path: Path) -> None:
    """Use after close is an error of ours with a name, not a crash in native code."""
    loaded = opened(tiny_models.nearest(tmp_path / "nearest.onnx", Form()))
    loaded.close()

    with pytest.raises(UpscaleError, match="the upscaler is closed"):
        loaded.upscale(_picture(8, 8))


@pytest.mark.slow
def test_our_own_models_run_in_every_precision_that_their_cards_name() -> None:
    """What is shipped passes its self-test here."""
    for card in (card for card in catalogue.available() if card.path):
        for precision in set(card.precisions) & set(device_precisions()):
            with closing(load(card, precision=precision)) as loaded:  # type: ignore[arg-type]
                assert precision == loaded.working.precision
                assert loaded.working.self_test_psnr >= 45
