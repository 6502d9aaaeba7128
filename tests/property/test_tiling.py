"""Tiles of any picture cover it once, stay inside it and keep their distance from seams."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from upscale_server.models.tiling import TileNeeds, TilePlan, plan_tiles

SIDES = st.integers(1, 700)
NEEDS = st.builds(
    TileNeeds,
    overlap=st.integers(0, 24),
    max_pixels=st.integers(16_384, 200_000),
    size_multiple=st.sampled_from([1, 2, 4, 8, 16]),
)
FIXED_NEEDS = st.builds(
    TileNeeds,
    overlap=st.integers(0, 24),
    max_pixels=st.just(1),
    fixed_size=st.tuples(st.integers(8, 200), st.integers(8, 200)),
)


def _times_covered(height: int, width: int, plan: TilePlan) -> np.ndarray:
    covered = np.zeros((height, width), int)
    for tile in plan.tiles:
        covered[tile.top : tile.top + tile.height, tile.left : tile.left + tile.width] += 1
    return covered


@settings(max_examples=60, deadline=None)
@given(height=SIDES, width=SIDES, needs=st.one_of(NEEDS, FIXED_NEEDS))
def test_every_pixel_is_covered_exactly_once(height: int, width: int, needs: TileNeeds) -> None:
    """No pixel is missed and none is computed by two tiles."""
    plan = plan_tiles(height, width, needs)

    covered = _times_covered(height, width, plan)
    assert (1, 1) == (covered.min(), covered.max())


@settings(max_examples=60, deadline=None)
@given(height=SIDES, width=SIDES, needs=st.one_of(NEEDS, FIXED_NEEDS))
def test_windows_lie_inside_the_padded_picture_and_hold_their_tile(height: int, width: int, needs: TileNeeds) -> None:
    """What is kept lies in the window, and the window in the picture."""
    plan = plan_tiles(height, width, needs)

    for tile in plan.tiles:
        assert 0 <= tile.window_top <= tile.top
        assert 0 <= tile.window_left <= tile.left
        assert tile.top + tile.height <= tile.window_top + plan.window[0] <= plan.padded[0]
        assert tile.left + tile.width <= tile.window_left + plan.window[1] <= plan.padded[1]


@settings(max_examples=60, deadline=None)
@given(height=SIDES, width=SIDES, needs=NEEDS)
def test_seams_are_an_overlap_away_from_the_windows_border(height: int, width: int, needs: TileNeeds) -> None:
    """Only at the picture's own border may a kept pixel be near the window's border."""
    plan = plan_tiles(height, width, needs)

    for tile in plan.tiles:
        assert tile.window_top == 0 or tile.top - tile.window_top >= needs.overlap
        assert tile.window_left == 0 or tile.left - tile.window_left >= needs.overlap
        below = tile.window_top + plan.window[0]
        right = tile.window_left + plan.window[1]
        assert below == plan.padded[0] or below - (tile.top + tile.height) >= needs.overlap
        assert right == plan.padded[1] or right - (tile.left + tile.width) >= needs.overlap


@settings(max_examples=60, deadline=None)
@given(height=SIDES, width=SIDES, needs=NEEDS)
def test_windows_and_origins_are_multiples_and_padding_is_the_least(height: int, width: int, needs: TileNeeds) -> None:
    """A model with a size multiple sees the same grid whether the picture is cut or not."""
    multiple = needs.size_multiple

    plan = plan_tiles(height, width, needs)

    assert plan.window[0] % multiple == plan.window[1] % multiple == 0
    assert all(tile.window_top % multiple == tile.window_left % multiple == 0 for tile in plan.tiles)
    assert 0 <= plan.padded[0] - height < multiple
    assert 0 <= plan.padded[1] - width < multiple


@settings(max_examples=60, deadline=None)
@given(height=SIDES, width=SIDES, needs=FIXED_NEEDS)
def test_a_fixed_model_only_sees_its_own_size(height: int, width: int, needs: TileNeeds) -> None:
    """Small pictures are padded up to a fixed model, large ones cut down to it."""
    plan = plan_tiles(height, width, needs)

    assert needs.fixed_size == plan.window


@settings(max_examples=60, deadline=None)
@given(height=SIDES, width=SIDES, needs=NEEDS)
def test_a_small_enough_picture_is_not_cut(height: int, width: int, needs: TileNeeds) -> None:
    """Cutting costs the overlap, so it is done only above the limit."""
    plan = plan_tiles(height, width, needs)

    if plan.padded[0] * plan.padded[1] <= needs.max_pixels:
        assert len(plan.tiles) == 1


def test_large_pictures_are_cut_within_the_limit_at_little_cost() -> None:
    """A 4K picture under a limit of 0.6 MP costs under a tenth more than uncut."""
    plan = plan_tiles(2160, 3840, TileNeeds(overlap=6, max_pixels=600_000))

    window = plan.window[0] * plan.window[1]
    assert window <= 600_000
    assert window * len(plan.tiles) <= 1.1 * 2160 * 3840
