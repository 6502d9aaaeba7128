"""A plan decides everything before any work: sizes, codecs, segments, and refuses what cannot be done."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.clip_spec import BT2020_PQ, Clip, Picture
from tests.support.clip_writer import write_clip
from upscale_server.cutting import cut
from upscale_server.errors import (
    BadRequest,
    HdrNotCarried,
    ModelMissing,
    SourceTooLarge,
    TooManyPixels,
    UnsupportedFormat,
    UpscaleError,
)
from upscale_server.media.index import PacketIndex
from upscale_server.media.probe import Probed, probe_with_index
from upscale_server.media.tracks import Window
from upscale_server.media.types import Colour, Hdr, Size, VideoInfo
from upscale_server.models.base import Working
from upscale_server.models.choices import Choices
from upscale_server.models.ladder import point_key
from upscale_server.models.working_point import WorkingPoint
from upscale_server.plan import make_plan
from upscale_server.wish import Limits, Wish

LANCZOS = Wish(model="lanczos")


@pytest.fixture(scope="module")
def probed(tmp_path_factory: pytest.TempPathFactory) -> Probed:
    """Give a probed clip: 96x64, 24 frames at 25 a second, yuv420p."""
    return probe_with_index(write_clip(Clip(), tmp_path_factory.mktemp("plan") / "clip.mp4"))


def test_equal_wishes_make_equal_digests(probed: Probed) -> None:
    """The digest is what an interrupted job is found again by."""
    assert make_plan(probed, LANCZOS).digest == make_plan(probed, LANCZOS).digest


@pytest.mark.parametrize(
    "other",
    [
        replace(LANCZOS, crf=30),
        replace(LANCZOS, scale=4),
        replace(LANCZOS, threads=7),
        replace(LANCZOS, codec="h264"),
        replace(LANCZOS, segment_seconds=0.5),
        replace(LANCZOS, container="matroska"),
    ],
)
def test_whatever_changes_bytes_changes_the_digest(probed: Probed, other: Wish) -> None:
    """Segments of one plan are never joined with those of another."""
    assert make_plan(probed, LANCZOS).digest != make_plan(probed, other).digest


def test_a_changed_source_changes_the_digest(probed: Probed) -> None:
    """A file replaced under the same name is another job."""
    changed = replace(probed, info=replace(probed.info, modified_ns=1))

    assert make_plan(probed, LANCZOS).digest != make_plan(changed, LANCZOS).digest


def test_without_a_size_the_factor_is_two(probed: Probed) -> None:
    """The plainest command doubles both sides."""
    assert Size(192, 128) == make_plan(probed, LANCZOS).target


@pytest.mark.parametrize(
    ("wish", "error", "text"),
    [
        (replace(LANCZOS, codec="divx"), BadRequest, "codec is 'divx'"),
        (replace(LANCZOS, codec="h264", container="webm"), BadRequest, "webm"),
        (replace(LANCZOS, pixel_format="nv12"), BadRequest, "pixel format"),
        (replace(LANCZOS, codec="av1", pixel_format="yuv444p"), UnsupportedFormat, "libsvtav1 cannot keep yuv444p"),
        (replace(LANCZOS, preset="warp"), BadRequest, "preset is 'warp'"),
        (replace(LANCZOS, crf=99), BadRequest, "crf is 99"),
        (replace(LANCZOS, codec="av1", crf=-1), BadRequest, "crf is -1"),
        (replace(LANCZOS, start_seconds=float("nan")), BadRequest, "start is nan"),
        (replace(LANCZOS, duration_seconds=float("inf")), BadRequest, "duration is inf"),
        (replace(LANCZOS, start_seconds=60.0), BadRequest, "start is 60.0"),
        (replace(LANCZOS, duration_seconds=0.0), BadRequest, "duration"),
        (Wish(model="nonesuch"), ModelMissing, "nonesuch"),
        (Wish(model="nonesuch.onnx"), ModelMissing, "nonesuch.onnx"),
        (replace(LANCZOS, engine="openvino"), BadRequest, "engine"),
        (replace(LANCZOS, precision="f64"), BadRequest, "precision"),
    ],
)
def test_what_cannot_be_done_is_refused_with_its_value(
    probed: Probed, wish: Wish, error: type[UpscaleError], text: str
) -> None:
    """Each refusal is named, says the value, and comes before any work."""
    with pytest.raises(error, match=text):
        make_plan(probed, wish)


def test_too_large_a_source_names_its_limit(probed: Probed) -> None:
    """The message says which setting allows more."""
    with pytest.raises(TooManyPixels, match="UPSCALE_LIMITS__MAX_PIXELS"):
        make_plan(probed, LANCZOS, Limits(max_pixels=1000))


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        (Limits(max_seconds=0.9), "lasts 1.0 s; the limit is 0.9 s, see UPSCALE_LIMITS__MAX_SECONDS"),
        (Limits(max_frames=23), "has 24 frames; the limit is 23, see UPSCALE_LIMITS__MAX_FRAMES"),
    ],
)
def test_too_long_a_source_names_its_limit(probed: Probed, limits: Limits, said: str) -> None:
    """It is refused whole, whatever part of it is asked for; what just fits is taken."""
    with pytest.raises(SourceTooLarge, match=said):
        make_plan(probed, replace(LANCZOS, duration_seconds=0.2), limits)

    assert 24 == make_plan(probed, LANCZOS, Limits(max_seconds=0.96, max_frames=24)).frame_count


def test_a_bare_stream_lasts_as_long_as_it_is_played(probed: Probed) -> None:
    """It has no times, and 24 frames at 25 a second all the same."""
    bare = replace(probed, info=replace(probed.info, timed=False, duration_seconds=0.0))

    with pytest.raises(SourceTooLarge, match=r"lasts 1\.0 s"):
        make_plan(bare, LANCZOS, Limits(max_seconds=0.9))


def test_hdr_is_never_squeezed_into_eight_bits(tmp_path: Path) -> None:
    """An HDR source with an 8-bit output is refused instead of washed out."""
    picture = Picture(codec="libx265", pixel_format="yuv420p10le", colour=BT2020_PQ, frame_count=4)
    source = write_clip(Clip(pictures=(picture,)), tmp_path / "hdr.mp4")

    with pytest.raises(HdrNotCarried, match="HDR of 10 bits"):
        make_plan(source, replace(LANCZOS, pixel_format="yuv420p"))


def test_a_trimmed_job_starts_on_a_frame(probed: Probed) -> None:
    """The window opens at the first frame at or after the moment asked for, and counts only its frames."""
    plan = make_plan(probed, replace(LANCZOS, start_seconds=0.39, duration_seconds=0.2))

    assert Fraction(2, 5) == plan.window.start
    assert plan.frame_count == 5


_INFO = VideoInfo(
    path="", container="mov", stream_index=0, codec="h264", size=Size(96, 64), pixel_format="yuv420p",
    pixel_format_of_source="yuv420p", bits=8, time_base=Fraction(1, 100), average_rate=Fraction(25),
    sample_aspect_ratio=None, rotation=0, display_matrix=(), colour=Colour(), hdr=Hdr(), interlaced=False,
    may_interlace=False, variable_rate=False, timed=True, frame_count=0, frame_count_from_header=0,
    duration_seconds=0.0, byte_count=0, modified_ns=0,
    bit_rate=0, chapter_count=0,
)  # fmt: skip


def _index(pts: list[int], keyframes: list[int]) -> PacketIndex:
    return PacketIndex(tuple(pts), tuple(keyframes), True, 1, 0, 0, 0, False, False)  # noqa: FBT003 - reliable, plain


@pytest.mark.slow
@given(
    st.lists(st.integers(1, 400), min_size=1, max_size=120),
    st.sets(st.integers(0, 119), max_size=20),
    st.floats(0.05, 3.0),
)
def test_segments_hold_every_frame_exactly_once(steps: list[int], keys: set[int], seconds: float) -> None:
    """Whatever the spacing and the keyframes, each frame belongs to one segment, and each segment has a frame."""
    pts = [0]
    for step in steps:
        pts.append(pts[-1] + step)
    index = _index(pts, sorted({0} | {pts[key] for key in keys if key < len(pts)}))
    segments = cut(index, _INFO, Window(), seconds)

    owners = [[segment.index for segment in segments if segment.holds(time)] for time in pts]

    assert all(len(owner) == 1 for owner in owners)
    assert {segment.index for segment in segments} == {owner[0] for owner in owners}
    for segment in segments[1:]:
        assert segment.decode_from_pts in index.keyframes
        assert segment.start_pts is not None
        assert segment.decode_from_pts <= segment.start_pts
    assert all(one.end_pts == other.start_pts for one, other in pairwise(segments))


def test_segments_end_on_keyframes_that_are_near() -> None:
    """With a keyframe every 4 s, segments of 10 s end at 12 s, on a keyframe, not at 10 s."""
    index = _index(list(range(0, 4800, 4)), list(range(0, 4800, 400)))

    assert [None, 1200, 2400, 3600] == [segment.start_pts for segment in cut(index, _INFO, Window(), 10.0)]


def test_segments_in_a_long_gop_start_inside_it() -> None:
    """With one keyframe only, segments still start every 10 s and decode from that keyframe."""
    segments = cut(_index(list(range(0, 3600, 4)), [0]), _INFO, Window(), 10.0)

    assert [None, 1000, 2000, 3000] == [segment.start_pts for segment in segments]
    assert [None, 0, 0, 0] == [segment.decode_from_pts for segment in segments]


def test_a_stream_without_reliable_times_is_one_segment() -> None:
    """What cannot be cut safely is not cut."""
    index = replace(_index(list(range(0, 9000, 4)), [0, 4000]), reliable=False)

    assert len(cut(index, _INFO, Window(), 10.0)) == 1


def test_lanes_and_batch_change_no_bytes_and_no_digest(probed: Probed) -> None:
    """What memory takes away between two starts must not cost the finished segments."""
    made = make_plan(probed, LANCZOS)

    assert made.digest == replace(made, lanes=7, batch=made.batch + 1).digest


def test_a_precision_that_memory_forced_is_planned_with_from_then_on(
    probed: Probed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next job of this model and size starts where the last one ended; an explicit precision is not touched."""
    choices = Choices(tmp_path / "choices.json")
    monkeypatch.setattr("upscale_server.plan.lower_precisions", lambda *_: ("bf16", "f16"))
    first = make_plan(probed, LANCZOS, choices=choices)
    card = first.passes[0].card
    key = point_key(card, Working("lanczos", "CPU", "integer", 120.0), first.passes[0].size_in)
    choices.points.remember(key, WorkingPoint(1, 1, 16_384, "bf16", ("f16",)))

    found = make_plan(probed, LANCZOS, choices=choices)

    assert ("integer", ("bf16", "f16")) == (first.precision, first.lower_precisions)
    assert ("bf16", ("f16",)) == (found.precision, found.lower_precisions)
    assert first.in_precision("bf16").digest == found.digest
    assert () == make_plan(probed, replace(LANCZOS, precision="f32"), choices=choices).lower_precisions
    settled = replace(LANCZOS, precision="f32", settled=True)
    assert "bf16" == make_plan(probed, settled, choices=choices).precision, "measured by a server is not asked for"


@pytest.mark.parametrize(("model", "expected"), [("lanczos", True), ("bicubic", False)])
def test_what_lanczos_adds_to_a_network_is_said_and_of_bicubic_there_is_none(
    probed: Probed, model: str, *, expected: bool
) -> None:
    """Ten times as large is more than passes reach; bicubic goes straight to the size."""
    plan = make_plan(probed, Wish(model=model, to="960x640"))

    assert expected == ("lanczos_finish" in dict(plan.warnings))
