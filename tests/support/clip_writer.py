"""Writes a `Clip` to a file with PyAV: encodes the pictures and sounds, packs the texts, adds the extras.

It decides nothing about what tests expect. The trap: everything must exist before the first packet is muxed, since
muxers write their header then.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from tests.support.clip_spec import Clip, Picture, Sound, Texts
from tests.support.frames import painted_frame, stamped

ASS_HEADER = (
    "[Script Info]\nScriptType: v4.00+\n\n[V4+ Styles]\n"
    "Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, "
    "Underline, StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, MarginR, "
    "MarginV, Encoding\n"
    "Style: Default,Arial,16,&Hffffff,&Hffffff,&H0,&H0,0,0,0,0,100,100,0,0,1,1,0,2,10,10,10,1\n\n[Events]\n"
    "Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n"
)


def write_clip(clip: Clip, path: Path) -> Path:
    """Write the file and return its path."""
    options = clip.container_options
    with av.open(str(path), "w", format=clip.container or None, options=options) as out:
        out.metadata.update(clip.metadata)
        sources = [_add_picture(out, picture) for picture in clip.pictures]
        sources += [_add_sound(out, sound) for sound in clip.sounds]
        sources += [_add_texts(out, texts) for texts in clip.texts]
        if clip.cover and clip.suffix == ".mkv":
            out.add_attachment("cover.jpg", "image/jpeg", _jpeg())  # Matroska keeps covers as attachments
        elif clip.cover:
            sources.append(_add_cover(out))
        if clip.timed_data:
            sources.append(_add_timed_data(out))
        for attachment in clip.attachments:
            out.add_attachment(attachment.name, attachment.mimetype, attachment.content)
        _set_chapters(out, clip)
        out.start_encoding()
        packets = [packet for source in sources for packet in source]
        for packet in sorted(packets, key=_decode_time):
            out.mux(packet)
    return path


def _decode_time(packet: av.Packet) -> tuple[Fraction, int]:
    return packet.dts * Fraction(packet.time_base), packet.stream.index


def _add_picture(out: av.container.OutputContainer, picture: Picture) -> Iterator[av.Packet]:
    stream = out.add_stream(picture.codec, rate=picture.rate, options=picture.options)
    context = stream.codec_context
    context.width, context.height, context.pix_fmt = picture.width, picture.height, picture.pixel_format
    context.time_base = picture.ticks
    stream.time_base = picture.ticks
    context.thread_count = 1  # the same bytes on every machine
    context.color_primaries, context.color_trc, context.colorspace, context.color_range = picture.colour
    if picture.sample_aspect_ratio:
        context.sample_aspect_ratio = picture.sample_aspect_ratio
    if picture.rotation:
        stream.set_display_rotation(picture.rotation)
    _name(stream, picture.language, picture.title)
    return _encoded(stream, _tagged(picture, _filtered(picture)))


def _filtered(picture: Picture) -> Iterator[av.VideoFrame]:
    frames = _painted(picture)
    if not picture.filter_chain:
        yield from frames
        return
    graph = av.filter.Graph()
    first = graph.add(
        "buffer",
        f"video_size={picture.width}x{picture.height}:pix_fmt={picture.pixel_format}"
        f":time_base={picture.ticks.numerator}/{picture.ticks.denominator}",
    )
    last = first
    for item in picture.filter_chain.split(","):
        name, _, arguments = item.partition("=")
        node = graph.add(name, arguments)
        last.link_to(node)
        last = node
    sink = graph.add("buffersink")
    last.link_to(sink)
    graph.configure()
    for frame in frames:
        graph.push(frame)
        yield graph.pull()


def _painted(picture: Picture) -> Iterator[av.VideoFrame]:
    for position, pts in enumerate(picture.pts):
        index = picture.first_index + position
        frame = painted_frame(index, picture.width, picture.height, picture.pixel_format)
        yield stamped(frame, pts, picture.ticks)


def _tagged(picture: Picture, frames: Iterator[av.VideoFrame]) -> Iterator[av.VideoFrame]:
    """Give each frame the stream's colour: encoders such as libx265 refuse or ignore what differs."""
    primaries, transfer, matrix, colour_range = picture.colour
    for frame in frames:
        frame.color_primaries, frame.color_trc = primaries, transfer
        frame.colorspace, frame.color_range = matrix, colour_range
        yield frame


def _encoded(stream: av.video.stream.VideoStream, frames: Iterator[av.VideoFrame]) -> Iterator[av.Packet]:
    for frame in frames:
        yield from stream.encode(frame)
    yield from stream.encode(None)


def _add_sound(out: av.container.OutputContainer, sound: Sound) -> Iterator[av.Packet]:
    stream = out.add_stream(sound.codec, rate=sound.rate)
    stream.codec_context.layout = "mono"
    _name(stream, sound.language, sound.title)
    if sound.disposition:
        stream.disposition = sound.disposition
    return _spoken(stream, sound)


def _spoken(stream: av.audio.stream.AudioStream, sound: Sound) -> Iterator[av.Packet]:
    time_base = Fraction(1, sound.rate)
    start = round(sound.start_seconds * sound.rate)
    size = stream.codec_context.frame_size or 1024
    for position in range(0, round(sound.seconds * sound.rate), size):
        phase = np.arange(position, position + size) * 2 * math.pi * sound.hertz / sound.rate
        wave = (np.sin(phase) * 8000).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(wave[np.newaxis], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = sound.rate, start + position, time_base
        yield from stream.encode(frame)
    yield from stream.encode(None)


def _add_texts(out: av.container.OutputContainer, texts: Texts) -> Iterator[av.Packet]:
    if texts.codec == "mov_text":
        stream = out.add_mux_stream("mov_text")
        packets = _mov_texts(stream, texts)
    else:
        source = av.open(io.BytesIO(_document(texts).encode()), format={"subrip": "srt"}.get(texts.codec, texts.codec))
        stream = out.add_stream_from_template(source.streams[0])
        packets = _moved(source, stream)
    _name(stream, texts.language, texts.title)
    if texts.disposition:
        stream.disposition = texts.disposition
    return packets


def _document(texts: Texts) -> str:
    if texts.codec == "ass":
        events = [f"Dialogue: 0,{_clock(a, 2)},{_clock(b, 2)},Default,,0,0,0,,{{\\b1}}{t}" for a, b, t in texts.lines]
        return ASS_HEADER + "\n".join(events) + "\n"
    if texts.codec == "webvtt":
        return "WEBVTT\n\n" + "\n".join(f"{_clock(a, 3)} --> {_clock(b, 3)}\n{t}\n" for a, b, t in texts.lines)
    return "\n".join(
        f"{n}\n{_clock(a, 3)} --> {_clock(b, 3)}\n{t}\n".replace(".", ",", 2)
        for n, (a, b, t) in enumerate(texts.lines, 1)
    )


def _clock(seconds: float, digits: int) -> str:
    whole = int(seconds)
    fraction = round((seconds - whole) * 10**digits)
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}.{fraction:0{digits}}"


def _moved(source: av.container.InputContainer, stream: av.stream.Stream) -> Iterator[av.Packet]:
    for packet in source.demux():
        if packet.size:
            packet.stream = stream
            yield packet


def _mov_texts(stream: av.stream.Stream, texts: Texts) -> Iterator[av.Packet]:
    for start, end, text in texts.lines:
        body = text.encode()
        packet = av.Packet(len(body).to_bytes(2, "big") + body)
        packet.stream, packet.time_base = stream, Fraction(1, 1000)
        packet.pts = packet.dts = round(start * 1000)
        packet.duration = round((end - start) * 1000)
        yield packet


def _add_cover(out: av.container.OutputContainer) -> Iterator[av.Packet]:
    stream = out.add_stream("mjpeg", rate=1)
    context = stream.codec_context
    context.width, context.height, context.pix_fmt = 48, 32, "yuvj420p"
    stream.disposition = av.stream.Disposition.attached_pic
    stream.metadata["title"] = "cover"
    return _encoded(stream, iter([stamped(painted_frame(7, 48, 32, "yuvj420p"), 0, Fraction(1))]))


def _jpeg() -> bytes:
    encoder = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = 48, 32, "yuvj420p", Fraction(1)
    packets = encoder.encode(stamped(painted_frame(7, 48, 32, "yuvj420p"), 0, Fraction(1))) + encoder.encode(None)
    return bytes(packets[0])


def _add_timed_data(out: av.container.OutputContainer) -> Iterator[av.Packet]:
    stream = out.add_data_stream("bin_data")
    return _facts(stream)


def _facts(stream: av.stream.Stream) -> Iterator[av.Packet]:
    for number in range(3):
        packet = av.Packet(f"fact {number}".encode())
        packet.stream, packet.time_base = stream, Fraction(1, 1000)
        packet.pts = packet.dts = number * 300
        packet.duration = 300
        yield packet


def _set_chapters(out: av.container.OutputContainer, clip: Clip) -> None:
    if clip.chapters:
        out.set_chapters(
            [
                {
                    "id": number,
                    "start": round(chapter.start * 1000),
                    "end": round(chapter.end * 1000),
                    "time_base": Fraction(1, 1000),
                    "metadata": {"title": chapter.title},
                }
                for number, chapter in enumerate(clip.chapters, 1)
            ]
        )


def _name(stream: av.stream.Stream, language: str, title: str) -> None:
    if language:
        stream.metadata["language"] = language
    if title:
        stream.metadata["title"] = title
