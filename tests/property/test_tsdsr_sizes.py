"""TSD-SR's sizes, tiles, windows and memory are right for every picture; none of it needs torch."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from upscale_server.errors import BadRequest, MissingExtra, OutOfMemory
from upscale_server.media.types import Size
from upscale_server.models import extras
from upscale_server.models.tsdsr import TsdsrOptions, geometry, memory, tiles, vae_windows
from upscale_server.models.tsdsr.files import missing
from upscale_server.models.tsdsr.loading import load_tsdsr

SIDES = range(16, 81)
ASKED = list(itertools.product((2, 4), (64, 128, 256)))
COSTS = memory.Costs(1536, 333, 2, (128, 256, 512, 512), can_host=True)
"""Of SD3 Medium in bfloat16."""


@pytest.mark.parametrize(("factor", "process_size"), ASKED)
def test_exact_sizes_of_every_small_picture(factor: int, process_size: int) -> None:
    """The result is exactly factor times the source; the networks see multiples of 16; nothing is stretched unasked."""
    for width, height in itertools.product(SIDES, SIDES):
        found = geometry.exact(Size(width, height), factor, process_size)

        assert Size(width * factor, height * factor) == found.final
        assert 0 == found.padded.width % 16 == found.padded.height % 16
        assert 0 <= found.padded.width - found.resized.width < 16
        assert 0 <= found.padded.height - found.resized.height < 16
        small = min(width, height) < process_size // factor
        assert small == geometry.process_size_matters(Size(width, height), factor, process_size) == found.stretches
        if small:
            assert process_size // factor * factor == min(found.resized.width, found.resized.height)
            # Whole pixels: the longer side is off by half a pixel at most, so the shape is kept.
            assert abs(found.resized.width * height - found.resized.height * width) <= max(width, height)


@pytest.mark.parametrize(("factor", "process_size"), ASKED)
def test_reference_sizes_of_every_small_picture(factor: int, process_size: int) -> None:
    """The official rounding, and never a size on which the official script crashes or hangs."""
    for width, height in itertools.product(SIDES, SIDES):
        found = geometry.reference(Size(width, height), factor, process_size, 64)

        assert Size(width * factor, height * factor) == found.final
        assert found.resized == found.padded
        assert 0 == found.padded.width % 8 == found.padded.height % 8
        grid = tiles.plan_tiles(found.latent.height, found.latent.width, 64, 8, 384)
        assert 0 == grid.height % 2 == grid.width % 2
        if min(width, height) >= process_size // factor:
            assert 0 <= width * factor - found.padded.width < 16


@pytest.mark.parametrize(
    ("source", "factor", "process_size", "expected"),
    [
        (Size(48, 40), 4, 128, Size(192, 160)),
        (Size(33, 57), 2, 64, Size(64, 112)),
        (Size(150, 117), 2, 128, Size(296, 232)),
        # 64 / 49 in double precision, times 49, is under 64: 63, then 126, then 120; the latent is odd: 112.
        (Size(49, 49), 2, 128, Size(112, 112)),
    ],
)
def test_reference_sizes_that_are_known(source: Size, factor: int, process_size: int, expected: Size) -> None:
    """What the official script was seen to work on, truncation of doubles included."""
    assert expected == geometry.reference(source, factor, process_size, 16 if source.width == 150 else 64).padded


def test_both_modes_agree_where_nothing_is_rounded() -> None:
    """1920 x 1080 at 2x and its like are worked on at one size."""
    for source in (Size(1920, 1080), Size(512, 512), Size(64, 96)):
        assert geometry.exact(source, 2, 128) == geometry.reference(source, 2, 128, 64)


@pytest.mark.parametrize("length", [1, 2, 17, 519, 20_000])
def test_a_strip_of_one_pixel_is_not_worked_on_as_a_billion(length: int) -> None:
    """Enlargement stops at a sensible area, whatever the shape."""
    for source in (Size(1, length), Size(length, 1)):
        for factor, process_size in ASKED:
            found = geometry.exact(source, factor, process_size)

            area = found.resized.width * found.resized.height
            assert area <= max(geometry.MOST_ENLARGED_PIXELS, length * factor * factor)
            assert min(found.resized.width, found.resized.height) >= factor


@given(
    height=st.integers(1, 700),
    width=st.integers(1, 700),
    tile=st.integers(8, 48).map(lambda half: 2 * half),
    overlap=st.integers(0, 40),
)
def test_tiles_cover_every_latent_and_end(height: int, width: int, tile: int, overlap: int) -> None:
    """No pixel without a tile, no tile outside, no endless loop where a side is clamped to the overlap."""
    overlap = min(overlap, tile - 1)
    grid = tiles.plan_tiles(height, width, tile, overlap, 384)

    assert max(grid.height, grid.width) <= 384
    for starts, side, length in ((grid.tops, grid.height, height), (grid.lefts, grid.width, width)):
        covered = np.zeros(length, int)
        for start in starts:
            assert 0 <= start <= length - side
            covered[start : start + side] += 1
        assert covered.min() >= 1
    if len(grid.places) > 1:
        assert grid.height == grid.width


def test_counts_of_tiles_are_the_known_ones() -> None:
    """4K, 2048 square and 8K, as counted for the official script."""
    counts = [len(tiles.plan_tiles(h, w, 64, 8, 384).places) for h, w in ((270, 480), (256, 256), (540, 960))]

    assert [45, 25, 170] == counts


def test_no_weight_is_zero_in_float32() -> None:
    """The corners' weights survive the format of the sums, so that no pixel is divided by nothing."""
    for side in (8, 10, 16, 64):
        assert (tiles.weights(side).astype(np.float32) > 0).all()


@given(count=st.integers(1, 400), most=st.integers(1, 32))
def test_batches_hold_every_tile_once_and_differ_by_one(count: int, most: int) -> None:
    """As few calls as possible, of nearly one size."""
    found = tiles.batches(count, most)

    assert list(range(count)) == [index for batch in found for index in batch]
    assert -(-count // most) == len(found)
    assert max(map(len, found)) - min(map(len, found)) <= 1


@pytest.mark.slow
@given(
    height=st.integers(1, 600),
    width=st.integers(1, 600),
    cut=st.sampled_from([vae_windows.Cut(12, 11, grows=8), vae_windows.Cut(128, 32, shrinks=8)]),
)
def test_output_windows_of_the_official_vae_cover_the_result_once(
    height: int, width: int, cut: vae_windows.Cut
) -> None:
    """Every pixel of the result comes from one tile."""
    height, width = height * cut.shrinks, width * cut.shrinks
    found = vae_windows.windows(height, width, cut)

    covered = np.zeros((cut.placed(height), cut.placed(width)), int)
    for window in found:
        covered[window.give] += 1
    assert not found or (1, 1) == (covered.min(), covered.max())


def test_memory_steps_come_in_order_and_end() -> None:
    """Tiles at once, then the tile, then strips, then the host; each ladder ends."""
    call, seen = memory.Point(4, 64), []
    while (smaller := memory.smaller_call(call)) is not None:
        call = smaller
        seen.append((call.tile_batch, call.latent_tile))
    maps, hosted = memory.Maps(0), []
    while (less := memory.smaller_maps(maps, can_host=True)) is not None:
        maps = less
        hosted.append(maps.on_host)

    assert [(2, 64), (1, 64), (1, 48), (1, 36), (1, 26), (1, 18), (1, 16)] == seen
    assert [False] * (len(hosted) - 1) + [True] == hosted
    assert memory.smaller_maps(memory.Maps(memory.LEAST_STRIP_VALUES), can_host=False) is None


def test_what_fits_is_foretold_before_any_work() -> None:
    """A GPU of 20 GiB takes 4K as it is, one of 8 GiB with the maps on the host, and a tiny one refuses."""
    picture = geometry.exact(Size(1920, 1080), 2, 128)
    begin = memory.Point(16, 64)

    assert begin == memory.fitting(picture, begin, COSTS, 16 << 30)
    assert memory.fitting(picture, begin, COSTS, 6 << 30).decoder.on_host
    with pytest.raises(OutOfMemory, match="3840x2160 needs"):
        memory.fitting(picture, begin, COSTS, 64 << 20)
    memory.require_host(COSTS.maps_bytes(picture), 8 << 30)
    with pytest.raises(OutOfMemory, match="of the machine's memory"):
        memory.require_host(COSTS.maps_bytes(picture), 7 << 30)


@pytest.mark.parametrize("changed", [{"latent_tile": 17}, {"latent_tile": 8}, {"latent_overlap": 64}])
def test_tiles_that_cannot_work_are_refused_by_the_options(changed: dict[str, int]) -> None:
    """An odd tile, one of mostly overlap, an overlap without a step."""
    with pytest.raises(BadRequest, match="latent"):
        TsdsrOptions("a", "b", "c", **changed)  # type: ignore[arg-type]


def test_missing_weights_are_named_without_torch() -> None:
    """First the settings that are empty, then the files that are not there."""
    assert ("UPSCALE_TSDSR__LORA_DIR",) == missing(TsdsrOptions("a", "", "c"))
    assert "a/transformer/config.json" in missing(TsdsrOptions("a", "b", "c"))


def test_without_the_extra_its_name_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody meets an ImportError."""
    monkeypatch.setattr(extras, "find_spec", lambda _: None)

    with pytest.raises(MissingExtra, match=r"TSD-SR needs the extra \[tsdsr\]"):
        load_tsdsr(TsdsrOptions("a", "b", "c"))
