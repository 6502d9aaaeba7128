"""The values that describe media: sizes, colour, frames and what a probe found.

Nothing here opens a file; a number's origin is in its name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from upscale_server.errors import BadRequest

Plane = NDArray[np.uint8] | NDArray[np.uint16]
"""`(H, W)` samples; uint8 for 8 bits, else uint16 holding 0 to 2**bits - 1."""

LIMITED, FULL = 1, 2
"""Colour ranges as FFmpeg numbers them; 0 is unspecified and taken for limited."""

UNSPECIFIED = 2
"""The code point that H.273 gives to `unspecified` for primaries, transfer and matrix."""


@dataclass(frozen=True, slots=True)
class Size:
    """Width and height in samples."""

    width: int
    height: int

    @classmethod
    def parse(cls, text: str) -> Size:
        """Read `3840x2160`.

        Raises:
            BadRequest: the text is not WIDTHxHEIGHT with positive numbers.
        """
        match = re.fullmatch(r"(\d{1,6})\s*[xX×]\s*(\d{1,6})", text.strip())
        if match is None or int(match[1]) == 0 or int(match[2]) == 0:
            raise BadRequest(f"size is {text!r}; expected WIDTHxHEIGHT, for example 1920x1080")
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"

    @property
    def pixels(self) -> int:
        """Return the number of samples of a full plane."""
        return self.width * self.height

    def times(self, factor: int) -> Size:
        """Return the size with both sides multiplied."""
        return Size(self.width * factor, self.height * factor)


@dataclass(frozen=True, slots=True)
class Colour:
    """Code points of ITU-T H.273 as the stream has them; 2 is unspecified, range 0 unspecified, 1 limited, 2 full.

    `chroma_location` is one of left, center, topleft, top, bottomleft, bottom, or empty when the stream does not say.
    """

    primaries: int = UNSPECIFIED
    transfer: int = UNSPECIFIED
    matrix: int = UNSPECIFIED
    range: int = 0
    chroma_location: str = ""


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture and its time.

    `planes` are (Y, U, V) in the native subsampling of `pixel_format`, or (Y,) for gray.
    """

    planes: tuple[Plane, ...]
    pixel_format: str
    pts: int
    time_base: Fraction


@dataclass(frozen=True, slots=True)
class Hdr:
    """Static HDR metadata (SMPTE ST 2086 and CTA-861.3), as FFmpeg's `-master-display` and `max-cll` texts.

    Empty texts mean that the stream carries none.
    """

    mastering_display: str = ""
    content_light: str = ""


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """A stream of the source besides the picture: what it is and what it is called."""

    index: int
    kind: str
    codec: str
    language: str = ""
    title: str = ""
    attached_picture: bool = False


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of the source: the frames with `start_pts <= pts < end_pts`; None means open.

    Decoding starts at `decode_from_pts`, a keyframe at or before the start, or at the beginning when it is None.
    """

    index: int
    start_pts: int | None
    end_pts: int | None
    decode_from_pts: int | None

    def holds(self, pts: int) -> bool:
        """Tell whether a frame with this time belongs to the segment."""
        return (self.start_pts is None or pts >= self.start_pts) and (self.end_pts is None or pts < self.end_pts)


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What a probe found in a file; what only the header claims is named so.

    `pixel_format` is the planar YUV format that frames are delivered in, `pixel_format_of_source` the stream's own.
    `interlaced` is what the header or the first frames say; `may_interlace` that later frames could be.
    `timed` is false when no packet has a time (elementary streams).
    `display_matrix` is FFmpeg's nine integers, empty when there is none. `part_there` is how much the file has of what
    its header declares, 1 where that is nothing.
    """

    path: str
    container: str
    stream_index: int
    codec: str
    size: Size
    pixel_format: str
    pixel_format_of_source: str
    bits: int
    time_base: Fraction
    average_rate: Fraction
    sample_aspect_ratio: Fraction | None
    rotation: int
    display_matrix: tuple[int, ...]
    colour: Colour
    hdr: Hdr
    interlaced: bool
    may_interlace: bool
    variable_rate: bool
    timed: bool
    frame_count: int
    frame_count_from_header: int
    duration_seconds: float
    byte_count: int
    modified_ns: int
    bit_rate: int
    chapter_count: int
    streams: tuple[StreamInfo, ...] = ()
    metadata: dict[str, str] = field(default_factory=dict)
    warnings: tuple[tuple[str, str], ...] = ()
    part_there: float = 1.0


@dataclass(slots=True)
class Tally:
    """What decoding met on the way; filled while the frames are drawn."""

    frames: int = 0
    packets_failed: int = 0
    frames_damaged: int = 0
    frames_deinterlaced: int = 0
    times_repaired: int = 0
