"""Videos whose headers lie: sizes, counts, durations, and a few hundred bytes that declare gigabytes.

What is refused must be refused without taking the memory or the time that the header names.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from tests.support.corpus.bits import h264, vp9_keyframe
from tests.support.corpus.boxes import has_box, only, patched, patched_box
from tests.support.corpus.entry import Entry, Expect
from tests.support.corpus.odd_videos import bases

_GROUP = "v_lie"
_COUNTS = {"max": 0xFFFFFFFF, "big": 0x0FFFFFFF, "zero": 0}
_COUNTED = (b"stts", b"stsz", b"stsc", b"stco", b"stss", b"ctts", b"elst", b"dref", b"stsd")
_SIZES = {"zero": 0, "one": 1, "seven": 7, "max": 0xFFFFFFFF, "neg": 0x80000000}
_CLOCKS = {
    b"mvhd": {"zero_ts": (0, 1000), "long": (1, 0xFFFFFFFF), "neg": (1000, 0x80000000), "tiny": (0xFFFFFFFF, 1)},
    b"mdhd": {"zero_ts": (0, 1000), "long": (1, 0xFFFFFFFF), "huge_ts": (0xFFFFFFFF, 1)},
}
_TOO_LARGE = 50_000_000


def lying_videos() -> Iterator[Entry]:
    """Yield all of them."""
    yield from (Entry(_GROUP, name, content, expect) for name, content, expect in _boxes())
    yield from (Entry(_GROUP, name, content, expect) for name, content, expect in _parts())
    yield from (Entry(_GROUP, name, content, expect) for name, content, expect in _bombs())
    yield from (Entry(_GROUP, name, content, "either") for name, content in _other_containers())


def _boxes() -> Iterator[tuple[str, bytes, Expect]]:
    base = bases()["mp4"]
    for name, side in {"zero": 0, "big": 65535, "small": 1}.items():
        sides = struct.pack(">II", side << 16, side << 16)
        yield f"tkhd_{name}.mp4", patched_box(base, b"tkhd", 76, sides), "either"
    for name, side in {"zero": 0, "big": 65535, "small": 2}.items():
        yield f"stsd_{name}.mp4", patched_box(base, b"stsd", 40, struct.pack(">HH", side, side)), "either"
    for kind, lies in _CLOCKS.items():
        for name, clock in lies.items():
            yield f"{kind.decode()}_{name}.mp4", patched_box(base, kind, 12, struct.pack(">II", *clock)), "either"
    for kind in (kind for kind in _COUNTED if has_box(base, kind)):
        offset = 8 if kind == b"stsz" else 4
        for name, count in _COUNTS.items():
            lie = patched_box(base, kind, offset, struct.pack(">I", count))
            yield f"{kind.decode()}_count_{name}.mp4", lie, "either"
    for kind in (b"moov", b"trak", b"mdat", b"stbl", b"ftyp", b"avcC"):
        place = base.find(kind) - 4
        for name, size in _SIZES.items():
            yield f"box_{kind.decode()}_{name}.mp4", patched(base, place, struct.pack(">I", size)), "either"
    for name, kind, offset, number in (
        ("stts_delta_huge", b"stts", 12, 0x7FFFFFFF), ("stts_one_sample_count_2e31", b"stts", 8, 0x7FFFFFFF),
        ("stsz_const", b"stsz", 4, 0x7FFFFFFF), ("stco_past_eof", b"stco", 8, 0x7FFFFFF0),
        ("dref_external", b"dref", 16, 0),
    ):  # fmt: skip
        yield f"{name}.mp4", patched_box(base, kind, offset, struct.pack(">I", number)), "either"


def _parts() -> Iterator[tuple[str, bytes, Expect]]:
    """Yield files without one of their parts, or with too many."""
    base = bases()["mp4"]
    ftyp = only(base, b"ftyp")
    nested = b"".join(struct.pack(">I4s", 8 * (4000 - depth), b"moov") for depth in range(4000))
    yield "deep_nesting.mp4", base[:32] + nested, "either"
    yield "million_free_boxes.mp4", ftyp + struct.pack(">I4s", 8, b"free") * 200_000 + base[len(ftyp) :], "either"
    yield "no_moov.mp4", only(base, b"ftyp", b"free", b"mdat"), "reject"  # nothing says where the samples are
    yield "no_mdat.mp4", only(base, b"ftyp", b"free", b"moov"), "reject"  # there are no samples
    yield "two_moov.mp4", base + only(base, b"moov"), "either"
    yield "moov_only.mp4", only(base, b"moov"), "reject"  # there are no samples
    yield "ftyp_only.mp4", ftyp, "reject"  # there is nothing
    without = patched_box(patched_box(base, b"stsz", 8, bytes(4)), b"stts", 4, bytes(4))
    yield "zero_frames.mp4", without, "reject"  # not one picture


def _bombs() -> Iterator[tuple[str, bytes, Expect]]:
    """Yield a few hundred bytes that declare a picture beyond every limit, or the longest side with few pixels."""
    for width, height in ((16384, 16384), (8192, 8192), (65520, 65520), (32752, 16), (16, 32752)):
        expect: Expect = "reject" if width * height > _TOO_LARGE else "either"
        yield f"sps_{width}x{height}.h264", h264(width, height, 30), expect
    yield "sps_refs16_8192.h264", h264(8192, 8192, 60, references=16), "reject"  # sixteen of them to be kept
    for side in (65536, 16384):
        frame = vp9_keyframe(side, side)
        head = b"DKIF" + struct.pack("<HH4sHHIIII", 0, 32, b"VP90", 64, 48, 30, 1, 30, 0)
        frames = b"".join(struct.pack("<IQ", len(frame), number) + frame for number in range(30))
        yield f"vp9_{side}x{side}.ivf", head + frames, "reject"  # the container says 64x48


def _other_containers() -> Iterator[tuple[str, bytes]]:
    avi, mkv = bases()["avi"], bases()["mkv"]
    main, stream = avi.find(b"avih") + 8, avi.find(b"strh") + 8
    yield "avih_size.avi", patched(avi, main + 32, struct.pack("<II", 65535, 65535))
    yield "avih_frames.avi", patched(avi, main + 16, struct.pack("<I", 0x7FFFFFFF))
    yield "strh_rate_1M.avi", patched(avi, stream + 20, struct.pack("<II", 1, 1_000_000))
    duration = mkv.find(b"\x44\x89\x88") + 3
    for name, seconds in {"inf": 1e300, "nan": float("nan"), "neg": -5.0}.items():
        yield f"mkv_duration_{name}.mkv", patched(mkv, duration, struct.pack(">d", seconds))
    yield "mkv_nested.mkv", mkv[:40] + b"\x18\x53\x80\x67\x01\xff\xff\xff\xff\xff\xff\xff" * 20_000
