"""The model follows from the source, and the plan says why."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.clip_spec import Clip, Picture
from tests.support.clip_writer import write_clip
from upscale_server.media.probe import probe_with_index
from upscale_server.model_choice import choose_model


@pytest.mark.parametrize(
    ("picture", "suffix", "expected", "why"),
    [
        (Picture(options={"crf": "30"}), ".mp4", "fast", "compressed"),
        (Picture(options={"crf": "1"}), ".mp4", "fast-clean", "nearly clean"),
        (Picture(codec="ffv1"), ".mkv", "fast-clean", "ffv1 is a clean source"),
    ],
)
def test_the_family_suits_the_source(picture: Picture, suffix: str, expected: str, why: str, tmp_path: Path) -> None:
    """Strong compression gets the network trained on it; masters and near-lossless files the other one."""
    probed = probe_with_index(write_clip(Clip(suffix=suffix, pictures=(picture,)), tmp_path / f"clip{suffix}"))

    choice = choose_model(probed.info, probed.index, None)

    assert {expected} == {card.name for card in choice.cards.values()}
    assert why in choice.why


def test_what_was_asked_for_is_taken(tmp_path: Path) -> None:
    """A name given by the user is never replaced."""
    probed = probe_with_index(write_clip(Clip(), tmp_path / "clip.mp4"))

    choice = choose_model(probed.info, probed.index, "lanczos")

    assert {"lanczos"} == {card.name for card in choice.cards.values()}
    assert choice.why == "asked for"
