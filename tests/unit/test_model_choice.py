"""The model follows from the source, and the plan says why."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.clip_spec import Clip, Picture
from tests.support.clip_writer import write_clip
from upscale_server.media.probe import Probed, probe_with_index
from upscale_server.model_choice import choose_model


@pytest.mark.parametrize(
    ("picture", "suffix", "expected", "why"),
    [
        (Picture(options={"crf": "30"}), ".mp4", "fast", "strongly compressed, and fast is made for that (h264 at "),
        (
            Picture(options={"crf": "1"}),
            ".mp4",
            "fast-clean",
            "nearly clean, and fast-clean is made for that (h264 at ",
        ),
        (Picture(codec="ffv1"), ".mkv", "fast-clean", "nearly clean, and fast-clean is made for that (ffv1)"),
    ],
)
def test_the_family_suits_the_source(picture: Picture, suffix: str, expected: str, why: str, tmp_path: Path) -> None:
    """Strong compression gets the network trained on it; masters and near-lossless files the other one."""
    probed = probe_with_index(write_clip(Clip(suffix=suffix, pictures=(picture,)), tmp_path / f"clip{suffix}"))

    choice = choose_model(probed.info, probed.index, None)

    assert {expected} == {card.name for card in choice.cards.values()}
    assert choice.why.startswith(f"the video is {why}")


@pytest.fixture(scope="module")
def probed(tmp_path_factory: pytest.TempPathFactory) -> Probed:
    """Read one clip, whose codec and bytes the tests then replace."""
    return probe_with_index(write_clip(Clip(), tmp_path_factory.mktemp("clip") / "clip.mp4"))


@pytest.mark.parametrize(
    ("codec", "bits", "expected"),
    [
        ("h264", 0.65, "fast"),
        ("h264", 0.75, "fast-clean"),
        ("hevc", 0.35, "fast"),
        ("hevc", 0.45, "fast-clean"),
        ("av1", 0.45, "fast"),
        ("av1", 0.55, "fast-clean"),
        ("vp9", 0.55, "fast"),
        ("vp9", 0.65, "fast-clean"),
        ("mpeg2video", 2.4, "fast"),
        ("mpeg2video", 2.6, "fast-clean"),
        ("wmv2", 2.4, "fast"),
        ("wmv2", 2.6, "fast-clean"),
    ],
)
def test_every_codec_has_its_own_bound(codec: str, bits: float, expected: str, probed: Probed) -> None:
    """The same rate is clean from an efficient codec and compressed from an old one, and the reason names all three."""
    pixels = probed.info.frame_count * probed.info.size.pixels
    index = replace(probed.index, byte_count=round(bits * pixels / 8))

    choice = choose_model(replace(probed.info, codec=codec), index, None)

    assert {expected} == {card.name for card in choice.cards.values()}
    assert f"({codec} at {bits:.2f} bits a pixel, " in choice.why


def test_what_was_asked_for_is_taken(tmp_path: Path) -> None:
    """A name given by the user is never replaced."""
    probed = probe_with_index(write_clip(Clip(), tmp_path / "clip.mp4"))

    choice = choose_model(probed.info, probed.index, "lanczos")

    assert {"lanczos"} == {card.name for card in choice.cards.values()}
    assert choice.why == "asked for"
