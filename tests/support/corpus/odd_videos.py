"""Videos that are valid and odd: sizes, times, pixel formats, colours, tracks, containers, and changes in the middle.

Every expectation that is neither `ok` nor `either` says why.
"""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Iterator
from fractions import Fraction
from functools import cache, partial

from PIL import Image

from tests.support.corpus.boxes import first_box, patched
from tests.support.corpus.entry import Entry, Expect, where_possible
from tests.support.corpus.films import Film, film

_GROUP = "v_odd"
_MS = Fraction(1, 1000)
_SIZES = ((1, 1), (2, 2), (3, 5), (16, 2), (2, 16), (17, 33), (1, 64), (4096, 16), (16, 4096))
_LEAST_SIDE = 16
_RATES = (Fraction(1), Fraction(24000, 1001), Fraction(2997, 50), Fraction(120), Fraction(240))
_PIXELS = (
    ("yuv422p", "libx264", "mp4"), ("yuv444p", "libx264", "mp4"), ("yuv420p10le", "libx264", "mp4"),
    ("yuv422p10le", "libx264", "mp4"), ("gray", "libx264", "mp4"), ("yuvj420p", "mjpeg", "avi"),
    ("yuv420p10le", "libx265", "mp4"), ("yuv420p12le", "libx265", "mp4"), ("yuv420p10le", "libsvtav1", "mp4"),
    ("yuv420p", "libsvtav1", "mp4"), ("yuva420p", "libvpx-vp9", "webm"), ("yuva444p10le", "prores_ks", "mov"),
    ("rgba", "png", "mov"), ("argb", "qtrle", "mov"), ("bgr0", "ffv1", "matroska"), ("yuv420p16le", "ffv1", "matroska"),
    ("rgb8", "gif", "gif"),
)  # fmt: skip
_COLOURS = {"pq": (9, 16, 9), "hlg": (9, 18, 9), "bt601": (6, 6, 6), "bt709": (1, 1, 1)}
_MATRICES = {
    "90": (0, 1, -1, 0), "180": (-1, 0, 0, -1), "270": (0, -1, 1, 0), "hflip": (-1, 0, 0, 1),
    "garbage": (12345, -777, 99, 1 << 14),
}  # fmt: skip
_CONTAINERS = (
    ("mpeg", "mpeg2video", "mpg"), ("flv", "flv", "flv"), ("asf", "wmv2", "wmv"), ("mov", "libx264", "mov"),
    ("nut", "ffv1", "nut"), ("apng", "apng", "apng"), ("mxf", "mpeg2video", "mxf"), ("ivf", "libvpx", "ivf"),
    ("3gp", "mpeg4", "3gp"), ("webp", "libwebp_anim", "webp"),
)  # fmt: skip


@cache
def bases() -> dict[str, bytes]:
    """Return the plain films that others are made of, by the ending of their names."""
    fragments = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
    return {
        "mp4": film(Film(sounds=1, count=20)),
        "mkv": film(Film("matroska", sounds=1, count=20)),
        "ts": film(Film("mpegts", sounds=1, count=20)),
        "webm": film(Film("webm", "libvpx")),
        "avi": film(Film("avi", "mpeg4", count=20)),
        "frag.mp4": film(Film(count=20, container_options=fragments, options={"g": "5"})),
    }


def zipped(content: bytes) -> bytes:
    """Return a zip archive that holds a file."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr(zipfile.ZipInfo("a.mp4", (2020, 1, 1, 0, 0, 0)), content)
    return archive.getvalue()


def odd_videos() -> Iterator[Entry]:
    """Yield all of them."""
    yield from quick_videos()
    yield from _sizes()
    yield from _changes()


def quick_videos() -> Iterator[Entry]:
    """Yield those whose making takes no time."""
    yield from (Entry("v_base", f"base.{ending}", content, "ok") for ending, content in bases().items())
    yield from _times()
    yield from _pictures()
    yield from _turned()
    yield from _tracks()
    yield from _containers()


def _film(name: str, wanted: Film, expect: Expect = "either", group: str = _GROUP) -> Iterator[Entry]:
    return where_possible(group, name, partial(film, wanted), expect)


def _sizes() -> Iterator[Entry]:
    for width, height in _SIZES:
        expect: Expect = "ok" if min(width, height) >= _LEAST_SIDE else "either"
        size, begun = {"width": width, "height": height, "count": 3}, f"size_{width}x{height}"
        yield from _film(f"{begun}_444.mp4", Film(pixel_format="yuv444p", **size), expect)
        yield from _film(f"{begun}_vp9.webm", Film("webm", "libvpx-vp9", **size), expect)
        yield from _film(f"{begun}_ffv1.mkv", Film("matroska", "ffv1", **size))


def _times() -> Iterator[Entry]:
    varied = (0, 33, 300, 310, 1000, 1001, 1500, 2500)
    late, early = tuple(range(10_000, 10_500, 100)), tuple(range(-500, 0, 100))
    day = (0, 100, 86_400_000)
    for count in (1, 2, 3):
        yield from _film(f"frames_{count}.mp4", Film(count=count), "ok")
    yield from _film("vfr.mp4", Film(count=8, time_base=_MS, pts=varied), "ok")
    yield from _film("vfr.mkv", Film("matroska", count=8, time_base=_MS, pts=varied), "ok")
    equal = (0, 0, 100, 100, 200, 200)
    yield from _film("dup_pts.mkv", Film("matroska", "ffv1", count=6, time_base=_MS, pts=equal))
    yield from _film("start_10s.mp4", Film(count=5, time_base=_MS, pts=late), "ok")
    yield from _film("neg_pts.mkv", Film("matroska", "ffv1", count=5, time_base=_MS, pts=early))
    yield from _film("neg_pts.mp4", Film(count=5, time_base=_MS, pts=early, options={"bf": "2"}))
    reordered = {"preset": "medium", "bf": "3", "g": "12"}
    yield from _film("bframes.mp4", Film(count=20, options=reordered), "ok")
    for rate in _RATES:
        yield from _film(f"fps_{float(rate):.2f}.mp4", Film(count=6, rate=rate), "ok")
    # Gaps are kept and not filled: three frames a day apart are three frames, and no bomb.
    yield from _film("gap_1day.mkv", Film("matroska", "ffv1", count=3, time_base=_MS, pts=day))
    yield from _film("gap_1day.mp4", Film(count=3, time_base=_MS, pts=day))


def _pictures() -> Iterator[Entry]:
    yield from _film("sar_2_1.mp4", Film(count=4, sample_aspect_ratio=Fraction(2)), "ok")
    fields = Film(count=6, height=64, options={"x264-params": "tff=1:threads=1"})
    yield from _film("interlaced_tff.mp4", fields, "ok")
    broadcast = {"flags": "+ildct+ilme", "top": "1"}
    yield from _film(
        "interlaced_mpeg2.ts",
        Film("mpegts", "mpeg2video", count=6, height=64, rate=Fraction(25), options=broadcast),
        "ok",
    )
    for pixel_format, codec, container in _PIXELS:
        name = f"pix_{codec}_{pixel_format}.{container.replace('matroska', 'mkv')}"
        expect: Expect = "ok" if codec.startswith("lib") else "either"
        yield from _film(name, Film(container, codec, count=4, height=64, pixel_format=pixel_format), expect)
    for name, (primaries, transfer, matrix) in _COLOURS.items():
        codec, pixel_format = ("libx265", "yuv420p10le") if name in ("pq", "hlg") else ("libx264", "yuv420p")
        for spread, word in ((1, "tv"), (2, "full")):
            colour = (primaries, transfer, matrix, spread)
            wanted = Film(codec=codec, count=3, height=64, pixel_format=pixel_format, colour=colour)
            yield from _film(f"color_{name}_{word}.mp4", wanted, "ok")


def _turned() -> Iterator[Entry]:
    base = bases()["mp4"]
    place = first_box(base, b"tkhd").body + 40
    for name, (a, b, c, d) in _MATRICES.items():
        unit = 1 if name == "garbage" else 1 << 16
        matrix = struct.pack(">9i", a * unit, b * unit, 0, c * unit, d * unit, 0, 0, 0, 1 << 30)
        yield Entry(_GROUP, f"rotate_{name}.mp4", patched(base, place, matrix), "either" if unit == 1 else "ok")


def _tracks() -> Iterator[Entry]:
    for container, ending in (("mp4", "m4a"), ("mp3", "mp3"), ("wav", "wav")):  # no picture: nothing to enlarge
        yield from _film(f"audio_only.{ending}", Film(container, pictures=0, sounds=1), "reject")
    yield from _film("two_video.mkv", Film("matroska", count=5, pictures=2, sounds=1), "ok")
    yield from _film("forty_video.mkv", Film("matroska", "mpeg4", count=2, pictures=40))
    yield from _film("four_audio.mkv", Film("matroska", count=5, sounds=4), "ok")
    yield from where_possible(_GROUP, "cover_art.mp3", _with_cover, "reject")  # a cover is no film


def _with_cover() -> bytes:
    """Return an MP3 with a picture in its ID3 tag (ID3v2.3, APIC)."""
    cover = io.BytesIO()
    Image.new("RGB", (32, 32), (9, 99, 9)).save(cover, "JPEG")
    body = film(Film("mp3", pictures=0, sounds=1))
    if body.startswith(b"ID3"):
        length = sum((body[6 + place] & 127) << (7 * (3 - place)) for place in range(4))
        body = body[10 + length :]
    picture = b"\0image/jpeg\0\3\0" + cover.getvalue()
    frame = b"APIC" + struct.pack(">I", len(picture)) + b"\0\0" + picture
    size = bytes(len(frame) >> (7 * (3 - place)) & 127 for place in range(4))
    return b"ID3\3\0\0" + size + frame + body


def _containers() -> Iterator[Entry]:
    yield from _film("raw.h264", Film("h264"))
    yield from _film("raw.hevc", Film("hevc", "libx265", height=64))
    yield from _film("mjpeg.mjpeg", Film("mjpeg", "mjpeg", pixel_format="yuvj420p", count=5))
    yield from _film("y4m.y4m", Film("yuv4mpegpipe", "rawvideo", count=5))
    for container, codec, ending in _CONTAINERS:
        pixel_format = "rgb24" if codec == "apng" else "yuv420p"
        wanted = Film(container, codec, count=6, rate=Fraction(25), height=64, pixel_format=pixel_format)
        yield from _film(f"container.{ending}", wanted)
    yield Entry(_GROUP, "wrong_ext_mkv.mp4", bases()["mkv"], "ok")
    yield Entry(_GROUP, "wrong_ext_mp4.avi", bases()["mp4"], "ok")
    yield Entry(_GROUP, "polyglot_mp4_zip.mp4", bases()["mp4"] + zipped(bases()["mp4"]), "ok")


def _changes() -> Iterator[Entry]:
    """Yield films whose size, format, codec or clock changes in the middle: two, one behind the other."""
    small, large = _raw(64, 48), _raw(128, 96)
    group = "v_change"
    yield Entry(group, "res_up.h264", small + large)
    yield Entry(group, "res_down.h264", large + small)
    yield Entry(group, "res_bomb.h264", _raw(16, 16) + _raw(4096, 2160))
    yield Entry(group, "pix_change.h264", small + _raw(64, 48, "yuv420p10le") + _raw(64, 48, "yuv444p"))
    ts = film(Film("mpegts", count=5))
    yield Entry(group, "res_change.ts", ts + film(Film("mpegts", count=5, width=160, height=90)))
    yield Entry(group, "codec_change.ts", ts + film(Film("mpegts", "mpeg2video", count=5, rate=Fraction(25))))
    yield Entry(group, "pts_reset.ts", film(Film("mpegts", count=8)) * 2)
    stills = {"container": "mjpeg", "codec": "mjpeg", "pixel_format": "yuvj420p", "count": 3}
    yield Entry(group, "res_change.mjpeg", film(Film(**stills)) + film(Film(**stills, width=256, height=256)))  # type: ignore[arg-type]  # of several types


def _raw(width: int, height: int, pixel_format: str = "yuv420p") -> bytes:
    return film(Film("h264", width=width, height=height, count=5, pixel_format=pixel_format))
