"""What a file holds besides its main picture, read in one pass: tracks, chapters, attachments, tags.

It reads and sums up; whether two files hold the same is judged in `audit_tracks`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from av.container import InputContainer
from av.stream import AttachmentStream, Stream

from upscale_server.media.payload import payload
from upscale_server.media.source import open_source
from upscale_server.media.streams import codec_of, kind_of, rational, seconds_per_tick
from upscale_server.media.tracks import Window, author_tags, is_chapter_text, kept_packets


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
class Attached:
    """A file inside the file."""

    index: int
    name: str
    digest: str


@dataclass(frozen=True, slots=True)
class TrackFacts:
    """Everything in a file besides its main picture."""

    tracks: tuple[Track, ...]
    chapters: tuple[tuple[Fraction, Fraction, str], ...]
    attachments: tuple[Attached, ...]
    metadata: dict[str, str]


def facts_of_tracks(path: Path, picture_index: int, window: Window) -> TrackFacts:
    """Read a file's other streams inside a window of its time; times are given with the window's shift taken off."""
    with open_source(path) as container:
        streams = [s for s in container.streams if s.index != picture_index and not is_chapter_text(s)]
        plain = [s for s in streams if not isinstance(s, AttachmentStream)]
        tracks = tuple(_read(container, plain, window))
        attached = tuple(
            Attached(s.index, s.name or "", hashlib.sha256(s.data).hexdigest())
            for s in streams
            if isinstance(s, AttachmentStream)
        )
        return TrackFacts(tracks, tuple(_chapters(container, window)), attached, author_tags(container.metadata))


def _read(container: InputContainer, streams: list[Stream], window: Window) -> Iterator[Track]:
    tracks = {stream.index: _track(stream) for stream in streams}
    sums = {index: hashlib.sha256() for index in tracks}
    times: dict[int, list[Fraction]] = {index: [] for index in tracks}
    for packet in kept_packets(container, streams, window):
        sums[packet.stream_index].update(payload(packet, packet.stream))
        times[packet.stream_index].append((packet.pts or 0) * seconds_per_tick(packet))
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
        time_base=seconds_per_tick(stream),
    )


def _chapters(container: InputContainer, window: Window) -> Iterator[tuple[Fraction, Fraction, str]]:
    for chapter in container.chapters():
        base = rational(chapter["time_base"]) or Fraction(1, 1000)
        start, end = chapter["start"] * base, chapter["end"] * base
        if window.holds_some(start, end - start):
            yield (
                max(start, window.start or start) - window.shift,
                end - window.shift,
                chapter["metadata"].get("title", ""),
            )
