"""Everything an observer can know about a media file, read packet by packet and frame by frame.

It is written apart from the product's probe and audit on purpose: a fault in those must not hide here. It judges
nothing; `oracle` does.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.sidedata.sidedata import Type

from tests.support.barcode import Plane, UnreadableBarcode, read
from tests.support.frames import is_rgb, planes_of
from tests.support.payloads import bare_payload

GRID = (36, 64)
SILENT_TAGS = frozenset(
    {
        "encoder",
        "duration",
        "number_of_frames",
        "number_of_bytes",
        "bps",
        "vendor_id",
        "language",
        "creation_time",
        "major_brand",
        "minor_version",
        "compatible_brands",
        "title",
        "name",
    }
)


@dataclass(frozen=True, slots=True)
class Shown:
    """A decoded picture: when, which number it carries (None when unreadable), and its samples."""

    time: Fraction | None
    number: int | None
    planes: tuple[Plane, ...]
    bits: int


@dataclass(frozen=True, slots=True)
class Track:
    """A stream that is not the main picture, with what its packets hold."""

    index: int
    kind: str
    codec: str
    language: str
    title: str
    disposition: int
    times: tuple[Fraction, ...]
    digests: tuple[str, ...]
    tick: Fraction
    mimetype: str = ""


@dataclass(frozen=True, slots=True)
class Looks:
    """The properties of the main picture that must survive."""

    codec: str
    size: tuple[int, int]
    pixel_format: str
    rgb: bool
    bits: int
    chroma: tuple[int, int] | None
    colour: tuple[int, int, int, int]
    sample_aspect_ratio: Fraction
    display_matrix: tuple[int, ...]
    mastering: tuple[float, ...]
    light: tuple[int, ...]
    interlaced: bool
    tick: Fraction
    language: str
    title: str
    disposition: int


@dataclass(frozen=True, slots=True)
class Contents:
    """A whole file: its main picture, its other tracks and what the container says."""

    container: str
    looks: Looks
    shown: tuple[Shown, ...]
    tracks: tuple[Track, ...]
    chapters: tuple[tuple[Fraction, Fraction, str], ...]
    metadata: dict[str, str]
    decode_errors: int


def contents_of(path: Path, *, coarse: bool = False) -> Contents:
    """Read the file once for packets and once for pictures; `coarse` keeps only means of each picture on a grid."""
    with av.open(str(path)) as file:
        main = main_stream(file)
        index, rate, container = main.index, Fraction(main.average_rate or 0), file.format.name
        chapters = _chapters(file)
        metadata = {
            key.lower(): value for key, value in file.metadata.items() if key.lower() not in SILENT_TAGS - {"title"}
        }
        tracks = _tracks(file, index)
    looks, shown, errors = _pictures(path, index, _on_grid if coarse else _shown)
    shown = _in_display_order(_counted(shown, rate, always=container == "avi"))
    return Contents(container, looks, shown, tracks, chapters, metadata, errors)


def main_stream(file: av.container.InputContainer) -> av.video.stream.VideoStream:
    """Return the largest video stream that is no attached picture; the first of equals."""
    attached = av.stream.Disposition.attached_pic
    videos = [stream for stream in file.streams.video if not stream.disposition & attached]
    return max(videos, key=lambda stream: (stream.width * stream.height, -stream.index))


def _chapters(file: av.container.InputContainer) -> tuple[tuple[Fraction, Fraction, str], ...]:
    return tuple(
        (entry["start"] * Fraction(entry["time_base"]), entry["end"] * Fraction(entry["time_base"]), _title(entry))
        for entry in file.chapters()
    )


def _title(chapter: dict[str, Any]) -> str:
    return str(chapter["metadata"].get("title", ""))


def _tracks(file: av.container.InputContainer, main_index: int) -> tuple[Track, ...]:
    times: dict[int, list[Fraction]] = {stream.index: [] for stream in file.streams}
    digests: dict[int, list[str]] = {stream.index: [] for stream in file.streams}
    for packet in file.demux():
        content = bytes(packet)
        if packet.stream.index == main_index or not content.strip(b"\0"):
            continue  # MP4 fills the pauses between subtitles with two zero bytes
        stamp = packet.pts if packet.pts is not None else packet.dts
        times[packet.stream.index].append((stamp or 0) * Fraction(packet.time_base))
        digests[packet.stream.index].append(hashlib.sha256(bare_payload(_codec(packet.stream), content)).hexdigest())
    return tuple(
        _track(stream, tuple(times[stream.index]), tuple(digests[stream.index]))
        for stream in file.streams
        if stream.index != main_index and not _is_chapter_text(stream)
    )


def _is_chapter_text(stream: av.stream.Stream) -> bool:
    """MP4 and MOV keep chapter titles in a text track; the demuxer marks it as not to be read."""
    return stream.type == "data" and stream.discard == av.stream.Discard.all


def _track(stream: av.stream.Stream, times: tuple[Fraction, ...], digests: tuple[str, ...]) -> Track:
    mimetype = ""
    tags = stream.metadata
    if stream.type == "attachment":
        digests, mimetype = (hashlib.sha256(stream.data).hexdigest(),), stream.mimetype or ""
    return Track(
        index=stream.index,
        kind="attachment" if stream.type == "attachment" else stream.type,
        codec=_codec(stream),
        language=stream.metadata.get("language", "und"),
        title=tags.get("title", tags.get("name", tags.get("filename", "") if stream.type == "attachment" else "")),
        disposition=int(stream.disposition),
        times=times,
        digests=digests,
        tick=Fraction(stream.time_base or Fraction(1, 1000)),
        mimetype=mimetype,
    )


def _codec(stream: av.stream.Stream) -> str:
    return stream.codec_context.codec.canonical_name if stream.codec_context is not None else ""


def _pictures(path: Path, index: int, keep: Callable[[av.VideoFrame], Shown]) -> tuple[Looks, tuple[Shown, ...], int]:
    shown: list[Shown] = []
    looks: Looks | None = None
    errors = 0
    with av.open(str(path)) as file:
        stream = file.streams[index]
        for packet in file.demux(stream):
            try:
                frames = packet.decode()
            except av.InvalidDataError:
                errors += 1
                continue
            for frame in frames:
                looks = looks or _looks(stream, frame)
                shown.append(keep(frame))
    if looks is None:
        raise AssertionError(f"{path.name} shows no picture")
    return looks, tuple(shown), errors


def _counted(shown: tuple[Shown, ...], rate: Fraction, *, always: bool) -> tuple[Shown, ...]:
    """Give the pictures of a stream without times (an elementary one, or any in AVI) those of its nominal rate.

    AVI knows no presentation times, only places: picture n belongs to tick n. What FFmpeg shows there in streams with
    B-frames are decoding times plus a delay.
    """
    if not rate or not (always or all(picture.time is None for picture in shown)):
        return shown
    return tuple(replace(picture, time=place / rate) for place, picture in enumerate(shown))


def _in_display_order(shown: tuple[Shown, ...]) -> tuple[Shown, ...]:
    """Give pictures whose times jump back (packed B-frames) the same times in order: decoders show in order."""
    times = [picture.time for picture in shown if picture.time is not None]
    if len(times) < len(shown) or times == sorted(times):
        return shown
    return tuple(replace(picture, time=time) for picture, time in zip(shown, sorted(times), strict=True))


def _shown(frame: av.VideoFrame) -> Shown:
    planes, bits = planes_of(frame)
    try:
        number: int | None = read(planes[0], bits)
    except UnreadableBarcode:
        number = None
    time = None if frame.pts is None else frame.pts * Fraction(frame.time_base)
    return Shown(time, number, planes, bits)


def _on_grid(frame: av.VideoFrame) -> Shown:
    whole = _shown(frame)
    return replace(whole, planes=tuple(_means(plane) for plane in whole.planes))


def _means(plane: Plane) -> Plane:
    """Return means over a fixed grid, so that pictures of any size compare and minutes of them fit in memory."""
    rows, columns = (np.arange(cells) * side // cells for side, cells in zip(plane.shape, GRID, strict=True))
    sums = np.add.reduceat(np.add.reduceat(plane.astype(np.float32), rows, axis=0), columns, axis=1)
    areas = np.add.reduceat(np.add.reduceat(np.ones(plane.shape, np.float32), rows, axis=0), columns, axis=1)
    return (sums / areas).astype(np.float32)


def _looks(stream: av.video.stream.VideoStream, frame: av.VideoFrame) -> Looks:
    components = frame.format.components
    chroma = None
    if len(components) >= 3:
        chroma = (-(-frame.width // components[1].width), -(-frame.height // components[1].height))  # planes round up
    return Looks(
        codec=stream.codec_context.codec.canonical_name,
        size=(frame.width, frame.height),
        pixel_format=frame.format.name,
        rgb=is_rgb(frame),
        bits=components[0].bits,
        chroma=chroma,
        colour=(int(frame.color_primaries), int(frame.color_trc), int(frame.colorspace), int(frame.color_range)),
        sample_aspect_ratio=Fraction(stream.sample_aspect_ratio or 1),
        display_matrix=_display_matrix(frame),
        mastering=_mastering(frame),
        light=_light(frame),
        interlaced=bool(frame.interlaced_frame),
        tick=Fraction(stream.time_base),
        language=stream.metadata.get("language", "und"),
        title=stream.metadata.get("title", ""),
        disposition=int(stream.disposition),
    )


def _side_data(frame: av.VideoFrame, name: str) -> bytes:
    entry = frame.side_data.get(Type[name])
    return bytes(entry) if entry is not None else b""


def _display_matrix(frame: av.VideoFrame) -> tuple[int, ...]:
    content = _side_data(frame, "DISPLAYMATRIX")
    return struct.unpack("9i", content) if content else ()


def _mastering(frame: av.VideoFrame) -> tuple[float, ...]:
    """Return three primaries, white point, darkest and brightest luminance (AVMasteringDisplayMetadata)."""
    content = _side_data(frame, "MASTERING_DISPLAY_METADATA")
    if not content:
        return ()
    numbers = struct.unpack("22i", content[:88])
    return tuple(numbers[i] / numbers[i + 1] if numbers[i + 1] else 0.0 for i in range(0, 20, 2))


def _light(frame: av.VideoFrame) -> tuple[int, ...]:
    """Return MaxCLL and MaxFALL in cd/m² (AVContentLightMetadata)."""
    content = _side_data(frame, "CONTENT_LIGHT_LEVEL")
    return struct.unpack("2I", content[:8]) if content else ()
