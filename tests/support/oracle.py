"""Says what an output lost against its source, without asking the product.

`differences` lists each loss in words; an empty list means that nothing is missing. It does not know how the output
was made: only what both files show.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from tests.support.inspect_media import Contents, Looks, Track, contents_of

DEEPEST = 10
"""Bits a sample that the product keeps; deeper sources become this, with a warning."""
PICTURE_FLOOR_DB = 27.0
"""Box-averaged output against source. Encoding at the default quality gives 30 to 45 dB on these tiny, busy pictures;
a wrong range, matrix, order or a shifted plane gives less than 20."""
MASTERING_TOLERANCE = 5e-5
"""AV1 stores chromaticity in 1/65536, HEVC in 1/50000."""
DEFAULT = 1
"""FFmpeg's disposition bit for the track that plays unless another is chosen."""
ATTACHED = 1024
"""FFmpeg's disposition bit for a cover."""
LUMINANCE_TOLERANCE = 5e-3


@dataclass(frozen=True, slots=True)
class Promise:
    """What may differ, and how the sizes relate.

    `dropped` are kinds of tracks that the target container cannot hold (a warning must name them instead).
    `deinterlaced` pictures are compared by number and time only. `damaged_frames` is how many pictures may look
    different because their packets were broken and each decoder conceals that in its own way. Real footage is not
    `numbered`; its order is still seen in the samples of each pair. `delayed` allows one common shift of everything.
    """

    scale: int = 2
    dropped: frozenset[str] = frozenset()
    deinterlaced: bool = False
    damaged_frames: int = 0
    numbered: bool = True
    delayed: bool = False


def differences(source: Path, output: Path, promise: Promise | None = None) -> list[str]:
    """Return each loss as one line."""
    promise = promise or Promise()
    before, after = (contents_of(path, coarse=not promise.numbered) for path in (source, output))
    found = _timing(before, after, promise)
    found += _order(before, after, promise) if promise.numbered else []
    found += _looks(before.looks, after.looks, promise)
    if not promise.deinterlaced and not promise.damaged_frames:
        found += _samples(before, after, promise.scale if promise.numbered else 1)
    found += _tracks(before, after, promise)
    found += _container(before, after, _shift(before, after, promise))
    return found


def _timing(before: Contents, after: Contents, promise: Promise) -> list[str]:
    if len(before.shown) != len(after.shown):
        return [f"frame count: {len(before.shown)} became {len(after.shown)}"]
    shift = _shift(before, after, promise)
    # A picture without a time needs one: its neighbours may give way by a tick each.
    untimed = sum(picture.time is None for picture in before.shown)
    half = after.looks.tick / 2 + untimed * after.looks.tick
    wrong = [
        f"frame {n}: time {_text(a.time)} became {_text(b.time)}"
        for n, (a, b) in enumerate(zip(before.shown, after.shown, strict=True))
        if a.time is not None and (b.time is None or abs(a.time + shift - b.time) > half)
    ]
    return wrong[:3]


def _text(time: Fraction | None) -> str:
    return "unknown" if time is None else str(float(time))


def _shift(before: Contents, after: Contents, promise: Promise) -> Fraction:
    """Return by how much everything moved.

    Only a picture with negative times, which no container holds, or one that begins without any, may move, and what
    `delayed` allows.
    """
    first = next((n for n, one in enumerate(before.shown) if one.time is not None), None)
    moves = promise.delayed or first != 0 or before.shown[0].time < 0
    if first is None or not moves or first >= len(after.shown):
        return Fraction(0)
    return after.shown[first].time - before.shown[first].time


def _order(before: Contents, after: Contents, promise: Promise) -> list[str]:
    pairs = zip(before.shown, after.shown, strict=False)
    wrong = [
        f"frame {n}: shows picture {b.number}, expected {a.number}"
        for n, (a, b) in enumerate(pairs)
        if a.number is not None and a.number != b.number
    ]
    return wrong[:3] if len(wrong) > promise.damaged_frames else []


def _looks(before: Looks, after: Looks, promise: Promise) -> list[str]:
    width, height = before.size
    expected = {
        "size": ((width * promise.scale, height * promise.scale), after.size),
        "bits": (min(before.bits, DEEPEST), after.bits),
        "chroma subsampling": (before.chroma, after.chroma),
        "colour (primaries, transfer, matrix, range)": (_told(before, before), _told(after, before)),
        "sample aspect ratio": (before.sample_aspect_ratio, after.sample_aspect_ratio),
        "display matrix": (before.display_matrix, after.display_matrix),
        "content light": (before.light, after.light),
        "interlaced": (False, after.interlaced),
        "language": (before.language, after.language),
        "title": (before.title, after.title),
    }
    found = [f"{name}: {a} became {b}" for name, (a, b) in expected.items() if a != b]
    if not _same_mastering(before.mastering, after.mastering):
        found.append(f"mastering display: {before.mastering} became {after.mastering}")
    return found


def _told(looks: Looks, source: Looks) -> tuple[int, ...]:
    """Return the colour tags that must be the same.

    An unspecified range means limited for Y'CbCr, so both count as the same. An RGB source has no matrix or range.
    """
    primaries, transfer, matrix, colour_range = looks.colour
    if source.rgb:
        return primaries, transfer
    return primaries, transfer, matrix, colour_range or 1


def _same_mastering(before: tuple[float, ...], after: tuple[float, ...]) -> bool:
    if len(before) != len(after):
        return False
    tolerances = [MASTERING_TOLERANCE] * 8 + [LUMINANCE_TOLERANCE] * 2
    return all(abs(a - b) <= limit for a, b, limit in zip(before, after, tolerances, strict=False))


def _samples(before: Contents, after: Contents, scale: int) -> list[str]:
    found = []
    for plane, name in enumerate(("luma", "blue difference", "red difference")):
        if plane >= len(before.shown[0].planes) or plane >= len(after.shown[0].planes):
            continue
        worst = min(
            (
                _psnr(a.planes[plane] / 2 ** (a.bits - 8), b.planes[plane] / 2 ** (b.bits - 8), scale)
                for a, b in zip(before.shown, after.shown, strict=False)
            ),
            default=0.0,
        )
        if worst < PICTURE_FLOOR_DB:
            found.append(f"{name}: worst frame is {worst:.1f} dB from the source; expected {PICTURE_FLOOR_DB} or more")
    return found


def _psnr(small: np.ndarray, large: np.ndarray, scale: int) -> float:
    rows, columns = (min(a // scale, b) for a, b in zip(large.shape, small.shape, strict=True))
    blocks = large[: rows * scale, : columns * scale].reshape(rows, scale, columns, scale).mean(axis=(1, 3))
    error = float(np.mean((blocks - small[:rows, :columns]) ** 2))
    return 99.0 if error == 0 else float(10 * np.log10(255**2 / error))


def _tracks(before: Contents, after: Contents, promise: Promise) -> list[str]:
    expected = [track for track in before.tracks if track.kind not in promise.dropped]
    kept = [track for track in after.tracks if track.kind not in promise.dropped]
    if [t.kind for t in expected] != [t.kind for t in kept]:
        return [f"tracks: {[t.kind for t in expected]} became {[t.kind for t in kept]}"]
    found, shift = [], _shift(before, after, promise)
    for a, b in zip(expected, kept, strict=True):
        enabled = DEFAULT if "mp4" in after.container and _first_of_none(a, expected) else 0
        found += [f"track {a.index} ({a.kind} {a.codec}) {line}" for line in _track(a, b, shift, enabled)]
    return found


def _first_of_none(track: Track, tracks: list[Track]) -> bool:
    """Say whether MP4 must enable this track: the first of a kind of which the source marks none as the default."""
    kin = [other for other in tracks if other.kind == track.kind]
    return kin[0] is track and not any(other.disposition & DEFAULT for other in kin)


def _track(a: Track, b: Track, shift: Fraction, enabled: int) -> list[str]:
    pairs = {
        "codec": (a.codec, b.codec),
        "language": (a.language, b.language),
        "title": (a.title, b.title),
        "disposition": (a.disposition, b.disposition & ~enabled),
        "mimetype": (a.mimetype, b.mimetype),
        "packet count": (len(a.digests), len(b.digests)),
    }
    found = [f"{name}: {x} became {y}" for name, (x, y) in pairs.items() if x != y]
    if len(a.digests) == len(b.digests) and a.digests != b.digests:
        found.append("packet bytes changed")
    limit = b.tick / 2 if not shift else b.tick * 3 / 2  # a moved file is rounded twice
    if a.disposition & ATTACHED:
        return found  # a cover has no place in time
    moved = [(x, y) for x, y in zip(a.times, b.times, strict=False) if abs(x + shift - y) > limit]
    found += [f"packet time {float(x)} became {float(y)}" for x, y in moved[:2]]
    return found


def _container(before: Contents, after: Contents, shift: Fraction) -> list[str]:
    found = []
    if [c[2] for c in before.chapters] != [c[2] for c in after.chapters]:
        found.append(f"chapters: {before.chapters} became {after.chapters}")
    elif any(
        abs(x + shift - y) > Fraction(1, 1000)
        for a, b in zip(before.chapters, after.chapters, strict=True)
        for x, y in zip(a[:2], b[:2], strict=True)
    ):
        found.append(f"chapter times: {before.chapters} became {after.chapters}")
    for key, value in before.metadata.items():
        if after.metadata.get(key) != value:
            found.append(f"metadata {key}: {value!r} became {after.metadata.get(key)!r}")
    return found
