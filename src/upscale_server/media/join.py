"""Finished segments plus the source's other tracks into one file, without re-encoding a picture.

It trusts the times that the encoder returned, not those in the segment files, and works out decoding times for the
whole video at once, so that neither frame rates nor segment borders leave a trace.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from math import lcm
from operator import itemgetter
from pathlib import Path
from typing import cast

import av
import av.error
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from upscale_server.disk import naming_write_faults
from upscale_server.errors import UnsupportedFormat, UpscaleError
from upscale_server.media.encode import PacketTime
from upscale_server.media.encoders import VideoSpec
from upscale_server.media.pulse import beating
from upscale_server.media.source import open_source
from upscale_server.media.streams import seconds_per_tick
from upscale_server.media.tracks import (
    PacketPlace,
    Window,
    add_track,
    copy_facts,
    is_made_by_muxer,
    needs_metadata_keys,
    track_packets,
    track_tags,
)

_QUICKTIME = ("mp4", "mov")
_MOST_REFUSED = 100
"""Damaged packets of one track that are passed over; a broadcast has a few, more mean that the track does not fit."""
_Timed = tuple[Fraction, "Packet[Stream]", PacketPlace | None]
_Copied = tuple[Fraction, "Packet[Stream]", PacketPlace]
_LARGEST_TIMESCALE = 2**31 - 1


@dataclass(frozen=True, slots=True)
class EncodedSegment:
    """A segment's file and the times of its packets in decoding order."""

    path: Path
    times: tuple[PacketTime, ...]


@dataclass(frozen=True, slots=True)
class Joining:
    """What goes into the output: the source with its picture stream, the streams left out, the kept time."""

    source: Path
    picture_index: int
    left_out: frozenset[int]
    window: Window
    container_format: str
    last_duration: int


def join(
    segments: Sequence[EncodedSegment], spec: VideoSpec, joining: Joining, out_path: Path
) -> frozenset[PacketPlace]:
    """Write the output file.

    Returns:
        The packets of other tracks that the muxer refused because they are damaged; there are few, or it fails.

    Raises:
        DiskFull, StorageError: it cannot be written.
        UnsupportedFormat: the container refuses a stream after all.
    """
    with naming_write_faults(out_path), open_source(joining.source) as source:
        options = {"fflags": "+bitexact"}
        if joining.container_format in _QUICKTIME:
            tags = "+use_metadata_tags" if needs_metadata_keys(source) else ""
            options["movflags"] = "+faststart" + tags
            options["movie_timescale"] = str(_movie_timescale(source, spec))
        with av.open(str(out_path), "w", format=joining.container_format, options=options) as out:
            try:
                return _write(out, segments, spec, joining)
            except (av.error.InvalidDataError, av.error.ArgumentError) as err:
                raise UnsupportedFormat(
                    f"the {joining.container_format} muxer refuses a track of {joining.source}: {err}",
                    hint="an .mkv output holds almost everything",
                ) from err


def _movie_timescale(source: InputContainer, spec: VideoSpec) -> int:
    """Return a clock in which every track's start is exact; QuickTime's edit lists are written in it.

    The muxer's own default, milliseconds, moves a track that starts at 176/44100 s by a millisecond.
    """
    clock = spec.time_base.denominator
    for stream in source.streams:
        common = lcm(clock, seconds_per_tick(stream).denominator)
        clock = common if common <= _LARGEST_TIMESCALE else clock
    return min(clock, _LARGEST_TIMESCALE)


def _write(
    out: OutputContainer, segments: Sequence[EncodedSegment], spec: VideoSpec, joining: Joining
) -> frozenset[PacketPlace]:
    with open_source(joining.source) as source, av.open(str(segments[0].path)) as first:
        copies: dict[int, Stream] = {}
        picture: VideoStream | None = None
        for stream in source.streams:
            if stream.index == joining.picture_index:
                picture = _add_picture(out, first.streams.video[0], spec, stream)
            elif stream.index not in joining.left_out and not is_made_by_muxer(stream):
                copy = add_track(out, source, stream)
                if copy is not None:
                    copies[stream.index] = copy
        if picture is None:
            raise UpscaleError(f"stream {joining.picture_index} is not in {joining.source}")
        copy_facts(source, out, joining.window)
        pictures = _picture_packets(segments, spec.time_base, joining, picture)
        tracks = lasting(track_packets(source, copies, joining.window))
        return _mux_all(out, heapq.merge(pictures, tracks, key=itemgetter(0)))


def lasting(packets: Iterator[_Copied]) -> Iterator[_Copied]:
    """Yield packets, those of sound that have no duration with the time since the one before.

    Matroska's may have none; QuickTime's last one would then end where it begins, and the edit list cut it off.
    """
    before: dict[int, int] = {}
    for stamp, packet, place in packets:
        dts = packet.dts or 0
        if packet.stream.type == "audio" and not packet.duration:
            packet.duration = max(0, dts - before.get(place[0], dts))
        before[place[0]] = dts
        yield stamp, packet, place


def _mux_all(out: OutputContainer, packets: Iterator[_Timed]) -> frozenset[PacketPlace]:
    """Write packets in the order of their times; a damaged one of a copied track is passed over."""
    refused: Counter[int] = Counter()
    places: list[PacketPlace] = []
    for _, packet, place in packets:
        try:
            out.mux(packet)
        except (av.error.InvalidDataError, av.error.ArgumentError, ValueError) as err:
            if place is None:
                raise UpscaleError(f"the {out.format.name} muxer refuses an encoded picture: {err}") from err
            places.append(place)
            refused[place[0]] += 1
            if refused[place[0]] > _MOST_REFUSED:
                raise UnsupportedFormat(
                    f"the {out.format.name} muxer refuses stream {place[0]} of the source: {err}",
                    hint="an .mkv output holds almost everything",
                ) from err
    return frozenset(places)


def _add_picture(out: OutputContainer, encoded: VideoStream, spec: VideoSpec, original: Stream) -> VideoStream:
    # opaque: the template's codec is a decoder (libdav1d); without it an encoder of that name is looked for.
    picture = out.add_stream_from_template(encoded, opaque=True)
    picture.time_base = Fraction(1, spec.time_base.denominator)
    if encoded.codec_context.name == "hevc" and out.format.name in _QUICKTIME:
        picture.codec_context.codec_tag = "hvc1"  # Apple's players open no other tag
    if spec.sample_aspect_ratio:
        picture.codec_context.sample_aspect_ratio = spec.sample_aspect_ratio
    picture.codec_context.framerate = spec.average_rate
    if spec.display_matrix:
        picture.set_display_matrix(spec.display_matrix)
    picture.metadata.update({key: value for key, value in track_tags(original).items() if key != "rotate"})
    picture.disposition = original.disposition
    return picture


def _picture_packets(
    segments: Sequence[EncodedSegment], time_base: Fraction, joining: Joining, stream: VideoStream
) -> Iterator[_Timed]:
    """Yield the encoded packets in decoding order with their true times."""
    times = [time for segment in segments for time in segment.times]
    decoding = decoding_times([time.pts for time in times])
    durations = _durations([time.pts for time in times], joining.last_duration)
    shift = round(joining.window.shift / time_base)
    clock = Fraction(1, time_base.denominator)
    ticks = time_base.numerator
    stamps = iter(zip(times, decoding, strict=True))
    for segment in segments:
        for packet in _packets_of(segment):
            time, dts = next(stamps)
            packet.time_base = clock
            packet.pts = (time.pts - shift) * ticks
            packet.dts = (dts - shift) * ticks
            packet.duration = durations[time.pts] * ticks
            packet.stream = stream
            yield (dts - shift) * time_base, packet, None


def _packets_of(segment: EncodedSegment) -> Iterator[Packet[Stream]]:
    count = 0
    with av.open(str(segment.path)) as container:
        for packet in beating(container.demux(container.streams.video[0])):
            if packet.size:
                count += 1
                yield cast("Packet[Stream]", packet)
    if count != len(segment.times):
        raise UpscaleError(f"{segment.path} holds {count} packets; its marker names {len(segment.times)}")


def decoding_times(pts: Sequence[int]) -> list[int]:
    """Return increasing decoding times, none after its presentation time, for packets in decoding order.

    The sorted presentation times, delayed by as many packets as the deepest reordering: packet k may then use the
    time of rank k - delay, which is never above its own. What comes before the first is extended by the first step.
    """
    if not pts:
        return []
    ordered = sorted(pts)
    rank = {value: place for place, value in enumerate(ordered)}
    delay = max(place - rank[value] for place, value in enumerate(pts))  # the first of all times has 0 or more
    step = ordered[1] - ordered[0] if len(ordered) > 1 else 1
    return [
        ordered[place - delay] if place >= delay else ordered[0] - (delay - place) * step for place in range(len(pts))
    ]


def _durations(pts: Sequence[int], last_duration: int) -> dict[int, int]:
    ordered = sorted(pts)
    steps = {earlier: later - earlier for earlier, later in pairwise(ordered)}
    last = last_duration or (ordered[-1] - ordered[-2] if len(ordered) > 1 else 1)
    return steps | {ordered[-1]: last}
