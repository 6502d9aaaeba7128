"""Colours are told by the names that people know, and no two codes by the same."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from upscale_server.media.colour_names import chroma_name, matrix_name, primaries_name, range_name, transfer_name

ALL_CODES = range(256)
"""H.273 codes are bytes."""


@pytest.mark.parametrize("named", [primaries_name, transfer_name, matrix_name, range_name])
def test_two_codes_never_have_the_same_name(named: Callable[[int], str]) -> None:
    """The audit compares what it tells: a name that stands for two codes would hide a change."""
    assert len(ALL_CODES) == len({named(code) for code in ALL_CODES})


def test_usual_codes_have_their_names() -> None:
    """HD, HDR, and what a stream does not say."""
    assert ("BT.709", "BT.2020", "not stated") == tuple(map(primaries_name, (1, 9, 2)))
    assert ("PQ", "HLG") == tuple(map(transfer_name, (16, 18)))
    assert ("BT.601 (525 lines)", "not stated") == tuple(map(matrix_name, (6, 2)))
    assert ["4:2:0", "4:2:2", "4:4:4", "none"] == [chroma_name(one) for one in ((2, 2), (2, 1), (1, 1), (0, 0))]


def test_a_code_without_a_name_is_told_by_its_number() -> None:
    """Nothing is guessed."""
    assert "code 77" == primaries_name(77) == range_name(77)
