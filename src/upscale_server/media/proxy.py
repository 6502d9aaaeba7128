"""A small H.264 copy of a segment that any browser plays, made from the upscaled frames while they pass.

It writes one fragmented MP4 and one picture; where they lie, and that they may be missing, is `proxies`' business.

The copy is for looking, and cheap: 8 bits whatever the source has, square samples, upright, one thread. Its file is
what Media Source Extensions take (https://www.w3.org/TR/mse-byte-stream-format-isobmff/): `moov` before all fragments,
each fragment's offsets its own, times from 0 in the source's own ticks.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from av.packet import Packet
from av.video.reformatter import Interpolation, VideoReformatter
from av.video.stream import VideoStream
from PIL import Image

from upscale_server.errors import UpscaleError
from upscale_server.media.colour import to_rgb
from upscale_server.media.encoders import VideoSpec
from upscale_server.media.formats import bits_of
from upscale_server.media.streams import samples_of
from upscale_server.media.types import FULL, Frame, Plane, Size

LONGEST_SIDE = 640
PICTURE_SIDE = 320
MOST_BITS_PER_SECOND = 1_000_000
"""Bound on a copy's rate, a few seconds taken together; 640x360 of ordinary footage needs half of it."""
_KEYFRAME_SECONDS = 2
"""Between two keyframes: how much a player decodes to show a place in the middle."""
_PLANE_FORMATS = {8: "gray", 10: "gray10le"}
# Averages the samples that a small one covers. Of 4K it takes 1.8 ms, `BILINEAR` 3.1 and `FAST_BILINEAR` 0.4, which
# reads two samples in six and makes fine lines crawl.
_SHRINKING = Interpolation.AREA
_ENCODER = {
    "preset": "ultrafast",
    "tune": "zerolatency",  # a packet for each frame at once: nothing of ours waits in memory
    "crf": "28",
    "maxrate": str(MOST_BITS_PER_SECOND),
    "bufsize": str(2 * MOST_BITS_PER_SECOND),
}
# A first picture after 0 keeps its time: without the last two options FFmpeg moves everything forward to 0.
_CONTAINER = {
    "movflags": "empty_moov+default_base_moof+frag_keyframe+skip_trailer+frag_discont",
    "avoid_negative_ts": "disabled",
    "fflags": "+bitexact",
}


@dataclass(frozen=True, slots=True)
class Ticks:
    """Where a segment starts and ends in ticks of the source; None where its frames alone tell."""

    start: int | None = None
    end: int | None = None


def proxy_size(spec: VideoSpec) -> Size:
    """Return the size of a copy as it is shown: square samples, upright, even, never enlarged."""
    coded = _coded_size(spec)
    return Size(coded.height, coded.width) if _turning(spec.display_matrix).transposed else coded


def mime_of(path: Path) -> str:
    """Return the type of a written copy as `MediaSource.isTypeSupported` takes it.

    Raises:
        UpscaleError: the file has no H.264 configuration at its beginning.
    """
    with path.open("rb") as file:
        head = file.read(4096)
    place = head.find(b"avcC")
    if place < 0 or len(head) < place + 8:
        raise UpscaleError(f"{path.name} has no avcC box; it is no copy of ours")
    return f'video/mp4; codecs="avc1.{head[place + 5 : place + 8].hex().upper()}"'  # ISO/IEC 14496-15, 5.3.3


class ProxyWriter:
    """Write a segment's copy to `path` and its picture to `picture`; whoever makes it closes it."""

    def __init__(self, path: Path, picture: Path, spec: VideoSpec, ticks: Ticks) -> None:
        self._picture_path = picture
        self._spec = spec
        self._ticks = ticks
        self._coded = _coded_size(spec)
        self._turning = _turning(spec.display_matrix)
        self._shrinkers = [VideoReformatter() for _ in range(3)]
        self._first: int | None = None
        self._last = 0
        self._waiting: Packet[VideoStream] | None = None
        self._picture: tuple[Plane, ...] = ()
        self._has_middle = False
        self._file = av.open(str(path), "w", format="mp4", options=_CONTAINER)
        self._stream = self._opened()

    def write(self, frame: Frame) -> None:
        """Add a frame of the spec's size; times must increase."""
        if self._first is None:
            start = frame.pts if self._ticks.start is None else self._ticks.start
            self._first = min(start, frame.pts)
        self._last = frame.pts
        planes = self._small(frame)
        self._keep_picture(planes, frame.pts)
        picture = av.VideoFrame(planes[0].shape[1], planes[0].shape[0], "yuv420p")
        for plane, samples in zip(picture.planes, planes, strict=True):
            samples_of(plane, 8)[:] = samples
        picture.pts = (frame.pts - self._first) * self._spec.time_base.numerator
        picture.time_base = Fraction(1, self._spec.time_base.denominator)
        self._mux(self._stream.encode(picture))

    def finish(self, last_duration: int) -> bool:
        """Close the copy and write its picture, or tell that there was no frame, and so no file.

        Args:
            last_duration: ticks for which the last frame is shown where the segment's end is not known.
        """
        if self._first is None:
            return False
        self._mux(self._stream.encode(None))
        end = self._last + last_duration if self._ticks.end is None else self._ticks.end
        self._mux_until((end - self._first) * self._spec.time_base.numerator)
        self._file.close()
        image = Image.fromarray(to_rgb(self._picture, "yuv420p", self._spec.colour))
        image.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
        image.save(self._picture_path, "JPEG", quality=80)
        return True

    def close(self) -> None:
        """Let go of the file; safe to call twice.

        Raises:
            OSError, av.error.FFmpegError: what is still to be written cannot be.
        """
        self._file.close()

    # ------------------------------------------------------------------------------------------------ inside

    def _opened(self) -> VideoStream:
        spec = self._spec
        stream = self._file.add_stream("libx264", rate=spec.average_rate, options=_ENCODER)
        assert isinstance(stream, VideoStream)  # noqa: S101 - x264 is a video encoder
        shown = proxy_size(spec)
        context = stream.codec_context
        context.width, context.height, context.pix_fmt = shown.width, shown.height, "yuv420p"
        context.time_base = Fraction(1, spec.time_base.denominator)
        context.thread_count = 1  # beside a network and an encoder that have all cores already
        context.gop_size = max(1, round(_KEYFRAME_SECONDS * spec.average_rate))
        context.color_primaries, context.color_trc = spec.colour.primaries, spec.colour.transfer
        context.colorspace, context.color_range = spec.colour.matrix, spec.colour.range
        context.open()
        return stream

    def _small(self, frame: Frame) -> tuple[Plane, Plane, Plane]:
        """Return the planes of a frame as 8-bit 4:2:0 of the copy's size, upright."""
        chroma = Size(self._coded.width // 2, self._coded.height // 2)
        bits = bits_of(frame.pixel_format)
        planes = [
            self._turning.of(_shrunk(plane, size, bits, shrinker))
            for plane, size, shrinker in zip(
                frame.planes, (self._coded, chroma, chroma), self._shrinkers, strict=False
            )  # gray has one plane
        ]
        while len(planes) < 3:
            neutral = np.full((planes[0].shape[0] // 2, planes[0].shape[1] // 2), 128, np.uint8)
            planes.append(cast("Plane", neutral))
        return planes[0], planes[1], planes[2]

    def _keep_picture(self, planes: tuple[Plane, ...], pts: int) -> None:
        """Keep the first frame of the segment's second half, or the first one where its end is not known."""
        if self._has_middle:
            return
        start, end = self._first or 0, self._ticks.end
        self._has_middle = end is None or 2 * pts >= start + end
        if self._has_middle or not self._picture:
            self._picture = planes

    def _mux(self, packets: list[Packet[VideoStream]]) -> None:
        """Write each packet when the next one tells how long it lasts."""
        for packet in packets:
            if packet.pts is None:
                raise UpscaleError("x264 gave a packet without a time")
            if self._waiting is not None:
                self._mux_until(packet.pts)
            self._waiting = packet

    def _mux_until(self, pts: int) -> None:
        packet = cast("Packet[VideoStream]", self._waiting)
        packet.duration = max(1, pts - cast("int", packet.pts))
        self._waiting = None
        self._file.mux(packet)


@dataclass(frozen=True, slots=True)
class _Turning:
    """How the stored picture becomes the one that is shown."""

    transposed: bool = False
    mirrored: bool = False
    upended: bool = False

    def of(self, plane: Plane) -> Plane:
        """Return a plane as it is shown."""
        turned: Any = plane.T if self.transposed else plane  # a view of either kind
        return cast("Plane", turned[:: -1 if self.upended else 1, :: -1 if self.mirrored else 1])


def _turning(matrix: tuple[int, ...]) -> _Turning:
    """Return the quarter turns and mirrorings of a display matrix; one of another angle is shown as stored.

    Source: ISO/IEC 14496-12, 6.2.2: x' = a x + c y, y' = b x + d y, in the order a b u c d v x y w.
    """
    if len(matrix) < 5:
        return _Turning()
    a, b, c, d = matrix[0], matrix[1], matrix[3], matrix[4]
    if not (b or c):
        return _Turning(mirrored=a < 0, upended=d < 0)
    if not (a or d):
        return _Turning(transposed=True, mirrored=c < 0, upended=b < 0)
    return _Turning()


def _coded_size(spec: VideoSpec) -> Size:
    """Return the size of a copy before it is turned upright."""
    width = spec.size.width * (spec.sample_aspect_ratio or Fraction(1))
    height = Fraction(spec.size.height)
    factor = min(Fraction(1), LONGEST_SIDE / max(width, height))
    return Size(_even(width * factor), _even(height * factor))


def _even(side: Fraction) -> int:
    return max(2, 2 * round(side / 2))


def _shrunk(plane: Plane, size: Size, bits: int, shrinker: VideoReformatter) -> Plane:
    """Return a plane in 8 bits and another size; swscale takes both sides for full range, so that none is moved."""
    frame = av.VideoFrame.from_numpy_buffer(cast("Any", np.ascontiguousarray(plane)), format=_PLANE_FORMATS[bits])
    small = shrinker.reformat(
        frame, size.width, size.height, "gray", interpolation=_SHRINKING, threads=1,
        src_color_range=FULL, dst_color_range=FULL,
    )  # fmt: skip
    return samples_of(small.planes[0], 8)
