"""How a finished file's picture stream looks from outside: what another program's probe and seeking will meet.

Packets and headers are read, no picture is decoded; what ought to be there is judged elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from av.packet import Packet
from av.video.stream import VideoStream

from upscale_server.media.probe import main_video
from upscale_server.media.pulse import beating
from upscale_server.media.source import open_source
from upscale_server.media.streams import codec_of, rational, seconds_per_tick
from upscale_server.media.types import Colour, Size


@dataclass(frozen=True, slots=True)
class StreamFacts:
    """A picture stream and its place in the file.

    `pixel_format` is the decoder's own name: `yuvj420p` is full range. `times` are those of the packets, in the order
    of the file; `keyframes` are the places in it of those that decoding can start from. `other_pictures` counts
    further video streams, covers among them.
    """

    container: str
    codec: str
    profile: str
    pixel_format: str
    size: Size
    sample_aspect_ratio: Fraction | None
    colour: Colour
    holds_back: bool
    times: tuple[Fraction, ...]
    keyframes: tuple[int, ...]
    other_pictures: int

    @property
    def rate(self) -> Fraction:
        """Return pictures a second by their times; containers' own figures differ where the rate varies."""
        span = max(self.times, default=Fraction(0)) - min(self.times, default=Fraction(0))
        return (len(self.times) - 1) / span if span > 0 else Fraction(0)

    @property
    def longest_gop(self) -> int:
        """Return the most frames from a keyframe, or from the beginning, to before the next."""
        starts = sorted({0, *self.keyframes})
        ends = [*starts[1:], len(self.times)]
        return max((end - start for start, end in zip(starts, ends, strict=True)), default=0)

    @property
    def reordered(self) -> bool:
        """Tell whether a picture is stored before one that is shown earlier, as B-frames need it."""
        return self.holds_back or list(self.times) != sorted(self.times)


def stream_facts(path: Path) -> StreamFacts:
    """Read the facts of a file's main picture stream.

    Raises:
        SourceError and its kinds: the file cannot be read or has no picture.
    """
    with open_source(path) as container:
        stream = main_video(container, path)
        context = stream.codec_context
        times, keyframes = _times(stream, (packet for packet in beating(container.demux(stream)) if packet.size))
        return StreamFacts(
            container=container.format.name,
            codec=codec_of(stream),
            profile=context.profile or "",
            pixel_format=context.pix_fmt or "",
            size=Size(context.width, context.height),
            sample_aspect_ratio=rational(stream.sample_aspect_ratio),
            colour=Colour(
                int(context.color_primaries), int(context.color_trc), int(context.colorspace), int(context.color_range)
            ),
            holds_back=bool(context.has_b_frames),
            times=times,
            keyframes=keyframes,
            other_pictures=len(container.streams.video) - 1,
        )


def _times(stream: VideoStream, packets: Iterable[Packet[VideoStream]]) -> tuple[tuple[Fraction, ...], tuple[int, ...]]:
    clock = seconds_per_tick(stream)
    times: list[Fraction] = []
    keyframes: list[int] = []
    for packet in packets:
        if packet.is_keyframe:
            keyframes.append(len(times))
        stamp = packet.dts if packet.pts is None else packet.pts
        times.append((stamp or 0) * clock)
    return tuple(times), tuple(keyframes)
