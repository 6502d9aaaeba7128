"""What a corpus file is to a test, and the few words in which the corpus is written.

The files themselves are listed in `clips`; writing them is the business of `clip_writer` and `bent_clips`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from tests.support.clip_spec import Chapter, Clip, Picture, Sound
from tests.support.clip_writer import write_clip
from tests.support.oracle import Promise

NTSC = Fraction(30000, 1001)
FILM = Fraction(24000, 1001)
MILLISECONDS = Fraction(1, 1000)
NINETY_KHZ = Fraction(1, 90000)
UNEVEN_TIMES = (0, 33, 67, 100, 450, 455, 460, 900, 901, 933, 1500, 1540, 2300, 2340, 2380, 2381, 3000, 3100)
"""Milliseconds with a 1 ms gap, long pauses and bursts: nothing that a frame rate could reproduce."""

MASTERING = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"
MASTERING_DECIMALS = "G(0.265,0.69)B(0.15,0.06)R(0.68,0.32)WP(0.3127,0.329)L(1000,0.005)"
LIGHT = "1000,400"
SILENT_X265 = "log-level=none:"
B_FRAMES = {"bf": "3", "g": "12", "x264-params": "b-adapt=0"}
LEFT_OUT = frozenset({"stream_left_out"})
FIRST_CHAPTERS = (Chapter(0.0, 0.4, "opening"), Chapter(0.4, 0.96, "the end, with ünïcödé"))
FEATURE_SOUNDS = (
    Sound(language="eng", title="stereo mix", disposition=1),
    Sound(language="fra", hertz=880),
    Sound(codec="ac3", rate=48000, language="deu", title="commentary", disposition=8),
)


@dataclass(frozen=True, slots=True)
class Case:
    """A corpus file and what a faithful run over it looks like.

    `out_suffix` is the container asked for (empty: the source's own). `dropped` are kinds of tracks that this target
    cannot hold, `warnings` the codes that the report must name. `deinterlaced` marks pictures whose lines are rebuilt,
    `delayed` allows one common shift of everything. `options` are further ones of the command line.
    """

    write: Callable[[Path], Path]
    suffix: str
    out_suffix: str = ""
    options: tuple[str, ...] = ()
    dropped: frozenset[str] = frozenset()
    warnings: frozenset[str] = frozenset()
    deinterlaced: bool = False
    delayed: bool = False

    @property
    def target_suffix(self) -> str:
        """Return the suffix of the output asked for."""
        return self.out_suffix or self.suffix

    @property
    def promise(self) -> Promise:
        """Return what the oracle lets differ."""
        return Promise(dropped=self.dropped, deinterlaced=self.deinterlaced, delayed=self.delayed)


def case(clip: Clip, **facts: object) -> Case:
    """Return the case of a clip that the writer makes."""
    return Case(write=lambda path: write_clip(clip, path), suffix=clip.suffix, **facts)  # type: ignore[arg-type]


def of(picture: Picture, suffix: str = ".mp4", **facts: object) -> Case:
    """Return the case of a clip that is one picture alone."""
    return case(Clip(suffix=suffix, pictures=(picture,)), **facts)


def bent(write: Callable[[Path], Path], suffix: str, **facts: object) -> Case:
    """Return the case of a file with a writer of its own."""
    return Case(write=write, suffix=suffix, **facts)  # type: ignore[arg-type]


def x265(colour: tuple[int, int, int, int], pixel_format: str, parameters: str = "") -> Picture:
    """Return a quick HEVC picture; `parameters` are further x265 ones, each with a colon before it."""
    return Picture(
        codec="libx265",
        pixel_format=pixel_format,
        colour=colour,
        options={"x265-params": SILENT_X265 + "pools=none:frame-threads=1" + parameters, "preset": "ultrafast"},
    )
