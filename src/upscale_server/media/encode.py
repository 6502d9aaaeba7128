"""Frames into one finished segment file, plus the table of times that the container is not trusted with.

It opens one encoder per segment, closed at the end; joining segments and other tracks belong to `join`.
The file holds the packets in decoding order with counted timestamps; the true presentation times are returned,
exact in the source's time base, because containers round (Matroska), shift (edit lists) or wrap (MPEG-TS) them.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self, cast

import av
import av.error
import numpy as np
from av.packet import Packet
from av.video.stream import VideoStream

from upscale_server.disk import naming_write_faults
from upscale_server.errors import UpscaleError
from upscale_server.media.encoders import EncoderSettings, VideoSpec, open_encoder
from upscale_server.media.flush import last_packets
from upscale_server.media.formats import bits_of, subsampling_of
from upscale_server.media.streams import samples_of
from upscale_server.media.types import LIMITED, Colour, Frame, Plane, Size

_DEPTH = {8: "", 10: "10le"}


@dataclass(frozen=True, slots=True)
class PacketTime:
    """One packet of a segment in decoding order: its presentation time in the source's time base."""

    pts: int
    is_keyframe: bool


class SegmentWriter:
    """Encode frames into a file at `path`; a context manager whose `times` are complete after `finish`.

    `packet_bytes` are those of all packets, `lead_bytes` of the first: the keyframe that every segment begins with.
    """

    def __init__(self, path: Path, settings: EncoderSettings, spec: VideoSpec) -> None:
        self._settings = settings
        self._spec = spec
        self._clock = Fraction(1, spec.time_base.denominator)
        self._ticks = spec.time_base.numerator
        self.times: list[PacketTime] = []
        self.lead_bytes = self.packet_bytes = 0
        # Bit-exact: a Matroska header otherwise holds random identifiers and no two runs give the same bytes.
        with naming_write_faults(path):
            self._file = av.open(str(path), "w", format="matroska", options={"fflags": "+bitexact"})
            self._stream = open_encoder(self._file, settings, spec, self._clock)

    def write(self, frame: Frame) -> None:
        """Encode one frame of the spec's size, converted to the settings' pixel format; times must increase."""
        picture = _picture(frame, self._spec.size, self._settings.pixel_format, self._spec.colour)
        picture.pts = frame.pts * self._ticks
        picture.time_base = self._clock
        self._mux(self._stream.encode(picture))

    def finish(self) -> list[PacketTime]:
        """Encode what is still inside the encoder, close the file and return its table of times.

        Raises:
            EncoderStuck: the encoder will never end; the segment must be done again.
        """
        self._mux(last_packets(self._stream))
        with naming_write_faults(Path(self._file.name)):
            self._file.close()
        return self.times

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._file.close()
        except (av.error.FFmpegError, OSError):
            if error is None:
                raise

    def _mux(self, packets: list[Packet[VideoStream]]) -> None:
        for packet in packets:
            if packet.pts is None or packet.pts % self._ticks:
                raise UpscaleError(f"{self._settings.codec} gave a packet with pts {packet.pts}")
            place = len(self.times)
            self.lead_bytes = self.lead_bytes or packet.size
            self.packet_bytes += packet.size
            self.times.append(PacketTime(packet.pts // self._ticks, bool(packet.is_keyframe)))
            packet.time_base = Fraction(1, 1000)
            packet.pts = packet.dts = place
            packet.duration = 1
            with naming_write_faults(Path(self._file.name)):
                self._file.mux(packet)


def _picture(frame: Frame, size: Size, pixel_format: str, colour: Colour) -> av.VideoFrame:
    """Copy a frame's planes into a picture of the encoder's format.

    Between gray and colour, planes are added or left out here, and where swscale converts it is told that the range
    stays: it takes gray for full range and would compress the luma a second time.
    """
    across, down = subsampling_of(pixel_format)
    bits = bits_of(frame.pixel_format)
    planes, of_planes = frame.planes, frame.pixel_format
    if not across:
        planes, of_planes = planes[:1], "gray" + _DEPTH[bits]
    elif len(planes) == 1:
        neutral = np.full((-(-size.height // down), -(-size.width // across)), 1 << (bits - 1), planes[0].dtype)
        of_planes = pixel_format.removesuffix("10le") + _DEPTH[bits]
        planes = (planes[0], cast("Plane", neutral), cast("Plane", neutral))
    picture = av.VideoFrame(size.width, size.height, of_planes)
    for plane, samples in zip(picture.planes, planes, strict=True):
        samples_of(plane, bits)[:] = samples
    if of_planes == pixel_format:
        return picture
    same = colour.range or LIMITED
    return picture.reformat(format=pixel_format, src_color_range=same, dst_color_range=same)
