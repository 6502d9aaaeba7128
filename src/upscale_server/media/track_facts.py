"""What a file holds besides its main picture, read in one pass: tracks, chapters, attachments, tags.

It reads and sums up; whether two files hold the same is judged in `audit_tracks`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from av.audio.codeccontext import AudioCodecContext
from av.container import InputContainer
from av.stream import AttachmentStream, Stream
from av.video.codeccontext import VideoCodecContext

from upscale_server.media.payload import payload
from upscale_server.media.source import open_source
from upscale_server.media.streams import codec_of, context_of, kind_of, rational, seconds_per_tick
from upscale_server.media.tracks import PacketPlace, Window, author_tags, is_made_by_muxer, kept_packets


@dataclass(slots=True)
class Track:
    """One stream: what it is, and the count, bytes and times of its packets.

    `form` is the sound's rate and channels or a picture's size; `durations` are kept for subtitles alone, whose reading
    depends on them.
    """

    index: int
    kind: str
    codec: str
    language: str
    title: str
    disposition: int
    timecode: str
    time_base: Fraction
    form: str = ""
    packets: int = 0
    digest: str = ""
    times: tuple[Fraction, ...] = ()
    durations: tuple[Fraction, ...] = ()

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

    main: Track
    tracks: tuple[Track, ...]
    chapters: tuple[tuple[Fraction, Fraction, str], ...]
    attachments: tuple[Attached, ...]
    metadata: dict[str, str]


def facts_of_tracks(
    path: Path, picture_index: int, window: Window, passed_over: frozenset[PacketPlace] = frozenset()
) -> TrackFacts:
    """Read a file's other streams inside a window of its time.

    Args:
        path: the file.
        picture_index: the stream that is not read.
        window: what is kept; times are given with its shift taken off.
        passed_over: packets that do not count, because no muxer takes them.
    """
    with open_source(path) as container:
        streams = [s for s in container.streams if s.index != picture_index and not is_made_by_muxer(s)]
        plain = [s for s in streams if not isinstance(s, AttachmentStream)]
        tracks = tuple(_read(container, plain, window, passed_over))
        attached = tuple(
            Attached(s.index, s.name or "", hashlib.sha256(s.data).hexdigest())
            for s in streams
            if isinstance(s, AttachmentStream)
        )
        return TrackFacts(
            main=_main(container, picture_index),
            tracks=tracks,
            chapters=tuple(_chapters(container, window)),
            attachments=attached,
            metadata=author_tags(container.metadata),
        )


def _main(container: InputContainer, picture_index: int) -> Track:
    """Return the picture's track; MXF keeps its timecode beside the tracks."""
    track = _track(container.streams[picture_index])
    track.timecode = track.timecode or container.metadata.get("timecode", "")
    return track


def _read(
    container: InputContainer, streams: list[Stream], window: Window, passed_over: frozenset[PacketPlace]
) -> Iterator[Track]:
    tracks = {stream.index: _track(stream) for stream in streams}
    sums = {index: hashlib.sha256() for index in tracks}
    times: dict[int, list[Fraction]] = {index: [] for index in tracks}
    durations: dict[int, list[Fraction]] = {index: [] for index in tracks}
    places = dict.fromkeys(tracks, -1)
    for packet in kept_packets(container, streams, window):
        places[packet.stream_index] += 1
        if (packet.stream_index, places[packet.stream_index]) in passed_over:
            continue
        sums[packet.stream_index].update(payload(packet, packet.stream))
        times[packet.stream_index].append((packet.pts or 0) * seconds_per_tick(packet))
        if tracks[packet.stream_index].kind == "subtitle":
            durations[packet.stream_index].append((packet.duration or 0) * seconds_per_tick(packet))
    for index, track in tracks.items():
        track.packets, track.digest = len(times[index]), sums[index].hexdigest()
        track.times, track.durations = tuple(times[index]), tuple(durations[index])
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
        timecode={key.lower(): value for key, value in stream.metadata.items()}.get("timecode", ""),
        time_base=seconds_per_tick(stream),
        form=_form(stream),
    )


def _form(stream: Stream) -> str:
    context = context_of(stream)
    if isinstance(context, AudioCodecContext):
        return f"{context.sample_rate} Hz, {context.layout.nb_channels} channels"
    if isinstance(context, VideoCodecContext) and context.width:
        return f"{context.width}x{context.height}"
    return ""


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
