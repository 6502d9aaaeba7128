"""Everything in the source besides the picture: which of it a container can hold, and carrying it over untouched.

Packets are copied, never decoded; what cannot be held is named, so that a plan can say it before any work.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av.error
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import AttachmentStream, DataStream, Discard, Stream

from upscale_server.media.pulse import beating
from upscale_server.media.source import open_source
from upscale_server.media.streams import codec_of, is_cover, kind_of, rational, seconds_per_tick

PacketPlace = tuple[int, int]
"""A copied packet by the index of its stream in the source and its number among the kept packets of that stream."""

CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
"""Output suffixes and the muxers behind them: those that keep any frame time and hold our codecs."""

_CHAPTER_CLOCK = Fraction(1, 1000)
_PACKETS_LOOKED_AT = 2000  # far more than any container interleaves before every stream has begun
_OF_THE_MUXER = {"major_brand", "minor_version", "compatible_brands", "encoder", "creation_time_raw"}
_STATISTICS = re.compile(r"(BPS|DURATION|NUMBER_OF_FRAMES|NUMBER_OF_BYTES|_STATISTICS_\w+)(-\w+)?")
_MIMES = {"mjpeg": ("cover.jpg", "image/jpeg"), "png": ("cover.png", "image/png"), "webp": ("cover.webp", "image/webp")}
_MP4_KEYS = {
    "title", "artist", "album_artist", "composer", "album", "date", "comment", "genre", "copyright", "grouping",
    "lyrics", "description", "synopsis", "show", "episode_id", "network", "keywords", "creation_time", "track",
    "language", "handler_name", "vendor_id", "timecode", "season_number", "episode_sort", "media_type", "hd_video",
    "gapless_playback", "compilation", "disc", "tmpo", "location", "location-eng",
}  # fmt: skip
"""Names that MP4's own tag table holds; others need the `mdta` keys that `use_metadata_tags` writes."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A stream that is left out, and why."""

    index: int
    kind: str
    codec: str
    why: str


@dataclass(frozen=True, slots=True)
class Window:
    """The part of the source's time that is kept, in seconds; `start` becomes zero when the source is trimmed.

    `delay` is added to every time of the output, for containers that have no time before zero.
    """

    start: Fraction | None = None
    end: Fraction | None = None
    delay: Fraction = Fraction(0)

    @property
    def shift(self) -> Fraction:
        """Return what is taken off every timestamp."""
        return (self.start or Fraction(0)) - self.delay

    def holds_some(self, start: Fraction, length: Fraction) -> bool:
        """Tell whether any part of something that starts at `start` and lasts `length` is kept."""
        too_early = self.start is not None and start < self.start and start + length <= self.start
        return not too_early and (self.end is None or start < self.end)


def container_for(path: Path) -> str | None:
    """Return the muxer for an output's suffix, or None for one that is not offered."""
    return CONTAINERS.get(path.suffix.lower())


def refused_by(source: Path, picture_index: int, container_format: str) -> list[Refused]:
    """Return the streams of `source` that a `container_format` file cannot hold, by asking its muxer."""
    with open_source(source) as container:
        return [
            Refused(stream.index, kind_of(stream), codec_of(stream), f"cannot be held by {container_format}")
            for stream in container.streams
            if stream.index != picture_index and not is_made_by_muxer(stream) and not _holds(container_format, stream)
        ]


def without_keyframe(source: Path, picture_index: int, window: Window) -> list[Refused]:
    """Return the other video streams that cannot be played from the window's start on: no keyframe lies inside."""
    if window.start is None:
        return []
    with open_source(source) as container:  # a stream's memory is gone with its container: no stream leaves the block
        pictures = [stream for stream in container.streams.video if not is_cover(stream)]
        others = [(stream.index, codec_of(stream)) for stream in pictures if stream.index != picture_index]
    found = []
    for index, codec in others:
        with open_source(source) as container:
            if next(kept_packets(container, [container.streams[index]], window), None) is None:
                found.append(Refused(index, "video", codec, "has no keyframe in the kept time"))
    return found


def earliest_time(source: Path, left_out: frozenset[int]) -> Fraction:
    """Return the first presentation time of any stream that is kept, at most zero.

    Sound often starts before zero: an encoder's priming samples, which players skip.
    """
    earliest = Fraction(0)
    with open_source(source) as container:
        waiting = {s.index for s in container.streams if s.type in ("video", "audio") and s.index not in left_out}
        for count, packet in enumerate(beating(container.demux([container.streams[index] for index in waiting]))):
            if packet.pts is not None and packet.size:
                earliest = min(earliest, packet.pts * seconds_per_tick(packet))
                waiting.discard(packet.stream_index)
            if not waiting or count > _PACKETS_LOOKED_AT:
                break
    return earliest


def is_made_by_muxer(stream: Stream) -> bool:
    """Tell whether a data stream is one that QuickTime's muxer makes by itself.

    That is the text track behind the chapters (the demuxer has taken its content and discards it) and the timecode
    track (its content is the picture's `timecode` tag, from which the muxer writes it again).
    """
    return isinstance(stream, DataStream) and (stream.discard == Discard.all or "timecode" in stream.metadata)


def _holds(container_format: str, stream: Stream) -> bool:
    if is_attachment_like(stream, container_format):
        return container_format == "matroska"
    if isinstance(stream, AttachmentStream):
        return False
    try:
        with av.open(io.BytesIO(), "w", format=container_format) as trial:
            trial.add_stream_from_template(stream)
            trial.start_encoding()
    except (av.error.FFmpegError, ValueError, OSError):
        return False
    return True


def is_attachment_like(stream: Stream, container_format: str) -> bool:
    """Tell whether a stream becomes an attachment: attachments, and cover art in Matroska."""
    if isinstance(stream, AttachmentStream):
        return container_format == "matroska"
    return is_cover(stream) and container_format in ("matroska", "webm")


def add_track(out: OutputContainer, source: InputContainer, stream: Stream) -> Stream | None:
    """Give the output a stream like `stream`; None where it became an attachment and has no packets."""
    if is_attachment_like(stream, out.format.name):
        _attach(out, source, stream)
        return None
    copy = out.add_stream_from_template(stream)
    copy.metadata.update(track_tags(stream))
    copy.disposition = stream.disposition
    return copy


def track_tags(stream: Stream) -> dict[str, str]:
    """Return a stream's tags as a muxer takes them: QuickTime reads a track's title as `name` and writes `title`."""
    tags = author_tags(stream.metadata)
    if "name" in tags:
        tags.setdefault("title", tags["name"])
    return tags


def _attach(out: OutputContainer, source: InputContainer, stream: Stream) -> None:
    if isinstance(stream, AttachmentStream):
        name, mime, payload = stream.name or "attachment", stream.mimetype or "application/octet-stream", stream.data
    else:
        fallback = _MIMES.get(codec_of(stream), ("cover.bin", "application/octet-stream"))
        name = stream.metadata.get("filename") or fallback[0]
        mime = stream.metadata.get("mimetype") or fallback[1]
        payload = _cover_bytes(source, stream.index)
    attachment = out.add_attachment(name, mime, payload)
    attachment.metadata.update({key: value for key, value in stream.metadata.items() if key not in _OF_THE_MUXER})
    attachment.metadata.update({"filename": name, "mimetype": mime})


def _cover_bytes(source: InputContainer, index: int) -> bytes:
    with open_source(Path(source.name.removeprefix("file:"))) as again:
        for packet in beating(again.demux(again.streams[index])):
            if packet.size:
                return bytes(packet)
    return b""


def copy_facts(source: InputContainer, out: OutputContainer, window: Window) -> None:
    """Carry global metadata and chapters over."""
    out.metadata.update(author_tags(source.metadata))
    chapters = []
    for chapter in source.chapters():
        base = rational(chapter["time_base"]) or _CHAPTER_CLOCK
        start, end = chapter["start"] * base, chapter["end"] * base
        if not window.holds_some(start, end - start):
            continue
        moved = chapter.copy()
        moved["start"] = round((max(start, window.start or start) - window.shift) / base)
        moved["end"] = round((end - window.shift) / base)
        chapters.append(moved)
    if chapters:
        out.set_chapters(chapters)


def needs_metadata_keys(source: InputContainer) -> bool:
    """Tell whether the source has tags that MP4 holds only as `mdta` keys."""
    return bool({key.lower() for key in author_tags(source.metadata)} - _MP4_KEYS)


def author_tags(metadata: dict[str, str]) -> dict[str, str]:
    """Return the tags that are the author's: brands, the writing program and statistics belong to each file."""
    return {
        key: value
        for key, value in metadata.items()
        if key.lower() not in _OF_THE_MUXER and not _STATISTICS.fullmatch(key)
    }


def track_packets(
    source: InputContainer, copies: dict[int, Stream], window: Window
) -> Iterator[tuple[Fraction, Packet[Stream], PacketPlace]]:
    """Yield the packets of the copied streams with the time that orders them and their place, in the file's order."""
    places = dict.fromkeys(copies, 0)
    for packet in kept_packets(source, [source.streams[index] for index in copies], window):
        index = packet.stream_index
        stamp = (packet.dts or 0) * seconds_per_tick(packet)
        packet.stream = copies[index]
        yield stamp, packet, (index, places[index])
        places[index] += 1


def kept_packets(source: InputContainer, streams: list[Stream], window: Window) -> Iterator[Packet[Stream]]:
    """Yield the packets of `streams` that lie in the window, with the times they have in the output.

    A trimmed video track begins on a keyframe, sound with the first packet that starts inside; a subtitle that is on
    the screen when the window opens is shortened. Cover art has no place in time and is always kept.
    """
    playable = {stream.index for stream in streams if stream.type != "video" or window.start is None}
    for packet in _with_decoding_times(beating(source.demux(streams)) if streams else iter(())):
        packet.pts = packet.dts if packet.pts is None else packet.pts
        if is_cover(packet.stream):
            packet.pts = packet.dts = 0
            yield packet
            continue
        if packet.pts is None or packet.dts is None or not _fits_window(packet, window):
            continue
        if packet.is_keyframe:
            playable.add(packet.stream_index)
        if packet.stream_index in playable:
            yield _moved(packet, window)


def _with_decoding_times(packets: Iterator[Packet[Stream]]) -> Iterator[Packet[Stream]]:
    """Yield packets that have data, each with a decoding time.

    Matroska gives none for the first packets of a video with B-frames: these wait for the first that has one and get
    the times before it. Other streams are decoded in the order they are shown.
    """
    waiting: dict[int, list[Packet[Stream]]] = {}
    for packet in packets:
        if packet.size == 0 and packet.dts is None:
            continue
        if packet.dts is None and packet.stream.type == "video" and packet.pts is not None:
            waiting.setdefault(packet.stream_index, []).append(packet)
            continue
        early = waiting.pop(packet.stream_index, [])
        for distance, one in zip(range(len(early), 0, -1), early, strict=True):
            one.dts = (packet.dts or 0) - distance * max(1, packet.duration or 1)
            yield one
        packet.dts = packet.pts if packet.dts is None else packet.dts
        yield packet
    for early in waiting.values():
        for one in early:
            one.dts = one.pts
            yield one


def _fits_window(packet: Packet[Stream], window: Window) -> bool:
    """Tell whether a packet is kept, and clip a subtitle to the window's start."""
    start = (packet.pts or 0) * seconds_per_tick(packet)
    if window.start is None or start >= window.start or packet.stream.type != "subtitle":
        return window.holds_some(start, Fraction(0))
    length = (packet.duration or 0) * seconds_per_tick(packet)
    if start + length <= window.start:
        return False
    first = -int(-window.start // seconds_per_tick(packet))
    packet.duration = max(1, (packet.pts or 0) + (packet.duration or 0) - first)
    packet.pts = packet.dts = first
    return True


def _moved(packet: Packet[Stream], window: Window) -> Packet[Stream]:
    ticks = round(window.shift / seconds_per_tick(packet))
    packet.pts, packet.dts = (packet.pts or 0) - ticks, (packet.dts or 0) - ticks
    return packet
