"""What is particular to the ONNX Runtime engine: the proof of the device, finite values, memory, clear refusals."""

from __future__ import annotations

import tempfile
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support import tiny_models
from tests.support.tiny_models import Form
from upscale_server.errors import DeviceUnused, MissingExtra, ModelInvalid, OutOfMemory, UpscaleError
from upscale_server.events import ignore
from upscale_server.media.types import Size
from upscale_server.models import catalogue, extras, load
from upscale_server.models.base import EngineOptions, Pixels
from upscale_server.models.choices import Points
from upscale_server.models.ladder import at_working_point
from upscale_server.models.trial import textured_picture
from upscale_server.models.working_point import WorkingPoint

pytest.importorskip("onnxruntime", reason="the extra [onnxruntime] is not installed")

from upscale_server.models.engines.onnxruntime import OnnxRuntimeUpscaler
from upscale_server.models.engines.onnxruntime.session import CPU, Session, placed, refuse_misplaced

CUDA = "CUDAExecutionProvider"


def _opened(path: Path, **options: object) -> OnnxRuntimeUpscaler:
    return OnnxRuntimeUpscaler(catalogue.find(str(path), 2), EngineOptions(**options))  # type: ignore[arg-type]


def _picture(height: int, width: int, bits: int = 8) -> Pixels:
    """Return a batch of the textured picture."""
    levels = np.rint(textured_picture(height, width, 1) * ((1 << bits) - 1))
    return levels.astype(np.uint8 if bits == 8 else np.uint16)[None, ..., 0]


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("form", [Form(), Form(scale=3, layout="NHWC"), Form(size=(40, 48))])
def test_pixels_go_through_unchanged(tmp_path: Path, form: Form, bits: int) -> None:
    """A network that repeats pixels gives back every level of every depth."""
    lr = _picture(61, 83, bits)

    with closing(_opened(tiny_models.nearest(tmp_path / "nearest.onnx", form))) as loaded:
        found = loaded.upscale(lr, bits=bits).pixels

    assert np.array_equal(lr.repeat(form.scale, axis=1).repeat(form.scale, axis=2), found)


@pytest.mark.slow
@pytest.mark.parametrize("tail", ["shuffle_sum", "resize_sum"])
def test_the_network_is_computed_as_onnx_defines_it(tmp_path: Path, tail: str) -> None:
    """Conversion and rounding around the network equal ONNX's own evaluator."""
    path = tiny_models.convolutional(tmp_path / "conv.onnx", Form(scale=3), tail=tail)
    lr = _picture(21, 34, 10)
    expected = tiny_models.reference(path, (lr[:, None] / 1023).astype(np.float32))[:, 0] * 1023

    with closing(_opened(path)) as loaded:
        found = loaded.upscale(lr, bits=10).pixels

    # Half a level is rounding; float32 sums in another order move a value by some 1e-6 of white.
    assert np.abs(found - np.clip(expected, 0, 1023)).max() <= 0.5 + 4e-6 * 1023


def test_a_gpu_that_the_installed_runtime_lacks_is_refused_with_the_extra_to_install(tmp_path: Path) -> None:
    """Asked for CUDA, the CPU never serves in its place."""
    card = catalogue.find(str(tiny_models.nearest(tmp_path / "nearest.onnx", Form())), 2)
    import onnxruntime  # noqa: PLC0415 - after the check that it is there

    if CUDA in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")

    with pytest.raises(MissingExtra, match=f"engine cuda needs {CUDA}; the installed ONNX Runtime has") as caught:
        load.load(card, engine="cuda")

    assert "[cuda]" in (caught.value.hint or "")


def test_a_provider_that_is_listed_and_does_not_start_fails_the_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ONNX Runtime drops a provider that it cannot start; here the session then has the CPU only."""
    path = tiny_models.nearest(tmp_path / "nearest.onnx", Form())
    monkeypatch.setattr(f"{Session.__module__}.refuse_missing", lambda *_: None)
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: [CUDA, CPU])

    with (
        pytest.raises((DeviceUnused, ModelInvalid), match=r"could not be started|cannot run"),
        pytest.warns(UserWarning, match="not in available provider names"),
    ):
        Session(str(path), "cuda", EngineOptions())


def test_the_place_of_every_node_is_read_from_a_real_profile(tmp_path: Path) -> None:
    """On the CPU the proof holds for the CPU and for nothing else."""
    path = tiny_models.convolutional(tmp_path / "conv.onnx", Form())
    session = Session(str(path), "onnxruntime", EngineOptions())
    session.run(np.zeros((1, 1, 8, 8), np.float32))
    session._wanted = CUDA

    with pytest.raises(DeviceUnused, match=f"{CUDA} was asked for, and .*Conv.* ran on {CPU}"):
        session.prove()


@pytest.mark.parametrize(
    ("nodes", "fault"),
    [
        ({("Conv", CUDA): 9, ("Shape", CPU): 2}, None),
        ({("Conv", CUDA): 9, ("FusedConv", CPU): 1}, "FusedConv ran on"),
        ({("Resize", CPU): 1}, "no node ran on it"),
        ({}, "no node ran on it"),
    ],
)
def test_shapes_may_be_computed_on_the_cpu_and_heavy_nodes_not(
    nodes: dict[tuple[str, str], int], fault: str | None
) -> None:
    """One convolution elsewhere is a silent fallback; a shape is a few numbers."""
    if fault is None:
        refuse_misplaced(nodes, CUDA)
        return
    with pytest.raises(DeviceUnused, match=fault):
        refuse_misplaced(nodes, CUDA)


def test_a_profile_is_counted_by_operator_and_provider() -> None:
    """Only nodes with a provider count; a session's own events do not."""
    events = [
        {"cat": "Session", "args": {}},
        {"cat": "Node", "args": {"op_name": "Conv"}},
        {"cat": "Node", "args": {"op_name": "Conv", "provider": CPU}},
        {"cat": "Node", "args": {"op_name": "Conv", "provider": CPU}},
    ]

    assert {("Conv", CPU): 2} == placed(events)


def test_an_engine_without_its_package_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one line says what to install."""
    card = catalogue.find(str(tiny_models.nearest(tmp_path / "nearest.onnx", Form())), 2)
    monkeypatch.setattr(extras, "find_spec", lambda _: None)

    for engine, extra in (("onnxruntime", "onnxruntime"), ("tensorrt", "cuda")):
        with pytest.raises(MissingExtra, match=rf"engine {engine} needs the extra \[{extra}\]"):
            load.load(card, engine=engine)


def test_another_precision_than_f32_is_refused(tmp_path: Path) -> None:
    """An explicit precision is kept or refused, never replaced."""
    with pytest.raises(ModelInvalid, match="onnxruntime does not compute in bf16; it has f32"):
        _opened(tiny_models.nearest(tmp_path / "nearest.onnx", Form()), precision="bf16")


def test_a_card_with_another_scale_than_the_network_is_refused(tmp_path: Path) -> None:
    """A plan is made from the card, so the card must be true."""
    path = tiny_models.nearest(tmp_path / "nearest.onnx", Form(scale=3))
    path.with_suffix(".json").write_text(
        '{"scale": 2, "domain": "luma", "value_range": 1.0, "receptive_field": 0, "size_multiple": 1}', "utf-8"
    )

    with pytest.raises(ModelInvalid, match="its card says scale 2"):
        _opened(path)


@pytest.mark.parametrize("max_tile_pixels", [600_000, 1_000])
def test_frames_with_values_that_are_not_finite_are_told_apart(tmp_path: Path, max_tile_pixels: int) -> None:
    """Exactly the frame that took a root of a negative number is flagged, whole or in tiles, without a warning."""
    lr = np.concatenate([_picture(64, 80)] * 3)
    lr[1, 60, 78] = 255

    with closing(
        _opened(tiny_models.not_finite_at_white(tmp_path / "n.onnx"), max_tile_pixels=max_tile_pixels)
    ) as loaded:
        assert [True, False, True] == loaded.upscale(lr).finite.tolist()


@pytest.mark.slow
def test_tiled_equals_untiled(tmp_path: Path) -> None:
    """Seams cannot be seen: no pixel is more than a level away."""
    path = tiny_models.convolutional(tmp_path / "conv.onnx", Form())
    lr = _picture(107, 133)

    with closing(_opened(path)) as whole, closing(_opened(path, max_tile_pixels=2_000)) as tiled:
        assert np.abs(whole.upscale(lr).pixels.astype(int) - tiled.upscale(lr).pixels).max() <= 1


def test_a_tile_that_does_not_fit_into_memory_is_halved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The frame is finished with smaller tiles, and the same pixels."""
    lr = _picture(240, 300)
    run = Session.run

    def refuse_large(self: Session, values: NDArray[np.generic]) -> NDArray[np.generic]:
        if values.size > 30_000:
            raise OutOfMemory("the network's tile does not fit into memory")
        return run(self, values)

    with closing(_opened(tiny_models.convolutional(tmp_path / "conv.onnx", Form()))) as loaded:
        expected = loaded.upscale(lr).pixels
        monkeypatch.setattr(Session, "run", refuse_large)
        asked = WorkingPoint(1, 1, lr.size, "f32")
        found = at_working_point(loaded, Size(300, 240), asked, Points(), ignore).upscale(lr).pixels

        assert np.abs(expected.astype(int) - found).max() <= 1


def test_a_file_that_is_no_model_is_one_clear_line(tmp_path: Path) -> None:
    """ONNX Runtime's many exception classes become one of ours."""
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"not a model at all")

    with pytest.raises(ModelInvalid, match="ONNX Runtime cannot run the model"):
        Session(str(path), "onnxruntime", EngineOptions())


def test_loading_leaves_no_files_and_a_closed_upscaler_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The profile of the proof is removed; use after close is an error with a name."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    loaded = _opened(tiny_models.nearest(tmp_path / "nearest.onnx", Form()))

    with closing(loaded):
        assert [] == list(folder.iterdir())

    with pytest.raises(UpscaleError, match="the upscaler is closed"):
        loaded.upscale(_picture(8, 8))
