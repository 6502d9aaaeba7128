"""Whether two files hold the same besides the picture: tracks by bytes and times, chapters, attachments, tags.

The facts are read in `media.track_facts`; the picture is `audit`'s.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sized
from fractions import Fraction

from upscale_server.media.track_facts import Track, TrackFacts

_CHAPTER_TOLERANCE = Fraction(1, 500)  # QuickTime and Matroska count chapters in milliseconds, rounding each way
_LANGUAGE = re.compile(r"[a-z]{3}")
_DEFAULT = 1  # FFmpeg's disposition bit for a default track

Finding = tuple[str, bool, str, str]
"""A rule's name, whether it holds, what was expected, what was found."""


def compare_tracks(a: TrackFacts, b: TrackFacts, left_out: frozenset[int]) -> Iterator[Finding]:
    """Yield a finding for each track of `a`, and for what belongs to the whole file."""
    yield "picture's track", *_compare_names(a.main, b.main)
    yield "timecode", a.main.timecode == b.main.timecode, a.main.timecode or "none", b.main.timecode or "none"
    spare = list(b.tracks)
    twins: list[Track] = []
    theirs_attached = {one.digest for one in b.attachments}
    theirs_named = {(one.name, one.digest) for one in b.attachments}
    for track in a.tracks:
        if track.index in left_out:
            continue
        if not track.packets:
            continue  # a track without a packet in the kept time leaves no trace in any container
        twin = _twin(track, spare)
        if twin is None:
            cover = track.digest in theirs_attached
            yield track.name, cover, f"{track.packets} packets", "as an attachment" if cover else "no such track"
            continue
        spare.remove(twin)
        twins.append(twin)
        yield track.name, *_compare_packets(track, twin)
    order = [twin.index for twin in twins]
    yield (
        "order of tracks",
        order == sorted(order),
        "as in the source",
        "the same" if order == sorted(order) else "other",
    )
    extra = [track.name for track in spare if track.packets]
    yield "no other tracks", not extra, "none", ", ".join(extra) or "none"
    yield _compare_chapters(a, b)
    lost = [
        one.name for one in a.attachments if one.index not in left_out and (one.name, one.digest) not in theirs_named
    ]
    yield "attachments", not lost, _so_many(a.attachments), f"{', '.join(lost)} missing" if lost else "the same"
    theirs = {key.lower(): value for key, value in b.metadata.items()}
    changed = [key for key, value in a.metadata.items() if theirs.get(key.lower()) != value]
    told = f"{', '.join(changed)} changed" if changed else "the same"
    yield "metadata", not changed, _so_many(a.metadata, " tags"), told


def _twin(track: Track, spare: list[Track]) -> Track | None:
    """Return the track of the other file that is meant to be this one: the same kind and codec, best the same bytes."""
    alike = [one for one in spare if (one.kind, _family(one.codec)) == (track.kind, _family(track.codec))]
    same = [one for one in alike if one.digest == track.digest and one.language == track.language]
    return next(iter(same or alike), None)


def _family(codec: str) -> str:
    """Return a codec's name; MP4 has one for the three layers of MPEG audio, which FFmpeg reads back as the third."""
    return "mp1, mp2 or mp3" if codec in ("mp1", "mp2", "mp3") else codec


def _compare_packets(track: Track, twin: Track) -> tuple[bool, str, str]:
    tolerance = twin.time_base / 2  # the source's times are exact; only the output's container rounds
    expected = f"{track.packets} packets"
    if track.packets != twin.packets:
        return False, expected, f"{twin.packets} packets"
    if track.digest != twin.digest:
        return False, "the same bytes", "other bytes"
    if track.form and twin.form and track.form != twin.form:  # a damaged head says nothing of its form
        return False, track.form, twin.form
    named = _compare_names(track, twin)
    if not named[0]:
        return named
    apart = max((abs(x - y) for x, y in zip(track.times, twin.times, strict=True)), default=Fraction(0))
    longer = max((abs(x - y) for x, y in zip(track.durations, twin.durations, strict=True)), default=Fraction(0))
    if longer > 2 * tolerance + Fraction(1, 1000):
        return False, "the same durations", f"{float(longer) * 1000:.0f} ms longer or shorter"
    told = f"{expected}, times {float(apart) * 1000:.3f} ms apart at most" if apart else "the same"
    return apart <= tolerance, expected, told


def _compare_names(track: Track, twin: Track) -> tuple[bool, str, str]:
    # QuickTime holds three letters (ISO 639-2); what is no language says nothing there.
    spoken = {track.language, track.language if _LANGUAGE.fullmatch(track.language) else ""}
    if twin.language not in spoken or track.title != twin.title:
        return False, f"{track.language} {track.title}".strip(), f"{twin.language} {twin.title}".strip()
    # Transport streams and AVI know no default track; QuickTime and Matroska then call the first of a kind that.
    if (track.disposition ^ twin.disposition) & ~(0 if track.disposition else _DEFAULT):
        return False, f"disposition {track.disposition}", f"disposition {twin.disposition}"
    return True, "its name and disposition", "the same"


def _compare_chapters(a: TrackFacts, b: TrackFacts) -> Finding:
    titles = [title for _, _, title in a.chapters] == [title for _, _, title in b.chapters]
    close = (
        titles
        and all(
            _close(*times) or (place == 0 and pair[1][0] == 0)  # QuickTime's first chapter always starts at zero
            for place, pair in enumerate(zip(a.chapters, b.chapters, strict=True))
            for times in zip(pair[0][:2], pair[1][:2], strict=True)
        )
    )
    found = "the same" if close else f"{len(b.chapters)}, other titles or times"
    return "chapters", close, _so_many(a.chapters), found


def _so_many(kept: Sized, of: str = "") -> str:
    return f"{len(kept)}{of}" if kept else "none"


def _close(one: Fraction | str, other: Fraction | str) -> bool:
    return abs(Fraction(one) - Fraction(other)) <= _CHAPTER_TOLERANCE
