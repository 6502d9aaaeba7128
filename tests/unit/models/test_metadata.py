"""OpenModelDB's words become ours; a card of our own stays as it is."""

from __future__ import annotations

from typing import Any

import pytest

from upscale_server.errors import ModelInvalid
from upscale_server.models.metadata import card_facts, hold_against, refuse_another_scale


def test_a_card_of_our_own_is_left_as_it_is() -> None:
    """It has none of OpenModelDB's names."""
    card = {"scale": 2, "licence": "CC0", "receptive_field": 33}

    assert card == card_facts(card)


def test_words_are_taken_and_numbers_are_not() -> None:
    """Scale and channels are found out."""
    said = {"name": "N", "author": "a", "license": None, "scale": 4, "tags": [], "description": "d", "dataset": "s"}

    assert {
        "summary": "N by a: d", "licence": "unknown", "for_sources": "any", "trained_on": ("s",)
    } == card_facts(said)  # fmt: skip


def test_a_long_description_is_shortened_to_a_line() -> None:
    """The list of models has one line for each."""
    summary = card_facts({"license": "MIT", "description": "word \n" * 100})["summary"]

    assert len(summary) <= 202
    assert summary.endswith("word …")
    assert "\n" not in summary


@pytest.mark.parametrize(
    "resources", [None, [], "text", [5], [{"type": "onnx", "sha256": "1" * 64}], [{"type": "pth"}]]
)
def test_a_file_without_a_listed_hash_passes(resources: Any) -> None:  # noqa: ANN401 - JSON of many kinds
    """Another kind of file has another hash, and many entries have none."""
    hold_against({"resources": resources}, "mine.pth", "0" * 64)


def test_a_file_with_another_hash_is_refused() -> None:
    """One of those that are listed for its kind must be it."""
    said = {"resources": [{"type": "pth", "sha256": "A" * 64}, {"type": "pth", "sha256": "b" * 64}]}

    hold_against(said, "mine.pth", "a" * 64)
    for source in ("mine.pth", "https://host/mine.pth?download=1"):
        with pytest.raises(ModelInvalid, match=r"its metadata lists a+ and b+"):
            hold_against(said, source, "0" * 64)


def test_another_scale_is_refused_where_openmodeldb_says_one() -> None:
    """On a card of our own the scale is what is found."""
    refuse_another_scale({"license": "MIT", "scale": 2}, "mine.pth", 2)
    refuse_another_scale({"license": "MIT"}, "mine.pth", 2)
    refuse_another_scale({"scale": 3}, "mine.onnx", 2)
    with pytest.raises(ModelInvalid, match="is a model of scale 2; its metadata says 3"):
        refuse_another_scale({"license": "MIT", "scale": 3}, "mine.pth", 2)
