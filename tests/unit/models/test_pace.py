"""More lanes and larger batches are taken where they pay, within what memory allows, and change no pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest

from tests.support.cramped import Cramped
from upscale_server.errors import OutOfMemory, UpscaleError
from upscale_server.media.types import Size
from upscale_server.models import pace
from upscale_server.models.base import EngineOptions, Upscaler, Working
from upscale_server.models.catalogue import find
from upscale_server.models.choices import Choices
from upscale_server.models.extras import installed
from upscale_server.models.ladder import point_key
from upscale_server.models.load import load, load_with
from upscale_server.models.pace import Pace, measure_pace, pace_of, usual_pace
from upscale_server.models.trial import textured_picture
from upscale_server.models.working_point import WorkingPoint

SIZE = Size(640, 480)
USUAL = usual_pace(SIZE)


@contextmanager
def _rates(monkeypatch: pytest.MonkeyPatch, rate: Callable[[Pace], float]) -> Iterator[list[Pace]]:
    """Replace the clock by a formula, and note what was timed."""
    timed: list[Pace] = []

    def found(one: pace._Timed) -> float:
        timed.append(one.pace)
        return rate(one.pace)

    monkeypatch.setattr(pace._Timed, "rate", found)
    monkeypatch.setattr(pace, "_seconds", lambda *_: 0.01)
    yield timed


def _loads(_lanes: int) -> Upscaler:
    return Cramped()


@pytest.mark.parametrize(
    ("rate", "best"),
    [
        (lambda _: 100.0, USUAL),
        (lambda at: 100.0 if at == USUAL else 109.0, USUAL),
        (lambda at: 100.0 * min(2, at.lanes), Pace(2, USUAL.batch)),
        (lambda at: 100.0 * at.lanes, Pace(4, USUAL.batch)),
        (lambda at: 100.0 * at.batch / at.lanes, Pace(1, 12)),
        (lambda at: 100.0 * min(2, at.lanes) * min(6, at.batch), Pace(2, 6)),
    ],
    ids=["nothing pays", "too little", "two lanes", "four lanes", "batch", "both"],
)
def test_what_pays_is_taken(monkeypatch: pytest.MonkeyPatch, rate: Callable[[Pace], float], best: Pace) -> None:
    """Doubled as long as it gains a tenth; where nothing does, it stays one lane and the usual batch."""
    with _rates(monkeypatch, rate):
        assert best == measure_pace(Cramped(), SIZE, 4, _loads)


def test_what_is_clearly_slower_is_timed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a processor that one lane fills, measuring ends at once."""
    with _rates(monkeypatch, lambda at: 100.0 if at == USUAL else 50.0) as timed:
        assert USUAL == measure_pace(Cramped(), SIZE, 4, _loads)

    assert [USUAL, Pace(2, USUAL.batch), USUAL, Pace(1, 2 * USUAL.batch)] == timed


def test_no_more_lanes_than_cores_and_no_batch_beyond_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where everything seems to pay, the bounds hold: frames wait between stages."""
    with _rates(monkeypatch, lambda at: float(at.lanes * at.batch)):
        found = [measure_pace(Cramped(), size, 2, _loads) for size in (SIZE, Size(1920, 1080), Size(3840, 2160))]

    assert [Pace(2, 12), Pace(2, 2), Pace(2, 1)] == found


def test_what_does_not_fit_into_memory_does_not_pay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither loading nor running out of memory ends a plan."""

    def full(at: Pace) -> float:
        if at != USUAL:
            raise OutOfMemory("it does not fit")
        return 1.0

    def no_room(_lanes: int) -> Upscaler:
        raise UpscaleError("no room for a second copy")

    with _rates(monkeypatch, full):
        assert USUAL == measure_pace(Cramped(), SIZE, 4, _loads)
        assert USUAL == measure_pace(Cramped(), SIZE, 4, no_room)


def test_where_the_usual_pace_does_not_fit_it_is_still_the_answer(tmp_path: Path) -> None:
    """A plan is not lost to a measurement; the work itself may ask for less. Nothing is remembered."""

    class Full(Cramped):
        working = Working("openvino", "a full device", "f32", 100.0)

    assert USUAL == pace_of(Full(most_pixels=1), SIZE, Choices(tmp_path / "choices.json"), EngineOptions())
    assert not (tmp_path / "paces.json").exists()


def test_a_call_that_takes_long_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Minutes of measuring for a heavy network on a small processor would gain nothing."""
    with _rates(monkeypatch, lambda _: pytest.fail("timed")):
        monkeypatch.setattr(pace, "_seconds", lambda *_: 2.0)

        assert USUAL == measure_pace(Cramped(), SIZE, 4, _loads)


def test_a_pace_is_measured_once_for_each_size_and_thread_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process reads it from the state folder; a damaged record is measured again."""
    asked: list[Size] = []

    def measured(_upscaler: Upscaler, size: Size, _most: int, _load: pace.Load) -> Pace:
        asked.append(size)
        return Pace(2, 3)

    monkeypatch.setattr(pace, "measure_pace", measured)
    file, options, larger = tmp_path / "choices.json", EngineOptions(), Size(1280, 720)
    with closing(load(find("fast", 2), engine="openvino", precision="f32")) as loaded:
        found = [pace_of(loaded, SIZE, Choices(file), options) for _ in range(2)]
        pace_of(loaded, larger, Choices(file), options)
        pace_of(loaded, SIZE, Choices(file), EngineOptions(threads=1))
        (tmp_path / "paces.json").write_text('{"x": {"lanes": 0}}', encoding="utf-8")
        pace_of(loaded, SIZE, Choices(file), options)

    assert [Pace(2, 3)] * 2 == found
    assert [SIZE, larger, SIZE, SIZE] == asked


def test_where_memory_was_short_nothing_more_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ladder's answer stands above the clock's."""
    monkeypatch.setattr(pace, "measure_pace", lambda *_: pytest.fail("measured"))
    choices = Choices(tmp_path / "choices.json")
    with closing(load(find("fast", 2), engine="openvino", precision="f32")) as loaded:
        key = point_key(loaded.card, loaded.working, SIZE)
        choices.points.remember(key, WorkingPoint(1, 1, SIZE.pixels, "f32"))

        assert USUAL == pace_of(loaded, SIZE, choices, EngineOptions())


def test_a_pace_for_another_size_asks_for_as_many_pixels() -> None:
    """A server measures at one size and works at all."""
    assert Pace(2, 16) == Pace(2, 4).scaled(SIZE, Size(320, 240))
    assert Pace(2, 1) == Pace(2, 4).scaled(SIZE, Size(3840, 2160))


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["openvino", "onnxruntime", "torch"])
def test_lanes_and_batch_change_no_byte(engine: str) -> None:
    """One lane with all cores and several with a share of them: the same pixels, so a plan's digest names neither."""
    if not installed(engine):
        pytest.skip(f"the packages of engine {engine} are not installed")
    picture = np.rint(textured_picture(120, 170, 1)[..., 0] * 255).astype(np.uint8)
    frames = np.stack([np.roll(picture, shift) for shift in range(8)])
    with closing(load_with(find("fast", 2), engine, EngineOptions())) as one:
        expected = one.upscale(frames).pixels

        with (
            closing(load_with(find("fast", 2), engine, EngineOptions(one.working.precision, lanes=4))) as four,
            ThreadPoolExecutor(4) as pool,
        ):
            found = np.concatenate(list(pool.map(lambda lr: four.upscale(lr).pixels, np.split(frames, 4))))

    assert np.array_equal(expected, found)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["openvino", "onnxruntime", "torch"])
def test_a_real_engine_is_measured(engine: str, tmp_path: Path) -> None:
    """The real measurement ends with a pace within its bounds, which another process finds."""
    if not installed(engine):
        pytest.skip(f"the packages of engine {engine} are not installed")
    file, size, options = tmp_path / "choices.json", Size(160, 120), EngineOptions()
    with closing(load_with(find("fast", 2), engine, options)) as loaded:
        found = pace_of(loaded, size, Choices(file), options)

        assert 1 <= found.lanes <= pace.MOST_LANES
        assert usual_pace(size).batch <= found.batch <= 16
        assert found == pace_of(loaded, size, Choices(file), options)
