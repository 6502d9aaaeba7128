"""Too little memory is answered inside the job: lanes, batch, tile, precision, in this order, told and remembered."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from tests.support.cramped import Cramped
from upscale_server.errors import OutOfMemory
from upscale_server.events import Event, SteppedDown, ignore
from upscale_server.media.types import Size
from upscale_server.models.base import Pixels, Precision
from upscale_server.models.catalogue import available
from upscale_server.models.choices import Choices, Points
from upscale_server.models.extras import installed
from upscale_server.models.ladder import at_working_point, point_key
from upscale_server.models.load import load
from upscale_server.models.trial import textured_picture
from upscale_server.models.working_point import SMALLEST_TILE_PIXELS, WorkingPoint, step_down

SIZE = Size(300, 240)
ASKED = WorkingPoint(lanes=4, batch=4, tile_pixels=SIZE.pixels, precision="f32")


def _frames(count: int = 4) -> Pixels:
    return np.random.default_rng(5).integers(0, 256, (count, SIZE.height, SIZE.width), np.uint8)


def _points_from(point: WorkingPoint | None, *, can_tile: bool = True) -> list[str]:
    found = []
    while point is not None:
        found.append(str(point))
        point = step_down(point, can_tile=can_tile)
    return found


def test_the_order_is_lanes_batch_tile_precision() -> None:
    """What costs nothing but time goes first; what changes pixels goes last."""
    first = WorkingPoint(2, 3, 3 * SMALLEST_TILE_PIXELS, "f32", ("bf16",))

    assert [
        "lanes 2, batch 3, tile 49152 pixels, f32",
        "lanes 1, batch 3, tile 49152 pixels, f32",
        "lanes 1, batch 1, tile 49152 pixels, f32",
        "lanes 1, batch 1, tile 24576 pixels, f32",
        "lanes 1, batch 1, tile 24576 pixels, bf16",
    ] == _points_from(first)


def test_a_model_of_fixed_size_has_no_smaller_tile() -> None:
    """Its window is what it is."""
    assert 1 == len(_points_from(WorkingPoint(1, 1, SIZE.pixels, "f32"), can_tile=False))


@pytest.mark.parametrize(
    ("most_pixels", "batch", "tile"),
    [(4 * SIZE.pixels, 4, SIZE.pixels), (2 * SIZE.pixels, 2, SIZE.pixels), (SIZE.pixels // 3, 1, SIZE.pixels // 2)],
)
def test_whatever_fits_gives_the_same_bytes(most_pixels: int, batch: int, tile: int) -> None:
    """A call that is too large is done in parts: fewer frames first, then windows; every pixel is the same."""
    lr = _frames()
    expected = Cramped().upscale(lr).pixels
    ladder = at_working_point(Cramped(most_pixels=most_pixels), SIZE, ASKED, Points(), ignore)

    found = ladder.upscale(lr)

    assert np.array_equal(expected, found.pixels)
    assert [True] * 4 == found.finite.tolist()
    assert (batch, tile) == (ladder.point.batch, ladder.point.tile_pixels)


def test_too_many_calls_at_once_become_fewer_lanes() -> None:
    """Four calls that were refused together take one step, and from then on at most two are at work."""
    device = Cramped(most_calls=2, meet=4)
    told: list[Event] = []
    ladder = at_working_point(device, SIZE, ASKED, Points(), told.append)
    batches = [_frames(1) + np.uint8(index) for index in range(8)]

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda lr: ladder.upscale(lr).pixels, batches))

    expected = [Cramped().upscale(lr).pixels for lr in batches]
    assert all(np.array_equal(mine, other) for mine, other in zip(expected, found, strict=True))
    assert 2 == ladder.point.lanes
    assert device.most_seen <= 2
    assert [SteppedDown("cramped", str(SIZE), str(ladder.point))] == told


def test_a_device_that_holds_nothing_is_an_error_in_the_end() -> None:
    """The ladder has a last rung, and the fault of the device is what is raised."""
    ladder = at_working_point(Cramped(most_pixels=100), SIZE, ASKED, Points(), ignore)

    with pytest.raises(OutOfMemory, match="pixels in 1 calls do not fit"):
        ladder.upscale(_frames())

    assert step_down(ladder.point, can_tile=True) is None


def test_precision_is_told_and_not_taken() -> None:
    """Pixels of two precisions must not meet in one job, so the call fails and the next step is remembered."""
    device = Cramped(most_pixels=100)
    asked = WorkingPoint(1, 1, SMALLEST_TILE_PIXELS, "f32", ("bf16", "f16"))
    points = Points()
    ladder = at_working_point(device, SIZE, asked, points, ignore)

    for _ in range(2):  # a second call must not step any further
        with pytest.raises(OutOfMemory):
            ladder.upscale(_frames())

    assert WorkingPoint(1, 1, SMALLEST_TILE_PIXELS, "bf16", ("f16",)) == points.recall(
        point_key(device.card, device.working, SIZE)
    )


def test_the_next_start_begins_where_memory_sufficed(tmp_path: Path) -> None:
    """The working point lies beside the choices, by model, device and size; another size starts afresh."""
    at_working_point(
        Cramped(most_pixels=SIZE.pixels), SIZE, ASKED, Choices(tmp_path / "choices.json").points, ignore
    ).upscale(_frames())
    again = Choices(tmp_path / "choices.json").points

    resumed = at_working_point(Cramped(), SIZE, ASKED, again, ignore)
    other = at_working_point(Cramped(), Size(64, 48), ASKED, again, ignore)

    assert WorkingPoint(1, 1, SIZE.pixels, "f32") == resumed.point
    assert ASKED == other.point
    assert ["working_points.json"] == [path.name for path in tmp_path.iterdir()]


def test_what_was_remembered_never_asks_for_more(tmp_path: Path) -> None:
    """A record is a ceiling: a job that asks for less stays with less."""
    points = Points(tmp_path / "points.json")
    points.remember(point_key(Cramped().card, Cramped().working, SIZE), WorkingPoint(2, 8, 20_000, "f32"))

    ladder = at_working_point(Cramped(), SIZE, ASKED, points, ignore)

    assert WorkingPoint(2, 4, 20_000, "f32") == ladder.point


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", '{"KEY": {"lanes": 0, "batch": 1, "tile_pixels": 1, "precision": "f32", "lower": []}}',
     '{"KEY": {"lanes": "many"}}', '{"KEY": 7}'],
)  # fmt: skip
def test_a_damaged_memory_is_no_memory(tmp_path: Path, text: str) -> None:
    """A file that somebody edited costs a few steps, never a job."""
    key = point_key(Cramped().card, Cramped().working, SIZE)
    (tmp_path / "points.json").write_text(text.replace("KEY", key), encoding="utf-8")

    assert ASKED == at_working_point(Cramped(), SIZE, ASKED, Points(tmp_path / "points.json"), ignore).point


@pytest.mark.slow
@pytest.mark.parametrize(("engine", "precision"), [("openvino", "auto"), ("onnxruntime", "f32")])
def test_a_built_in_network_gives_the_same_picture_at_any_working_point(engine: str, precision: Precision) -> None:
    """Lanes, batch and tile are memory's business and not the picture's."""
    if not installed(engine):
        pytest.skip(f"the extra [{engine}] is not installed")
    card = next(card for card in available() if card.path)
    lr = np.rint(textured_picture(203, 341, 1)[None, ..., 0] * 255).astype(np.uint8).repeat(2, axis=0)
    with closing(load(card, engine=engine, precision=precision)) as loaded:
        expected = loaded.upscale(lr).pixels

        for point in (WorkingPoint(1, 1, 40_000, "f32"), WorkingPoint(2, 2, SMALLEST_TILE_PIXELS, "f32")):
            found = at_working_point(loaded, Size(341, 203), point, Points(), ignore).upscale(lr).pixels
            # Equal to the last byte where it was tried; other kernels may round a sum the other way.
            assert np.abs(expected.astype(int) - found).max() <= 1
