"""What a person is told of a source: every trait of real files in a plain sentence, and nothing of an ordinary one."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from tests.support.clip_spec import BT709_FULL, BT2020_HLG, BT2020_PQ, Clip, Picture, Sound
from tests.support.clip_writer import write_clip
from tests.support.clips import CASES, DAMAGED
from upscale_server.media.look import Looked, look_at
from upscale_server.media.types import Size
from upscale_server.service.source_facts import facts_of
from upscale_server.service.traits import traits_of
from upscale_server.wire_sources import ProbeView

TEN_BIT = {"codec": "libx265", "pixel_format": "yuv420p10le", "options": {"x265-params": "log-level=none"}}


def looked(folder: Path, *pictures: Picture, **more: object) -> Looked:
    """Look at a clip of these pictures, with sound."""
    clip = Clip(pictures=pictures, **{"sounds": (Sound(),), **more})  # type: ignore[arg-type]
    return look_at(write_clip(clip, folder / f"clip{clip.suffix}"))


def codes(found: Looked) -> list[str]:
    """Name the traits."""
    return [trait.code for trait in traits_of(found)]


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Looked:
    """Give an ordinary video."""
    return looked(tmp_path_factory.mktemp("usual"), Picture())


def test_an_ordinary_video_has_no_traits(usual: Looked) -> None:
    """A chip that is always there tells nothing."""
    assert [] == codes(usual)


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("variable_rate", {"variable_rate"}),
        ("edit_list_skips_frames", {"edit_list"}),
        ("audio_starts_before_picture", {"late_start"}),
        ("interlaced_top_first", {"interlaced"}),
        ("hdr10_hevc", {"hdr"}),
        ("alpha_webm", {"transparency"}),
        ("twelve_bits", {"deep_colour"}),
        ("ten_bits_420_h264", {"ten_bit"}),
        ("rgb", {"rgb"}),
        ("cover_art", {"cover_art"}),
        ("two_videos_larger_second", {"several_videos"}),
        ("raw_h264", {"missing_times", "no_times"}),
        ("truncated_faststart", {"damaged"}),
    ],
)
def test_trait_of_a_real_file_is_told(tmp_path: Path, case: str, expected: set[str]) -> None:
    """Each file of the corpus is recognised by what makes it special."""
    known = {**CASES, **DAMAGED}[case]
    path = tmp_path / f"clip{known.suffix}"
    known.write(path)

    found = look_at(path)

    assert expected <= set(codes(found))
    assert {"no_audio"} >= set(codes(found)) - expected
    ProbeView.model_validate(facts_of(found))


def test_every_trait_is_a_sentence_and_warnings_come_first(usual: Looked) -> None:
    """A person reads them: capital, full stop, no codes; what may go wrong stands first."""
    odd = replace(
        usual,
        late_seconds=1.5,
        hidden_frames=1,
        info=replace(
            usual.info,
            variable_rate=True,
            rotation=90,
            part_there=0.62,
            may_interlace=True,
            size=Size(3840, 1600),
            sample_aspect_ratio=Fraction(16, 15),
            streams=(),
            warnings=(("closed_captions_dropped", ""), ("dynamic_hdr_dropped", "")),
        ),
    )

    traits = traits_of(odd)

    assert {
        "damaged", "closed_captions", "dynamic_hdr", "variable_rate", "edit_list", "late_start", "may_interlace",
        "non_square", "rotation", "already_large", "no_audio",
    } == {trait.code for trait in traits}  # fmt: skip
    levels = [trait.level for trait in traits]
    assert sorted(levels, reverse=True) == levels
    for trait in traits:
        assert trait.text[0].isupper(), trait
        assert trait.text.endswith("."), trait
        assert "_" not in trait.text, trait
    by_code = {trait.code: trait.text for trait in traits}
    assert "62%" in by_code["damaged"]
    assert "1 hidden frame " in by_code["edit_list"]
    assert "16:15" in by_code["non_square"]


@pytest.mark.parametrize(
    ("size", "level"), [((3838, 2158), None), ((3840, 1600), "info"), ((1080, 3840), "info"), ((7680, 3200), "warning")]
)
def test_size_is_told_where_it_is_large_already(usual: Looked, size: tuple[int, int], level: str | None) -> None:
    """A film fills one side of its box, lying or standing."""
    found = replace(usual, info=replace(usual.info, size=Size(*size)))

    assert [level] * bool(level) == [trait.level for trait in traits_of(found)]


@pytest.mark.parametrize(
    ("size", "sample_aspect", "rotation", "expected"),
    [
        ((1920, 1080), None, 0, "16:9"),
        ((854, 480), Fraction(1), 0, "16:9"),
        ((720, 576), Fraction(64, 45), 0, "16:9"),
        ((1920, 1080), None, 90, "9:16"),
        ((1920, 1080), None, -90, "9:16"),
        ((1920, 804), None, 0, "2.388"),
    ],
)
def test_shape_is_the_one_that_is_shown(
    usual: Looked, size: tuple[int, int], sample_aspect: Fraction | None, rotation: int, expected: str
) -> None:
    """Of stretched and turned pictures, too."""
    info = replace(usual.info, size=Size(*size), sample_aspect_ratio=sample_aspect, rotation=rotation)

    assert expected == facts_of(replace(usual, info=info))["display_aspect"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("colour", "hdr", "named"),
    [(BT2020_PQ, "PQ", "BT.2020"), (BT2020_HLG, "HLG", "BT.2020"), (BT709_FULL, None, "BT.709, full range")],
)
def test_colours_are_named(tmp_path: Path, colour: tuple[int, int, int, int], hdr: str | None, named: str) -> None:
    """In the words that people know."""
    facts = facts_of(looked(tmp_path, Picture(colour=colour, **TEN_BIT), suffix=".mkv"))

    assert (hdr, named, 10) == (facts["hdr"], facts["colour"], facts["bit_depth"])
