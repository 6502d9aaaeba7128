"""The small copy of a segment: what a player needs of it, and that its pictures and times are the source's."""

from __future__ import annotations

import re
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from upscale_server.errors import UpscaleError
from upscale_server.media import proxy
from upscale_server.media.encoders import VideoSpec
from upscale_server.media.proxy import ProxyWriter, Ticks, mime_of, proxy_size
from upscale_server.media.types import Colour, Frame, Hdr, Plane, Size

HD = Size(1280, 720)
BT709 = Colour(1, 1, 1, 1)
UNKNOWN = Ticks()
TICK = Fraction(1, 1000)
TIMES = (40, 80, 95, 200, 340, 341)
UPRIGHT = (65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30)
QUARTER_CLOCKWISE = (0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30)
"""What phones write of a picture that is to be turned a quarter to the right: x' = -y, y' = x."""


def spec_of(
    size: Size = HD,
    *,
    tick: Fraction = TICK,
    aspect: Fraction | None = None,
    matrix: tuple[int, ...] = (),
    colour: Colour = BT709,
) -> VideoSpec:
    """Return what the encoded stream is."""
    return VideoSpec(size, tick, Fraction(25), aspect, matrix, colour, Hdr())


def frame_of(spec: VideoSpec, pts: int, pixel_format: str = "yuv420p", level: int = 120) -> Frame:
    """Return a frame whose upper left quarter is bright and the rest of a level; chroma is neutral."""
    bits = 10 if pixel_format.endswith("10le") else 8
    kind = np.uint16 if bits == 10 else np.uint8
    luma = np.full((spec.size.height, spec.size.width), level << (bits - 8), kind)
    luma[: spec.size.height // 2, : spec.size.width // 2] = 220 << (bits - 8)
    planes: tuple[Plane, ...] = (luma,)
    if not pixel_format.startswith("gray"):
        down, across = (2 if "420" in pixel_format else 1), (1 if "444" in pixel_format else 2)
        shape = (-(-spec.size.height // down), -(-spec.size.width // across))
        planes += (np.full(shape, 128 << (bits - 8), kind), np.full(shape, 128 << (bits - 8), kind))
    return Frame(planes, pixel_format, pts, spec.time_base)


def written(
    folder: Path,
    spec: VideoSpec,
    times: tuple[int, ...] = TIMES,
    ticks: Ticks = UNKNOWN,
    pixel_format: str = "yuv420p",
) -> Path:
    """Write a copy of frames with these times and return its path; its picture is beside it."""
    path = folder / "copy.mp4"
    writer = ProxyWriter(path, folder / "copy.jpg", spec, ticks)
    for pts in times:
        writer.write(frame_of(spec, pts, pixel_format))
    assert writer.finish(last_duration=40)
    return path


def shown(path: Path) -> list[av.VideoFrame]:
    """Return the decoded pictures of a copy."""
    with av.open(str(path)) as file:
        return list(file.decode(video=0))


def timed(path: Path) -> list[tuple[Fraction, Fraction]]:
    """Return when each picture is shown and for how long, in seconds."""
    with av.open(str(path)) as file:
        tick = file.streams.video[0].time_base
        return [(one.pts * tick, one.duration * tick) for one in file.demux(video=0) if one.size]


def boxes(content: bytes, path: str = "") -> dict[str, int]:
    """Count the boxes of an MP4 by their place, such as `moov/mvex`."""
    found: dict[str, int] = {}
    while content:
        length, kind = struct.unpack(">I4s", content[:8])
        name = path + kind.decode("ascii")
        found[name] = found.get(name, 0) + 1
        if name in ("moov", "moov/mvex", "moof", "moof/traf"):
            for inner, count in boxes(content[8:length], f"{name}/").items():
                found[inner] = found.get(inner, 0) + count
        content = content[length:]
    return found


def test_copy_is_what_media_source_extensions_take(tmp_path: Path) -> None:
    """An initialization segment that says fragments follow, then fragments alone, each with its own decode time."""
    content = written(tmp_path, spec_of()).read_bytes()

    found = boxes(content)
    fragments = found["moof"]
    outer = [name for name in found if "/" not in name]
    assert ["ftyp", "moov", "moof", "mdat"] == outer
    assert (1, 1, fragments) == (found["ftyp"], found["moov"], found["mdat"])
    assert (1, 1, fragments) == (found["moov/mvex"], found["moov/mvex/trex"], found["moof/traf/tfdt"])
    assert 0 == content.count(b"elst"), "an edit list would move the times"
    # ISO/IEC 14496-12, 8.8.7: 0x020000 in a fragment's flags says that its offsets count from its own `moof`.
    flags = [int.from_bytes(content[one.start() + 5 : one.start() + 8]) for one in re.finditer(b"tfhd", content)]
    assert fragments == len(flags)
    assert all(flag & 0x020000 for flag in flags)


def test_type_names_the_profile_that_is_in_the_file(tmp_path: Path) -> None:
    """Constrained baseline, which every browser's decoder takes, with the level of the very file."""
    path = written(tmp_path, spec_of())

    with av.open(str(path)) as file:
        extradata = file.streams.video[0].codec_context.extradata
    assert extradata is not None
    assert f'video/mp4; codecs="avc1.{extradata[1:4].hex().upper()}"' == mime_of(path)
    assert mime_of(path).startswith('video/mp4; codecs="avc1.42C0')


def test_file_that_is_no_copy_has_no_type(tmp_path: Path) -> None:
    """A player is not promised what it cannot play."""
    (tmp_path / "text.mp4").write_bytes(b"no boxes at all")

    with pytest.raises(UpscaleError, match="avcC"):
        mime_of(tmp_path / "text.mp4")


def test_times_are_the_sources_from_zero_on(tmp_path: Path) -> None:
    """A variable rate stays one: each picture lasts until the next, the last one to the end of the segment."""
    path = written(tmp_path, spec_of(), ticks=Ticks(40, 400))

    ends = (*TIMES[1:], 400)
    expected = [((at - 40) * TICK, (end - at) * TICK) for at, end in zip(TIMES, ends, strict=True)]
    assert expected == timed(path)


@pytest.mark.parametrize("tick", [Fraction(1001, 30000), Fraction(1, 90000), Fraction(1, 1_000_000)])
def test_no_tick_is_rounded(tmp_path: Path, tick: Fraction) -> None:
    """The copy counts in the ticks of the source, also where one is not the first part of a second."""
    path = written(tmp_path, spec_of(tick=tick), times=(7, 8, 11))

    assert [0, tick, 4 * tick] == [at for at, _ in timed(path)]


def test_segment_whose_first_pictures_are_missing_keeps_its_place(tmp_path: Path) -> None:
    """Zero is where the segment starts, not where its first picture is; without a start it is the first picture."""
    spec = spec_of()

    known = [at for at, _ in timed(written(tmp_path, spec, ticks=Ticks(0, None)))]
    unknown = timed(written(tmp_path, spec))

    assert [at * TICK for at in TIMES] == known
    assert (0, 40 * TICK) == (unknown[0][0], unknown[-1][1]), "the last one lasts as long as it was told"


def test_picture_before_its_segment_is_shown_at_once(tmp_path: Path) -> None:
    """A time before the start would be negative, which no player takes."""
    assert [0, 40 * TICK] == [at for at, _ in timed(written(tmp_path, spec_of(), (0, 40), Ticks(20, 100)))]


@pytest.mark.parametrize(
    ("size", "aspect", "matrix", "expected"),
    [
        (Size(3840, 2160), None, (), Size(640, 360)),
        (Size(2160, 3840), None, (), Size(360, 640)),
        (Size(1708, 960), None, (), Size(640, 360)),
        (Size(1440, 1152), Fraction(16, 15), (), Size(640, 480)),
        (Size(720, 1152), Fraction(32, 15), (), Size(640, 480)),
        (Size(1920, 1080), None, QUARTER_CLOCKWISE, Size(360, 640)),
        (Size(1440, 1152), Fraction(16, 15), QUARTER_CLOCKWISE, Size(480, 640)),
        (Size(320, 240), None, (), Size(320, 240)),
        (Size(321, 239), None, (), Size(320, 240)),
        (Size(4096, 8), None, (), Size(640, 2)),
    ],
)
def test_size_is_the_shape_that_is_shown(
    size: Size, aspect: Fraction | None, matrix: tuple[int, ...], expected: Size, tmp_path: Path
) -> None:
    """Square samples, upright, at most 640, even, never enlarged; and the file has that size."""
    spec = spec_of(size, aspect=aspect, matrix=matrix)

    first = shown(written(tmp_path, spec))[0]

    assert expected == proxy_size(spec) == Size(first.width, first.height)


@pytest.mark.parametrize(
    ("matrix", "bright"),
    [
        ((), (0, 0)),
        (UPRIGHT, (0, 0)),
        (QUARTER_CLOCKWISE, (0, 1)),
        ((-65536, 0, 0, 0, -65536, 0, 0, 0, 1 << 30), (1, 1)),
        ((0, -65536, 0, 65536, 0, 0, 0, 0, 1 << 30), (1, 0)),
        ((-65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30), (0, 1)),
        ((46341, 46341, 0, -46341, 46341, 0, 0, 0, 1 << 30), (0, 0)),
    ],
)
def test_copy_stands_as_the_result_will_be_shown(
    matrix: tuple[int, ...], bright: tuple[int, int], tmp_path: Path
) -> None:
    """Quarter turns and mirrorings are done in the pixels, because players heed no matrix here; 45 degrees are not."""
    path = written(tmp_path, spec_of(matrix=matrix))

    luma = shown(path)[-1].to_ndarray(format="gray").astype(float)
    with Image.open(tmp_path / "copy.jpg") as opened:
        picture = np.asarray(opened.convert("L")).astype(float)
    for found in (luma, picture):
        rows, columns = found.shape[0] // 2, found.shape[1] // 2
        quarters = {
            (0, 0): found[:rows, :columns].mean(), (0, 1): found[:rows, columns:].mean(),
            (1, 0): found[rows:, :columns].mean(), (1, 1): found[rows:, columns:].mean(),
        }  # fmt: skip
        assert bright == max(quarters, key=lambda place: quarters[place])


@pytest.mark.parametrize(
    "pixel_format", ["yuv420p", "yuv422p", "yuv444p", "gray", "yuv420p10le", "yuv444p10le", "gray10le"]
)
@pytest.mark.parametrize("colour_range", [1, 2])
def test_every_working_format_becomes_8_bits_of_the_same_levels(
    pixel_format: str, colour_range: int, tmp_path: Path
) -> None:
    """More bits are cut, missing chroma is neutral, and the range stays: one level, and one for x264 at this rate."""
    spec = spec_of(colour=Colour(9, 16, 9, colour_range))

    picture = shown(written(tmp_path, spec, pixel_format=pixel_format))[-1]

    luma, blue, red = (np.asarray(plane) for plane in _planes(picture))
    assert ("yuv420p" if colour_range == 1 else "yuvj420p") == picture.format.name
    assert (9, 16, 9) == (picture.color_primaries, picture.color_trc, picture.colorspace)
    assert 2 >= abs(int(np.median(luma[-90:])) - 120)
    assert 2 >= max(abs(int(np.median(plane)) - 128) for plane in (blue, red))


def _planes(picture: av.VideoFrame) -> list[np.ndarray]:
    return [
        np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]
        for plane in picture.planes
    ]


def test_picture_is_from_the_middle_of_the_segment(tmp_path: Path) -> None:
    """Films begin their scenes in the dark; a small JPEG of the first frame of the second half stands for it."""
    spec = spec_of()
    writer = ProxyWriter(tmp_path / "copy.mp4", tmp_path / "copy.jpg", spec, Ticks(0, 100))
    for pts, level in ((0, 16), (40, 16), (60, 180), (80, 16)):
        writer.write(frame_of(spec, pts, level=level))
    writer.finish(20)

    with Image.open(tmp_path / "copy.jpg") as picture:
        assert ("JPEG", (320, 180)) == (picture.format, picture.size)
        dark, light = 0.0, 191.0  # of 16 and 180 in limited range; JPEG moves a flat area by a level or two
        corner = np.asarray(picture.convert("L"))[100:].mean()
    assert abs(corner - light) < abs(corner - dark)
    assert 3 > abs(corner - light)


def test_segment_without_pictures_has_no_copy(tmp_path: Path) -> None:
    """Nothing is written of a segment in which no frame decodes."""
    writer = ProxyWriter(tmp_path / "copy.mp4", tmp_path / "copy.jpg", spec_of(), Ticks())

    assert not writer.finish(40)
    writer.close()
    assert not (tmp_path / "copy.jpg").exists()


def test_copies_are_the_same_on_every_run(tmp_path: Path) -> None:
    """No time of day, no random identifier, no thread's timing is in them."""
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir(), second.mkdir()

    assert written(first, spec_of()).read_bytes() == written(second, spec_of()).read_bytes()


@pytest.mark.slow
def test_a_copy_keeps_its_rate_and_can_be_sought(tmp_path: Path) -> None:
    """Noise, which x264 would give many times as much: ten seconds within the bound, a keyframe every two of them."""
    spec = VideoSpec(Size(640, 360), Fraction(1, 25), Fraction(25), None, (), BT709, Hdr())
    chance = np.random.default_rng(7)
    writer = ProxyWriter(tmp_path / "copy.mp4", tmp_path / "copy.jpg", spec, UNKNOWN)
    for pts in range(250):
        planes = tuple(chance.integers(16, 236, shape, np.uint8) for shape in ((360, 640), (180, 320), (180, 320)))
        writer.write(Frame(planes, "yuv420p", pts, spec.time_base))
    assert writer.finish(last_duration=1)

    # x264 may use its buffer of two seconds beside the rate, and noise is at its limit of quantizers.
    assert proxy.MOST_BITS_PER_SECOND * 12 * 1.5 >= 8 * (tmp_path / "copy.mp4").stat().st_size
    with av.open(str(tmp_path / "copy.mp4")) as file:
        keys = [packet.pts * packet.time_base for packet in file.demux(video=0) if packet.size and packet.is_keyframe]
    assert [0, 2, 4, 6, 8] == keys
