"""Damages a good output in exactly one way, so that a check can be seen to catch it.

The picture is encoded again at high quality with the fault in it and all else is copied; `copy_of` plants nothing and
is the control: a check must accept it, or it would reject the faults for the wrong reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av

from tests.support.inspect_media import main_stream

Frames = list[av.VideoFrame]


@dataclass(frozen=True, slots=True)
class Change:
    """What differs in the damaged copy; the default changes nothing."""

    frames: Callable[[Frames], Frames] = list
    colour: tuple[int, int, int, int] | None = None
    sample_aspect_ratio: Fraction | None = None
    lost_kinds: frozenset[str] = frozenset()
    metadata: dict[str, str] = field(default_factory=dict)
    keep_chapters: bool = True
    keep_languages: bool = True
    keep_rotation: bool = True


def copy_of(good: Path, path: Path, change: Change | None = None) -> Path:
    """Write `good` again with one change."""
    change = change or Change()
    with av.open(str(good)) as source, av.open(str(path), "w") as out:
        main = main_stream(source)
        frames = change.frames([_detached(frame) for frame in _decoded(good, main.index)])
        streams = {s.index: _added(out, s, main, change) for s in source.streams if s.type not in change.lost_kinds}
        out.metadata.update({k: v for k, v in source.metadata.items() if k != "encoder"} | change.metadata)
        if change.keep_chapters and source.chapters():
            out.set_chapters(source.chapters())
        packets = list(_picture_packets(streams[main.index], frames))
        for packet in source.demux():
            if packet.size and packet.stream.index != main.index and packet.stream.index in streams:
                packet.stream = streams[packet.stream.index]
                packets.append(packet)
        for packet in sorted(packets, key=_decode_time):
            out.mux(packet)
    return path


def _decode_time(packet: av.Packet) -> Fraction:
    if packet.dts is None:  # covers have no time at all
        packet.dts = packet.pts = packet.pts or 0
    return packet.dts * Fraction(packet.time_base)


def without_frame(number: int) -> Callable[[Frames], Frames]:
    """Drop one frame and leave its time empty."""
    return lambda frames: frames[:number] + frames[number + 1 :]


def with_frame_moved(number: int, share: Fraction = Fraction(1, 3)) -> Callable[[Frames], Frames]:
    """Show one frame later by a share of the gap that follows it."""

    def change(frames: Frames) -> Frames:
        gap = frames[number + 1].pts - frames[number].pts
        frames[number].pts += max(int(gap * share), 1)
        return frames

    return change


def with_frames_swapped(first: int, second: int) -> Callable[[Frames], Frames]:
    """Exchange two pictures; the times stay."""

    def change(frames: Frames) -> Frames:
        a, b = frames[first], frames[second]
        a.pts, b.pts = b.pts, a.pts
        frames[first], frames[second] = b, a
        return frames

    return change


def with_frame_repeated(number: int) -> Callable[[Frames], Frames]:
    """Show the picture before instead of one frame; the count and the times stay."""

    def change(frames: Frames) -> Frames:
        twin = frames[number - 1].reformat(format=frames[number].format.name)
        copy = av.VideoFrame.from_ndarray(twin.to_ndarray(), format=twin.format.name)
        copy.pts, copy.time_base = frames[number].pts, frames[number].time_base
        return [*frames[:number], copy, *frames[number + 1 :]]

    return change


def _decoded(path: Path, index: int) -> Iterator[av.VideoFrame]:
    with av.open(str(path)) as file:
        yield from file.decode(file.streams[index])


def _detached(frame: av.VideoFrame) -> av.VideoFrame:
    frame.pict_type = av.video.frame.PictureType.NONE  # else the encoder repeats the old picture types
    return frame


def _added(
    out: av.container.OutputContainer, stream: av.stream.Stream, main: av.video.stream.VideoStream, change: Change
) -> av.stream.Stream:
    if stream.index == main.index:
        added = _added_picture(out, main, change)
    elif stream.type == "attachment":
        name = stream.metadata.get("filename", "file")
        return out.add_attachment(name, stream.mimetype or "", stream.data)
    elif stream.type == "data":
        added = out.add_data_stream("bin_data")
    else:
        added = out.add_stream_from_template(stream, opaque=True)
    kept = {"title", "handler_name"} | ({"language"} if change.keep_languages else set())
    added.metadata.update({k: v for k, v in stream.metadata.items() if k in kept})
    if "name" in stream.metadata:  # what MP4 reads a written `title` back as
        added.metadata["title"] = stream.metadata["name"]
    added.disposition = stream.disposition
    return added


def _added_picture(
    out: av.container.OutputContainer, main: av.video.stream.VideoStream, change: Change
) -> av.video.stream.VideoStream:
    before = main.codec_context
    stream = out.add_stream("libx264", rate=main.average_rate, options={"crf": "8", "preset": "veryfast", "bf": "0"})
    context = stream.codec_context
    context.width, context.height, context.pix_fmt = before.width, before.height, before.pix_fmt
    context.time_base = stream.time_base = main.time_base
    context.color_primaries, context.color_trc = before.color_primaries, before.color_trc
    context.colorspace, context.color_range = before.colorspace, before.color_range
    if change.colour:
        (context.color_primaries, context.color_trc, context.colorspace, context.color_range) = change.colour
    ratio = change.sample_aspect_ratio or main.sample_aspect_ratio
    if ratio:
        context.sample_aspect_ratio = ratio
    rotation = next(_decoded(Path(main.container.name), main.index)).rotation
    if rotation and change.keep_rotation:
        stream.set_display_rotation(rotation)
    return stream


def _picture_packets(stream: av.video.stream.VideoStream, frames: Frames) -> Iterator[av.Packet]:
    context = stream.codec_context
    for frame in frames:
        frame.color_primaries, frame.color_trc = context.color_primaries, context.color_trc
        frame.colorspace, frame.color_range = context.colorspace, context.color_range
        yield from stream.encode(frame)
    yield from stream.encode(None)
