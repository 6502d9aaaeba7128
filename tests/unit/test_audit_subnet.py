"""Every rule of the subnet's profile sees the fault it is there for, and a file without a fault passes all of them."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.container import OutputContainer
from av.video.stream import VideoStream

from tests.support.clip_spec import UNTAGGED, Clip, Picture, Sound
from tests.support.clip_writer import write_clip
from upscale_server.audit_subnet import subnet_rules
from upscale_server.media.boxes import outer_boxes, pad
from upscale_server.media.types import Size
from upscale_server.plan import Plan, make_plan
from upscale_server.wish import Wish

FRAMES = 40
PADDING = 321
X265 = "log-level=none:open-gop=0:pools=none:frame-threads=1"


@dataclass(frozen=True, slots=True)
class Coding:
    """How the file under test is coded and packed; the defaults keep every rule."""

    codec: str = "libx265"
    pixel_format: str = "yuv420p"
    size: tuple[int, int] = (192, 128)
    gop: int = 30
    b_frames: int = 0
    colour: tuple[int, int, int, int] = UNTAGGED
    ratio: Fraction | None = None
    times: tuple[int, ...] = tuple(range(FRAMES))
    options: dict[str, str] = field(default_factory=dict)
    container: str = "mp4"
    faststart: bool = True
    skip: frozenset[int] = frozenset()
    shown_at: dict[int, int] = field(default_factory=dict)
    second_picture: bool = False
    padding: int = PADDING


def _write(path: Path, coding: Coding) -> Path:
    flags = {"movflags": "+faststart"} if coding.faststart else {}
    with av.open(str(path), "w", format=coding.container, options=flags) as out:
        stream = _stream(out, coding)
        other = _stream(out, Coding()) if coding.second_picture else None
        packets = [packet for one in _pictures(coding) for packet in stream.encode(one)] + stream.encode(None)
        for place, packet in enumerate(packets):
            if place in coding.skip:
                continue
            packet.pts = coding.shown_at.get(place, packet.pts)
            out.mux(packet)
        if other is not None:
            for packet in [packet for one in _pictures(Coding()) for packet in other.encode(one)] + other.encode(None):
                out.mux(packet)
    pad(path, coding.padding, coding.container)
    return path


def _stream(out: OutputContainer, coding: Coding) -> VideoStream:
    own = {"libx265": {"x265-params": X265}, "libsvtav1": {"svtav1-params": "lp=1"}}.get(coding.codec, {})
    preset = {"preset": "12" if coding.codec == "libsvtav1" else "ultrafast"}
    options = preset | own | {"bf": str(coding.b_frames)} | coding.options
    stream = out.add_stream(coding.codec, rate=25, options=options)
    stream.width, stream.height = coding.size
    stream.pix_fmt, stream.gop_size = coding.pixel_format, coding.gop
    stream.codec_context.time_base = stream.time_base = Fraction(1, 25 * 512)
    context = stream.codec_context
    context.color_primaries, context.color_trc, context.colorspace, context.color_range = coding.colour
    if coding.ratio:
        context.sample_aspect_ratio = coding.ratio
    return stream


def _pictures(coding: Coding) -> list[av.VideoFrame]:
    rng = np.random.default_rng(3)
    shape = av.VideoFrame(*coding.size, coding.pixel_format).to_ndarray().shape
    noise = rng.integers(60, 200, shape)
    pictures = []
    for place, time in enumerate(coding.times):
        samples = np.roll(noise, 2 * place, axis=1).astype(np.uint16 if "10le" in coding.pixel_format else np.uint8)
        picture = av.VideoFrame.from_ndarray(samples, format=coding.pixel_format)
        picture.pts, picture.time_base = time * 512, Fraction(1, 25 * 512)
        pictures.append(picture)
    return pictures


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """Give the plan of a clip with sound, twice its size, with padding."""
    clip = Clip(pictures=(Picture(frame_count=FRAMES),), sounds=(Sound(seconds=1.6),))
    source = write_clip(clip, tmp_path_factory.mktemp("subnet") / "clip.mp4")
    wish = Wish(model="lanczos", scale=2, profile="subnet", padding=PADDING, max_bytes=10**7, threads=1)
    made = make_plan(source, wish)
    # The files under test are noise and larger than 8 times this small clip; the multiple has tests of its own.
    return replace(made, source=replace(made.source, byte_count=10**6), max_bytes=10**7)


def _broken(plan: Plan, path: Path, frames: int = FRAMES) -> set[str]:
    return {rule.name.removeprefix("subnet: ") for rule in subnet_rules(plan, path, frames) if not rule.ok}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory, plan: Plan) -> Path:
    """Give a file that keeps every rule."""
    return _write(tmp_path_factory.mktemp("good") / "out.mp4", Coding(padding=plan.padding))


@pytest.mark.parametrize("codec", ["libx265", "libsvtav1"])
def test_a_file_without_a_fault_passes(codec: str, plan: Plan, tmp_path: Path) -> None:
    """The control: both codecs, coded as the profile asks, break nothing."""
    assert set() == _broken(plan, _write(tmp_path / "out.mp4", Coding(codec=codec)))


FAULTS = {
    "another container": (Coding(container="matroska"), {"container", "faststart", "padding"}),
    "header at the end": (Coding(faststart=False), {"faststart"}),
    "a second picture": (Coding(second_picture=True), {"one picture"}),
    "no padding": (Coding(padding=0), {"padding"}),
    "other padding": (Coding(padding=PADDING + 1), {"padding"}),
    "H.264": (Coding(codec="libx264"), {"codec"}),
    "Main 10": (Coding(pixel_format="yuv420p10le"), {"codec", "pixel format"}),
    "4:4:4": (Coding(pixel_format="yuv444p"), {"codec", "pixel format"}),
    "B-frames": (Coding(b_frames=3, options={"x265-params": X265 + ":b-adapt=0"}), {"B-frames"}),
    "a GOP of 40": (Coding(gop=40), {"GOP"}),
    "no keyframe first": (Coding(skip=frozenset(range(1))), {"first picture", "frame count", "times"}),
    "another size": (Coding(size=(190, 128)), {"size"}),
    "full range": (Coding(colour=(2, 2, 2, 2)), {"range", "pixel format"}),
    "full range in AV1": (Coding(codec="libsvtav1", colour=(2, 2, 2, 2)), {"range"}),
    "other samples": (Coding(ratio=Fraction(4, 3)), {"sample aspect ratio"}),
    "other primaries": (Coding(colour=(1, 2, 2, 0)), {"colour primaries"}),
    "another transfer": (Coding(colour=(2, 1, 2, 0)), {"colour transfer"}),
    "another matrix": (Coding(colour=(2, 2, 6, 0)), {"colour matrix"}),
    "half the rate": (Coding(times=tuple(range(0, 2 * FRAMES, 2))), {"frame rate", "times"}),
    "a frame too few": (Coding(skip=frozenset({FRAMES - 1})), {"frame count", "times"}),
    "a frame too many": (Coding(times=tuple(range(FRAMES + 1))), {"frame count", "times"}),
    "a frame late": (Coding(shown_at={20: 20 * 512 + 100}), {"times"}),
    "a time twice": (Coding(shown_at={20: 21 * 512}), {"each time once", "times"}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_seen(name: str, plan: Plan, tmp_path: Path) -> None:
    """Each rule is broken by its fault, and no rule that has nothing to do with it."""
    coding, expected = FAULTS[name]

    found = _broken(plan, _write(tmp_path / "out.mp4", coding))

    assert expected == found


def test_every_rule_has_a_fault_that_breaks_it(plan: Plan, good: Path) -> None:
    """A rule that nothing here breaks could be taken out without a test noticing."""
    rules = {rule.name.removeprefix("subnet: ") for rule in subnet_rules(plan, good, FRAMES)}

    planted = set().union(*(expected for _, expected in FAULTS.values()))
    assert {"bytes by the source's", "bytes by the limit", "scale"} == rules - planted


def test_more_than_eight_times_the_source_is_seen(plan: Plan, good: Path) -> None:
    """Eight times the source's bytes is allowed, one byte more is not."""
    size = good.stat().st_size

    enough = replace(plan, source=replace(plan.source, byte_count=-(-size // 8)))
    short = replace(plan, source=replace(plan.source, byte_count=(size - 1) // 8))

    assert set() == _broken(enough, good)
    assert {"bytes by the source's"} == _broken(short, good)


def test_four_times_the_size_may_have_twenty_times_the_bytes(plan: Plan, good: Path) -> None:
    """The multiple follows the scale."""
    size = good.stat().st_size
    larger = replace(
        plan, target=Size(384, 256), source=replace(plan.source, byte_count=-(-size // 20), size=Size(96, 64))
    )

    assert {"size"} == _broken(larger, good)


def test_another_scale_is_seen(plan: Plan, good: Path) -> None:
    """Three times the size is none of the subnet's tasks."""
    assert {"scale", "size", "bytes by the source's"} == _broken(replace(plan, target=Size(288, 192)), good)


def test_more_than_the_limit_is_seen(plan: Plan, good: Path) -> None:
    """What the caller allowed holds to the byte."""
    size = good.stat().st_size

    assert set() == _broken(replace(plan, max_bytes=size), good)
    assert {"bytes by the limit"} == _broken(replace(plan, max_bytes=size - 1), good)


@pytest.mark.slow
def test_frames_that_do_not_decode_are_not_asked_for(plan: Plan, tmp_path: Path) -> None:
    """Of a damaged source as many frames come out as decode; the count says so and the rules follow it."""
    path = _write(tmp_path / "out.mp4", Coding(skip=frozenset({FRAMES - 1})))

    assert set() == _broken(plan, path, FRAMES - 1)


def _without_brand(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4:8] = b"skip"
    path.write_bytes(content)


def _with_a_box_behind(path: Path) -> None:
    with path.open("ab") as file:
        file.write(struct.pack(">I4s", 8, b"free"))


@pytest.mark.parametrize(("bend", "rule"), [(_without_brand, "container"), (_with_a_box_behind, "padding")])
def test_a_bent_file_is_seen(bend: Callable[[Path], None], rule: str, good: Path, plan: Plan, tmp_path: Path) -> None:
    """The boxes themselves are looked at, not what the muxer was asked for."""
    path = tmp_path / "bent.mp4"
    path.write_bytes(good.read_bytes())
    assert "free" == outer_boxes(path)[-1].kind

    bend(path)

    assert rule in _broken(plan, path)
