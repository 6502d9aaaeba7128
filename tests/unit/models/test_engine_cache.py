"""Engines that take minutes: kept by what they are true for, repaired, built in the background, swapped at a plan."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tests.support import substitute_engines, tiny_models
from tests.support.cramped import Cramped
from tests.support.processes import is_alive
from tests.support.tiny_models import Form
from upscale_server.errors import Canceled, DeviceUnused, MissingExtra, StorageError
from upscale_server.media.types import Size
from upscale_server.models import catalogue, load, select
from upscale_server.models.base import EngineOptions, Pixels, Upscaled
from upscale_server.models.card import ModelCard
from upscale_server.models.choices import Candidate, Choices
from upscale_server.models.engine_builds import EngineBuilds
from upscale_server.models.engine_cache import EngineCache, EngineKey

pytest.importorskip("onnxruntime", reason="the extra [onnxruntime] is not installed")

from upscale_server.models.engines.onnxruntime import session, tensorrt

KEY = EngineKey("0a1b", 720, 1280, "f32", "onnxruntime 1.31.1", "a GPU; a driver")
OPTIONS = EngineOptions(frame_size=(40, 56))


@pytest.fixture
def cache(tmp_path: Path) -> EngineCache:
    """Give a cache whose folder is not there yet."""
    return EngineCache(tmp_path / "state" / "tensorrt")


@pytest.fixture
def card(tmp_path: Path) -> ModelCard:
    """Give a small network."""
    return catalogue.find(str(tiny_models.convolutional(tmp_path / "conv.onnx", Form())), 2)


def _fill(folder: Path) -> None:
    (folder / "network.engine").write_bytes(substitute_engines.CONTENT)


def _built(cache: EngineCache) -> Path:
    with cache.building(KEY) as staging:
        _fill(staging)
    found = cache.find(KEY)
    assert found is not None
    return found


@pytest.mark.parametrize(
    "other",
    [
        replace(KEY, model_sha256="0a1c"),
        replace(KEY, height=1280, width=720),
        replace(KEY, precision="f16"),
        replace(KEY, library="onnxruntime 1.32.0"),
        replace(KEY, device="a GPU; another driver"),
    ],
)
def test_an_engine_is_found_under_its_own_key_only(cache: EngineCache, other: EngineKey) -> None:
    """Model, shape, precision, library and device: an engine for another is none."""
    folder = _built(cache)

    assert substitute_engines.CONTENT == (folder / "network.engine").read_bytes()
    assert cache.find(other) is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "network.engine").write_bytes(b"x" * 32),
        lambda folder: (folder / "network.engine").write_bytes(substitute_engines.CONTENT[:-1]),
        lambda folder: (folder / "network.engine").unlink(),
        lambda folder: (folder / "another.engine").write_bytes(b""),
        lambda folder: (folder / "sealed.json").write_text("{", encoding="utf-8"),
        lambda folder: (folder / "sealed.json").unlink(),
    ],
)
def test_a_damaged_engine_is_removed_and_built_again(cache: EngineCache, damage: Callable[[Path], object]) -> None:
    """No library is ever handed bytes that are not those it wrote."""
    damage(_built(cache))

    assert cache.find(KEY) is None
    assert [] == list(cache.folder.iterdir())
    assert "opened" == cache.opened(KEY, _fill, lambda _: "opened")
    assert cache.find(KEY) is not None


def test_a_build_that_fails_leaves_nothing(cache: EngineCache) -> None:
    """A half engine is not an engine."""

    def fail(folder: Path) -> None:
        _fill(folder)
        raise DeviceUnused("the GPU is gone")

    with pytest.raises(DeviceUnused, match="the GPU is gone"):
        cache.opened(KEY, fail, lambda _: "opened")

    assert [] == list(cache.folder.iterdir())


def test_an_engine_that_is_whole_and_refused_is_built_once_more(cache: EngineCache) -> None:
    """A driver may refuse what it accepted before; what is refused right after its build is an error."""
    (_built(cache) / "network.engine").write_bytes(b"made by an older driver")
    with cache.building(replace(KEY, height=1)) as staging:
        (staging / "network.engine").write_bytes(b"made by an older driver")
    old, opened = replace(KEY, height=1), []

    def open_in(folder: Path) -> bytes:
        opened.append((folder / "network.engine").read_bytes())
        if opened[-1] != substitute_engines.CONTENT:
            raise DeviceUnused("the engine is for another driver")
        return opened[-1]

    assert substitute_engines.CONTENT == cache.opened(old, _fill, open_in)
    assert [b"made by an older driver", substitute_engines.CONTENT] == opened
    with pytest.raises(DeviceUnused, match="another driver"):
        cache.opened(KEY, lambda folder: _fill(folder) or (folder / "network.engine").write_bytes(b"?"), open_in)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """The disk's own reason is given."""
    (tmp_path / "file").write_text("in the way", encoding="utf-8")

    with pytest.raises(StorageError, match="cannot be written: not a directory"):
        EngineCache(tmp_path / "file" / "tensorrt").opened(KEY, _fill, lambda _: "opened")


def test_a_wanted_engine_is_built_once_while_the_caller_goes_on(cache: EngineCache) -> None:
    """Asking does not wait, asking again starts nothing, and a finished engine is there."""
    builds, may_end, begun = EngineBuilds(cache), threading.Event(), []

    def build(folder: Path) -> None:
        begun.append(folder)
        assert may_end.wait(60)
        _fill(folder)

    assert [False, False] == [builds.offer(KEY, build) for _ in range(2)]
    may_end.set()
    builds.wait()

    assert builds.offer(KEY, build)
    assert (1, "") == (len(begun), builds.fault(KEY))


def test_what_another_process_builds_is_waited_for_and_not_built_twice(cache: EngineCache) -> None:
    """Two processes of a server want the same engine: the second finds it when its turn comes."""
    builds = EngineBuilds(cache)

    with cache.alone():
        builds.offer(KEY, lambda _: pytest.fail("built twice"))
        _built(cache)
    builds.wait()

    assert (True, "") == (builds.offer(KEY, _fill), builds.fault(KEY))


def test_a_build_that_failed_is_told_and_not_repeated(cache: EngineCache) -> None:
    """A device that cannot build does not try at every plan."""
    builds, begun = EngineBuilds(cache), []

    def fail(folder: Path) -> None:
        begun.append(folder)
        raise DeviceUnused("no kernel for this network")

    for _ in range(3):
        assert not builds.offer(KEY, fail)
        builds.wait()

    assert (1, "no kernel for this network") == (len(begun), builds.fault(KEY))


@pytest.mark.slow
def test_a_real_model_is_built_in_another_process_and_opened_from_its_folder(
    cache: EngineCache, card: ModelCard
) -> None:
    """The way TensorRT goes, with a session on the CPU in its place: spawn, self-test, seal, open, upscale."""
    opens = substitute_engines.open_on_cpu
    lr = np.full((1, 40, 56), 90, np.uint8)
    key = tensorrt.key_of(card, OPTIONS)

    with closing(
        cache.opened(key, tensorrt.in_a_process(card, OPTIONS, opens), partial(opens, card, OPTIONS))
    ) as loaded:
        assert (1, 80, 112) == loaded.upscale(lr).pixels.shape

    assert (card.sha256, 40, 56) == (key.model_sha256, key.height, key.width)
    assert cache.find(key) is not None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("opens", "fault"),
    [(substitute_engines.refuse, "no kernel for conv in"), (substitute_engines.crash, "exit code 9")],
)
def test_a_build_that_refuses_or_crashes_is_a_fault_and_not_our_end(
    cache: EngineCache, card: ModelCard, opens: tensorrt.Opens, fault: str
) -> None:
    """The library's process may die; this one tells why."""
    with pytest.raises(DeviceUnused, match=f"TensorRT could not build an engine for conv: .*{fault}"):
        cache.opened(KEY, tensorrt.in_a_process(card, OPTIONS, opens), lambda _: None)

    assert [] == list(cache.folder.iterdir())


@pytest.mark.slow
def test_whoever_waits_for_a_build_is_asked_whether_to_go_on(
    cache: EngineCache, card: ModelCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lane is heard of during a build of minutes; what it asks cannot be handed to another process."""
    monkeypatch.setattr(tensorrt, "_HEARD_SECONDS", 0.01)
    pipe: queue.SimpleQueue[int] = queue.SimpleQueue()  # as in a lane's: it is not pickled
    options = replace(OPTIONS, between_tiles=lambda: pipe.put(1))

    with cache.building(KEY) as staging:
        tensorrt.in_a_process(card, options, substitute_engines.open_on_cpu)(staging)

    assert cache.find(KEY) is not None
    assert not pipe.empty()


@pytest.mark.slow
def test_a_build_ends_with_the_work_that_it_is_for(
    cache: EngineCache, card: ModelCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cancel does not wait for minutes, and leaves neither a process nor half an engine."""
    monkeypatch.setattr(tensorrt, "_HEARD_SECONDS", 0.01)
    building: list[int] = []

    def stop_once_it_works() -> None:
        said = [path.read_text(encoding="ascii") for path in cache.folder.glob("*/building.pid")]
        if said and said[0]:
            building.append(int(said[0]))
            raise Canceled("stopped")

    build = tensorrt.in_a_process(
        card, replace(OPTIONS, between_tiles=stop_once_it_works), substitute_engines.build_for_ever
    )
    with pytest.raises(Canceled):
        cache.opened(KEY, build, lambda _: None)

    assert not is_alive(building[0])
    assert [] == list(cache.folder.iterdir())


def test_the_range_of_shapes_holds_the_window_and_the_self_test(card: ModelCard, tmp_path: Path) -> None:
    """Both run on one engine, so that none is built while frames wait."""
    found = tensorrt.provider_options(card, EngineOptions(frame_size=(48, 320)), tmp_path)

    shapes = [found[f"trt_profile_{name}_shapes"] for name in ("min", "opt", "max")]
    assert ["lr:1x1x48x160", "lr:1x1x48x320", "lr:1x1x96x320"] == shapes
    assert str(tmp_path) == found["trt_engine_cache_path"]


def test_tensorrt_without_its_provider_is_refused_before_anything_is_built(card: ModelCard, tmp_path: Path) -> None:
    """Asked for by name, it is never replaced."""
    if "tensorrt" in session.available_engines():
        pytest.skip("this ONNX Runtime has TensorRT")

    with pytest.raises(MissingExtra, match="engine tensorrt needs TensorrtExecutionProvider"):
        load.load_with(card, "tensorrt", replace(OPTIONS, engines=str(tmp_path / "engines")))

    assert not (tmp_path / "engines").exists()


class _Slow(Cramped):
    """The same pixels with many times the work."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self._times = times

    def upscale(self, lr: Pixels, *, bits: int = 8, exact: bool = False) -> Upscaled:
        """Upscale again and again."""
        for _ in range(self._times):
            super().upscale(lr, bits=bits)
        return super().upscale(lr, bits=bits, exact=exact)


@pytest.mark.slow
def test_the_faster_engine_is_taken_from_the_plan_after_its_build(
    cache: EngineCache, card: ModelCard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CUDA serves at once and is remembered; TensorRT is chosen when it is built, and the remembered choice stays."""
    builds = EngineBuilds(cache)
    choices = Choices(tmp_path / "choices.json", builds)
    may_end = threading.Event()

    def build(folder: Path) -> None:
        assert may_end.wait(60)
        _fill(folder)

    engines = {"openvino": _Slow(1000), "cuda": _Slow(100), "tensorrt": Cramped()}
    others = (Candidate("openvino", "f32"), Candidate("cuda", "f32"))
    monkeypatch.setattr(
        select, "candidates", lambda _card, asked: others if asked.engine == "auto" else tuple({asked} & set(others))
    )
    monkeypatch.setattr(session, "available_engines", lambda: ("onnxruntime", "cuda", "tensorrt"))
    monkeypatch.setattr(tensorrt, "in_a_process", lambda *_: build)
    monkeypatch.setattr(select, "load_with", lambda _card, engine, _options: engines[engine])
    auto = Candidate("auto", "auto")

    before = [select.choose(card, auto, Size(56, 40), choices) for _ in range(2)]
    may_end.set()
    builds.wait()
    after = [select.choose(card, auto, Size(56, 40), choices) for _ in range(2)]

    assert [Candidate("cuda", "f32")] * 2 == before
    assert [Candidate("tensorrt", "f32")] * 2 == after
    # Asked for by name, CUDA is not replaced; settled on by measurement, it is.
    assert others[1] == select.choose(card, others[1], Size(56, 40), choices)
    assert after[0] == select.choose_built(card, others[1], Size(56, 40), choices)
