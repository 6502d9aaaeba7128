"""Where a source is opened, for planning and for its frames: in this process, unless another way is given.

A server gives one that opens it in a cage. What is found does not depend on that; what it means is `plan`'s.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from upscale_server.decoding import choose_decoder
from upscale_server.keeping import kept_of
from upscale_server.media.decode import decode_segment
from upscale_server.media.probe import Probed, probe_with_index
from upscale_server.media.tracks import Refused, Window
from upscale_server.media.types import Frame, Segment, Tally, VideoInfo
from upscale_server.models.luma import FrameUpscaler
from upscale_server.wish import Wish

Kept = tuple[Window, tuple[Refused, ...]]
"""The time that is kept, and the tracks that the container cannot hold."""

Decoder = tuple[str, tuple[tuple[str, str], ...]]
"""The device that decodes, and a warning where it is not the one asked for."""


class Decode(Protocol):
    """`media.decode.decode_segment`, here or in a cage."""

    def __call__(
        self, info: VideoInfo, segment: Segment, tally: Tally, *, threads: int, device: str
    ) -> Generator[Frame, None, None]:
        """Yield the frames of a segment; `tally` is filled by the time they end."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What a segment is done with: who enlarges its frames, and where its bytes are opened."""

    upscale: FrameUpscaler
    decode: Decode = decode_segment


class Opener(Protocol):
    """The three looks into a source that a plan needs."""

    def probe(self, source: Path, most_pixels: int) -> Probed:
        """Return as `media.probe.probe_with_index`."""

    def kept(self, probed: Probed, wish: Wish) -> Kept:
        """Return as `keeping.kept_of`."""

    def decoder(self, info: VideoInfo, asked: str) -> Decoder:
        """Return as `decoding.choose_decoder`."""


@dataclass(frozen=True, slots=True)
class Here:
    """Opens the source in this process."""

    def probe(self, source: Path, most_pixels: int) -> Probed:
        """Return the file's facts and time table."""
        return probe_with_index(source, most_pixels)

    def kept(self, probed: Probed, wish: Wish) -> Kept:
        """Return what is kept of its time and tracks."""
        return kept_of(probed, wish)

    def decoder(self, info: VideoInfo, asked: str) -> Decoder:
        """Return the device that really decodes it."""
        return choose_decoder(info, asked)


HERE = Here()
