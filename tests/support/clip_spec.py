"""What a generated media file is made of: pictures, sounds, texts, extras, as values.

Nothing here writes a file; `clip_writer` does, and `clips` lists the files that tests use.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

UNTAGGED = (2, 2, 2, 0)
BT601 = (6, 6, 6, 1)
BT601_PAL = (5, 5, 5, 1)
BT709 = (1, 1, 1, 1)
BT709_FULL = (1, 1, 1, 2)
BT2020 = (9, 14, 9, 1)
BT2020_PQ = (9, 16, 9, 1)
BT2020_HLG = (9, 18, 9, 1)
"""Primaries, transfer, matrix (H.273 code points) and range (1 limited, 2 full)."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One coded video stream.

    `times` are PTS in `time_base`; empty means 0, 1, 2, … in `1/rate`. `first_index` is the number the first
    picture carries. `filter_chain` runs between painting and encoding (to weave fields, for example).
    """

    codec: str = "libx264"
    pixel_format: str = "yuv420p"
    width: int = 96
    height: int = 64
    frame_count: int = 24
    rate: Fraction = Fraction(25)
    time_base: Fraction | None = None
    times: tuple[int, ...] = ()
    first_index: int = 0
    colour: tuple[int, int, int, int] = UNTAGGED
    sample_aspect_ratio: Fraction | None = None
    rotation: int = 0
    options: dict[str, str] = field(default_factory=dict)
    filter_chain: str = ""
    language: str = ""
    title: str = ""

    @property
    def ticks(self) -> Fraction:
        """Return the time base of the frames."""
        return self.time_base or 1 / self.rate

    @property
    def pts(self) -> tuple[int, ...]:
        """Return the PTS of each frame in `ticks`."""
        return self.times or tuple(range(self.frame_count))


@dataclass(frozen=True, slots=True)
class Sound:
    """One audio stream: a tone of `hertz` from `start_seconds` for `seconds`."""

    codec: str = "aac"
    rate: int = 16000
    hertz: int = 440
    seconds: float = 1.0
    start_seconds: Fraction = Fraction(0)
    language: str = ""
    title: str = ""
    disposition: int = 0


@dataclass(frozen=True, slots=True)
class Texts:
    """One subtitle stream; `lines` are (start, end, text) in seconds."""

    codec: str = "subrip"
    lines: tuple[tuple[float, float, str], ...] = ((0.1, 0.4, "first line"), (0.5, 0.8, "second line, ünïcödé"))
    language: str = "eng"
    title: str = ""
    disposition: int = 0


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file inside the file."""

    name: str = "font.ttf"
    mimetype: str = "application/x-truetype-font"
    content: bytes = b"\x00\x01\x00\x00" + bytes(range(256))


@dataclass(frozen=True, slots=True)
class Chapter:
    """A named stretch of time, in seconds."""

    start: float
    end: float
    title: str


@dataclass(frozen=True, slots=True)
class Clip:
    """One file: its streams in order, its container and what the container itself carries."""

    suffix: str = ".mp4"
    pictures: tuple[Picture, ...] = (Picture(),)
    sounds: tuple[Sound, ...] = ()
    texts: tuple[Texts, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    chapters: tuple[Chapter, ...] = ()
    cover: bool = False
    timed_data: bool = False
    metadata: dict[str, str] = field(default_factory=dict)
    container_options: dict[str, str] = field(default_factory=dict)
    container: str = ""
