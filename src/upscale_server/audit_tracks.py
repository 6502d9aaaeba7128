"""What a file holds besides the picture, read in one pass, and whether two files hold the same.

It compares bytes and times of packets, names, chapters, attachments; the picture is `audit`'s.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from av.container import InputContainer
from av.stream import AttachmentStream, Disposition, Stream

from upscale_server.media.payload import payload
from upscale_server.media.source import open_source
from upscale_server.media.streams import codec_of, kind_of
from upscale_server.media.tracks import Window, author_tags, is_chapter_text, kept_packets

_CHAPTER_TOLERANCE = Fraction(1, 500)  # QuickTime and Matroska count chapters in milliseconds, rounding each way

Finding = tuple[str, bool, str, str]
"""A rule's name, whether it holds, what was expected, what was found."""


@dataclass(slots=True)
class Track:
    """One stream: what it is, and the count, bytes and times of its packets."""

    index: int
    kind: str
    codec: str
    language: str
    title: str
    disposition: int
    time_base: Fraction
    packets: int = 0
    digest: str = ""
    times: tuple[Fraction, ...] = ()

    @property
    def name(self) -> str:
        """Return what a reader calls the track."""
        return f"{self.kind} {self.index} ({self.codec}{', ' + self.language if self.language else ''})"


@dataclass(frozen=True, slots=True)
class TrackFacts:
    """Everything in a file besides its main picture."""

    tracks: tuple[Track, ...]
    chapters: tuple[tuple[Fraction, Fraction, str], ...]
    attachments: tuple[tuple[str, str], ...]
    metadata: dict[str, str]


def facts_of_tracks(path: Path, picture_index: int, window: Window) -> TrackFacts:
    """Read a file's other streams inside a window of its time; times are given with the window's shift taken off."""
    with open_source(path) as container:
        streams = [s for s in container.streams if s.index != picture_index and not is_chapter_text(s)]
        plain = [s for s in streams if not isinstance(s, AttachmentStream)]
        tracks = tuple(_read(container, plain, window))
        attached = [
            (s.name or "", hashlib.sha256(s.data).hexdigest()) for s in streams if isinstance(s, AttachmentStream)
        ]
        return TrackFacts(
            tracks, tuple(_chapters(container, window)), tuple(sorted(attached)), author_tags(container.metadata)
        )


def _read(container: InputContainer, streams: list[Stream], window: Window) -> Iterator[Track]:
    tracks = {stream.index: _track(stream) for stream in streams}
    sums = {index: hashlib.sha256() for index in tracks}
    times: dict[int, list[Fraction]] = {index: [] for index in tracks}
    for packet in kept_packets(container, streams, window):
        sums[packet.stream_index].update(payload(packet, packet.stream))
        times[packet.stream_index].append((packet.pts or 0) * packet.time_base)
    for index, track in tracks.items():
        track.packets, track.digest, track.times = len(times[index]), sums[index].hexdigest(), tuple(times[index])
        yield track


def _track(stream: Stream) -> Track:
    language = stream.metadata.get("language", "")
    return Track(
        index=stream.index,
        kind=kind_of(stream),
        codec=codec_of(stream),
        language="" if language == "und" else language,
        title=stream.metadata.get("title") or stream.metadata.get("name", ""),
        disposition=int(stream.disposition),
        time_base=stream.time_base or Fraction(1, 1000),
    )


def _chapters(container: InputContainer, window: Window) -> Iterator[tuple[Fraction, Fraction, str]]:
    for chapter in container.chapters():
        base = chapter["time_base"] or Fraction(1, 1000)
        start, end = chapter["start"] * base, chapter["end"] * base
        if window.holds_some(start, end - start):
            yield (
                max(start, window.start or start) - window.shift,
                end - window.shift,
                chapter["metadata"].get("title", ""),
            )


def compare_tracks(a: TrackFacts, b: TrackFacts, left_out: frozenset[int]) -> Iterator[Finding]:
    """Yield a finding for each track of `a`, and for what belongs to the whole file."""
    spare = list(b.tracks)
    for track in a.tracks:
        if track.index in left_out:
            continue
        if not track.packets:
            continue  # a track without a packet in the kept time leaves no trace in any container
        twin = _twin(track, spare)
        if twin is None:
            cover = track.digest in {digest for _, digest in b.attachments}
            yield track.name, cover, f"{track.packets} packets", "as an attachment" if cover else "no such track"
            continue
        spare.remove(twin)
        yield track.name, *_compare_packets(track, twin)
    extra = [track.name for track in spare]
    yield "no other tracks", not extra, "none", ", ".join(extra) or "none"
    yield _compare_chapters(a, b)
    lost = [name for name, digest in a.attachments if digest not in {d for _, d in b.attachments}]
    lost = [] if any(True for _ in lost) and _all_left_out(a, left_out) else lost
    yield "attachments", not lost, f"{len(a.attachments)}", f"{', '.join(lost)} missing" if lost else "the same"
    theirs = {key.lower(): value for key, value in b.metadata.items()}
    changed = [key for key, value in a.metadata.items() if theirs.get(key.lower()) != value]
    yield "metadata", not changed, f"{len(a.metadata)} tags", f"{', '.join(changed)} changed" if changed else "the same"


def _all_left_out(a: TrackFacts, left_out: frozenset[int]) -> bool:
    return len(left_out) >= len(a.attachments)


def _twin(track: Track, spare: list[Track]) -> Track | None:
    """Return the track of the other file that is meant to be this one: the same kind and codec, best the same bytes."""
    alike = [one for one in spare if (one.kind, one.codec) == (track.kind, track.codec)]
    same = [one for one in alike if one.digest == track.digest and one.language == track.language]
    return next(iter(same or alike), None)


def _compare_packets(track: Track, twin: Track) -> tuple[bool, str, str]:
    tolerance = (track.time_base + twin.time_base) / 2
    expected = f"{track.packets} packets"
    if track.packets != twin.packets:
        return False, expected, f"{twin.packets} packets"
    if track.digest != twin.digest:
        return False, "the same bytes", "other bytes"
    if track.language != twin.language or track.title != twin.title:
        return False, f"{track.language} {track.title}".strip(), f"{twin.language} {twin.title}".strip()
    # Transport streams and AVI know no default track; QuickTime and Matroska then call the first of a kind that.
    if (track.disposition ^ twin.disposition) & ~(0 if track.disposition else Disposition.default):
        return False, f"disposition {track.disposition}", f"disposition {twin.disposition}"
    apart = max((abs(x - y) for x, y in zip(track.times, twin.times, strict=True)), default=Fraction(0))
    return apart <= tolerance, expected, f"{expected}, times {float(apart) * 1000:.3f} ms apart at most"


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
    return "chapters", close, f"{len(a.chapters)}", "the same" if close else f"{len(b.chapters)}, other titles or times"


def _close(one: Fraction | str, other: Fraction | str) -> bool:
    return abs(Fraction(one) - Fraction(other)) <= _CHAPTER_TOLERANCE
