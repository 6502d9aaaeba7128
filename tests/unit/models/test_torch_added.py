"""Checkpoints from outside: safetensors as they are, pickles by their weights alone, and all of them through a clip."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests.support import tiny_checkpoints
from tests.support.clip_spec import BT601, BT709, BT709_FULL, Clip, Picture
from tests.support.clip_writer import write_clip
from tests.support.frames import planes_of
from upscale_server.errors import BadRequest, ModelInvalid, ModelMissing, UpscaleError
from upscale_server.models import catalogue
from upscale_server.models.added import Addition, add, added, path_of
from upscale_server.models.extras import installed
from upscale_server.models.load import load
from upscale_server.pipeline import upscale_video
from upscale_server.plan import make_plan
from upscale_server.wish import Wish
from upscale_server.workers.in_process import InProcess

if not installed("torch"):
    pytest.skip("the extra [torch] is not installed", allow_module_level=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give the folder of added models, which is not there yet."""
    return tmp_path / "state" / "models"


def _left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt", ".ckpt"])
@pytest.mark.parametrize(("name", "scale"), [("compact-x3", 3), ("esrgan-x4", 4), ("span-x2", 2)])
def test_a_checkpoint_is_added_with_a_card_and_kept_as_safetensors(
    folder: Path, suffix: str, name: str, scale: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was found out once is on the card; the original may go, and nothing is looked at again."""
    tmp_path = folder.parent.parent
    path = tiny_checkpoints.save(tmp_path / f"{name}{suffix}", tiny_checkpoints.CHECKPOINTS[name]())
    original = _sha256(path)

    card = add(Addition(str(path), original, licence="MIT", allow_pickle=suffix != ".safetensors"), folder)
    path.unlink()
    monkeypatch.setattr("upscale_server.models.engines.torch.inspect", lambda *_: pytest.fail("inspected"))

    assert [f"{name}.json", f"{name}.safetensors"] == _left(folder)
    assert original == json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))["made_from_sha256"]
    assert [card] == added(folder) == [catalogue.find(str(path_of(name, folder)), scale)]
    assert (name, scale, "rgb", "MIT", 1.0) == (card.name, card.scale, card.domain, card.licence, card.value_range)
    assert ("f16", "bf16", "f32") == card.precisions
    assert card.architecture.lower().startswith(("realesrgan compact", "esrgan", "span"))
    with closing(load(card)) as upscaler:
        assert upscaler.working.self_test_psnr >= 45


def test_a_pickle_and_safetensors_of_the_same_weights_are_the_same_model(tmp_path: Path, folder: Path) -> None:
    """Converting changes no weight."""
    state = tiny_checkpoints.compact()
    paths = [tiny_checkpoints.save(tmp_path / name, state) for name in ("one.safetensors", "two.pth")]

    cards = [add(Addition(str(path), allow_pickle=True), folder) for path in paths]

    read = importlib.import_module("safetensors.torch").load_file
    one, two = (read(card.path) for card in cards)
    assert set(one) == set(two) == set(state)
    assert all(bool((one[name] == two[name]).all()) for name in state)


def test_a_pickle_is_opened_only_with_leave(tmp_path: Path, folder: Path) -> None:
    """Neither adding nor running one does it silently, and both say what would."""
    path = tiny_checkpoints.made(tmp_path / "compact-x2.pth")

    with pytest.raises(BadRequest, match="is a pickle, which can hold code") as caught:
        add(Addition(str(path)), folder)
    assert "--allow-pickle" in str(caught.value.hint)
    with pytest.raises(ModelInvalid, match="it is not opened to run") as refused:
        catalogue.find(str(path), 2)
    assert "upscale models add" in str(refused.value.hint)
    assert [] == _left(folder)


class _Calls:
    """What makes a pickle a program, of a kind that torch has not heard of."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return Path, ("/",)


def test_a_pickle_that_builds_something_else_is_refused(tmp_path: Path, folder: Path) -> None:
    """A path is harmless, and who says that the next one is."""
    path = tmp_path / "odd.pth"
    importlib.import_module("torch").save({**tiny_checkpoints.compact(), "extra": _Calls()}, path)

    with pytest.raises(ModelInvalid, match=r"odd\.pth is a pickle that wants to call pathlib\.\w*Path"):
        add(Addition(str(path), allow_pickle=True), folder)


class _Touches:
    """What makes a pickle a program: when it is opened, a file appears."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_with_code_is_refused_and_not_run(tmp_path: Path, folder: Path, *, zipped: bool) -> None:
    """In the format of today and in the old one."""
    trace, path = tmp_path / "it ran", tmp_path / "evil.pth"
    state: dict[str, Any] = {**tiny_checkpoints.compact(), "extra": _Touches(trace)}
    importlib.import_module("torch").save(state, path, _use_new_zipfile_serialization=zipped)

    with pytest.raises(ModelInvalid, match=r"evil\.pth is a pickle that wants to call posix\.mkdir") as caught:
        add(Addition(str(path), allow_pickle=True), folder)

    assert "\n" not in caught.value.detail
    assert not trace.exists()
    assert [] == _left(folder)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    place = 20 if path.suffix == ".safetensors" else len(content) // 2  # the names, or some weight
    content[place] ^= 0xFF
    path.write_bytes(bytes(content))


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _text(path: Path) -> None:
    path.write_text("<html>not found</html>", encoding="utf-8")


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("harm", [_cut, _empty, _text, _flip])
def test_a_damaged_file_is_one_clear_line(
    tmp_path: Path, folder: Path, suffix: str, harm: Callable[[Path], None]
) -> None:
    """Half a download, none at all, a page that says so instead, one wrong byte."""
    path = tiny_checkpoints.made(tmp_path / f"compact-x2{suffix}")
    harm(path)

    with pytest.raises(ModelInvalid, match=f"compact-x2{suffix} is no readable") as caught:
        add(Addition(str(path), allow_pickle=True), folder)

    assert "\n" not in caught.value.detail
    assert ".adding-" not in caught.value.detail
    assert [] == _left(folder)


def test_a_pickle_without_weights_is_refused(tmp_path: Path, folder: Path) -> None:
    """A list, or a dictionary of settings."""
    torch = importlib.import_module("torch")
    for content, said in (([1, 2], "holds a list"), ({"lr": 0.1}, "holds no weights")):
        torch.save(content, tmp_path / "none.pth")
        with pytest.raises(ModelInvalid, match=f"none.pth {said}"):
            add(Addition(str(tmp_path / "none.pth"), allow_pickle=True), folder)

    assert [] == _left(folder)


def test_what_is_no_super_resolution_is_refused(tmp_path: Path, folder: Path) -> None:
    """Weights of a known architecture that turn the picture over."""
    state = tiny_checkpoints.esrgan()
    last = max((name for name in state if name.count(".") == 2), key=lambda name: int(name.split(".")[1]))
    last = last.rsplit(".", 1)[0]
    state[f"{last}.weight"] *= -1
    state[f"{last}.bias"] += 1
    path = tiny_checkpoints.save(tmp_path / "negative.safetensors", state)

    with pytest.raises(ModelInvalid, match=r"^\S*negative\.safetensors is no super-resolution model"):
        add(Addition(str(path)), folder)


def test_weights_that_were_changed_after_they_were_added_are_refused(tmp_path: Path, folder: Path) -> None:
    """The bytes must be those on the card."""
    card = add(Addition(str(tiny_checkpoints.made(tmp_path / "compact-x2.safetensors"))), folder)
    _flip(Path(card.path))

    with pytest.raises(ModelInvalid, match="its card says"):
        load(card)


ENTRY = {
    "name": "Tiny Compact",
    "author": ["somebody", "another"],
    "license": "CC-BY-4.0",
    "tags": ["photo", "compression-removal"],
    "description": "Made for\ntests.",
    "architecture": "compact",
    "scale": 2,
    "inputChannels": 3,
    "outputChannels": 3,
    "dataset": "none",
}


@pytest.mark.parametrize("beside", [True, False])
def test_what_openmodeldb_says_is_on_the_card(tmp_path: Path, folder: Path, *, beside: bool) -> None:
    """Beside the file, or named; a licence that is given wins."""
    path = tiny_checkpoints.made(tmp_path / "compact-x2.safetensors")
    told = path.with_suffix(".json") if beside else tmp_path / "entry.json"
    told.write_text(json.dumps(ENTRY), encoding="utf-8")

    card = add(Addition(str(path), metadata="" if beside else str(told)), folder)

    assert "Tiny Compact by somebody, another: Made for tests." == card.summary
    assert ("CC-BY-4.0", "photo, compression-removal", ("none",)) == (card.licence, card.for_sources, card.trained_on)
    assert "compact-x2" == card.name


@pytest.mark.parametrize(
    ("changes", "asked", "kind", "said"),
    [
        ({"scale": 4}, {}, ModelInvalid, "is a model of scale 2; its metadata says 4"),
        ({}, {"scale": 4}, ModelInvalid, "is a model of scale 2; asked for was 4"),
        ({"resources": [{"type": "pth", "sha256": "0" * 64}]}, {}, ModelInvalid, "its metadata lists 000"),
        ({}, {"metadata": "missing.json"}, ModelMissing, "no metadata file missing.json"),
        ({}, {"sha256": "0" * 64}, ModelInvalid, "has SHA-256"),
    ],
)
def test_a_file_that_is_not_what_is_said_of_it_is_refused(
    folder: Path, changes: dict[str, Any], asked: dict[str, Any], kind: type[UpscaleError], said: str
) -> None:
    """Another scale, another hash: it is not the model that was meant."""
    path = tiny_checkpoints.made(folder.parent.parent / "compact-x2.pth")
    path.with_suffix(".json").write_text(json.dumps({**ENTRY, **changes}), encoding="utf-8")

    with pytest.raises(kind, match=said):
        add(Addition(str(path), allow_pickle=True, **asked), folder)

    assert [] == _left(folder)


# ------------------------------------------------------------------------------------------------ through a clip


def _means(path: Path) -> np.ndarray:
    """Return the mean of each plane of each frame, in levels of 8 bits."""
    with av.open(path) as container:
        found = []
        for frame in container.decode(video=0):
            planes, bits = planes_of(frame)
            found.append([float(plane.mean()) / (1 << (bits - 8)) for plane in planes])
    return np.array(found)


@pytest.mark.parametrize(
    ("colour", "pixel_format"), [(BT709, "yuv420p"), (BT601, "yuv422p10le"), (BT709_FULL, "yuv420p")]
)
def test_colours_survive_a_checkpoint_with_the_streams_own_matrix(
    tmp_path: Path, colour: tuple[int, int, int, int], pixel_format: str
) -> None:
    """Y'CbCr to RGB, through the network, and back: with another matrix or range the means would move by tens."""
    picture = Picture(codec="libx264", pixel_format=pixel_format, frame_count=5, colour=colour)
    source = write_clip(Clip(pictures=(picture,)), tmp_path / "clip.mp4")
    state = {name: value * 0 for name, value in tiny_checkpoints.compact().items()}  # what is left repeats pixels
    network = tiny_checkpoints.save(tmp_path / "compact.safetensors", state)
    wish = Wish(model=str(network), codec="h264", crf=0, preset="ultrafast", threads=1)

    plan = make_plan(source, wish)
    with InProcess(lambda plan, one: load(one.card, engine=plan.engine, precision=plan.precision)) as executor:
        result = upscale_video(plan, executor, tmp_path / "work", lambda _: None)

    assert ("torch", "rgb") == (plan.engine, plan.passes[0].card.domain)
    assert {"torch", "spandrel"} <= plan.made_with.keys()
    assert result.audit.ok, result.audit.faults
    # Painted colours partly lie outside the RGB cube and are clipped, which moves a mean by a level or two.
    assert np.abs(_means(source) - _means(result.path)).max() < 3.0


def test_a_model_that_does_not_enlarge_runs_before_the_classical_kernel(tmp_path: Path) -> None:
    """A x1 network cleans; the size that was asked for is reached by Lanczos."""
    source = write_clip(Clip(pictures=(Picture(frame_count=3),)), tmp_path / "clip.mp4")
    network = tiny_checkpoints.made(tmp_path / "compact-x1.safetensors")

    plan = make_plan(source, Wish(model=str(network), scale=2, threads=1))
    with InProcess(lambda plan, one: load(one.card, engine=plan.engine, precision=plan.precision)) as executor:
        result = upscale_video(plan, executor, tmp_path / "work", lambda _: None)

    assert [1] == [one.card.scale for one in plan.passes]
    assert plan.source.size.times(2) == plan.target
    assert result.audit.ok, result.audit.faults
