"""What a person should know about a source before choosing anything: each trait a code and a plain sentence.

It words what a probe found and decides nothing; what a plan leaves out or converts is told by the plan.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from upscale_server.media.look import Looked
from upscale_server.media.types import Size, VideoInfo
from upscale_server.whole import LEAST_PART

Level = Literal["info", "warning"]

HDR_TRANSFERS = {16: "PQ", 18: "HLG"}
_LATE_SECONDS = 0.1
"""Sound and picture of ordinary files begin some hundredths of a second apart; nobody sees that."""
_LARGE = Size(3840, 2160)
_HUGE = Size(7680, 4320)

_SAID: dict[str, tuple[Level, str, str]] = {
    "deinterlaced": (
        "info", "interlaced", "This is interlaced video, as old TV is: its half pictures become whole frames first."
    ),
    "alpha_dropped": ("warning", "transparency", "Transparent parts cannot be kept; they become solid."),
    "rgb_converted": ("info", "rgb", "The colours are stored as RGB; the result stores them as video does."),
    "dynamic_hdr_dropped": (
        "warning", "dynamic_hdr", "Dolby Vision or HDR10+ data cannot be kept; the HDR picture below them is."
    ),
    "closed_captions_dropped": ("warning", "closed_captions", "Closed captions inside the picture cannot be kept."),
    "timestamps_incomplete": (
        "info", "missing_times", "Some frames carry no time of their own, so the video is worked on in one piece."
    ),
}  # fmt: skip
"""What the probe warns of, in a plan's words, and how it is said here."""


@dataclass(frozen=True, slots=True)
class Trait:
    """One thing worth knowing."""

    code: str
    level: Level
    text: str


def traits_of(looked: Looked) -> tuple[Trait, ...]:
    """Return what is unusual about a source: what may go wrong first, then what is merely good to know."""
    found = [*_of_time(looked), *_of_picture(looked.info), *_of_tracks(looked.info)]
    return tuple(sorted(found, key=lambda trait: trait.level != "warning"))


def hdr_name(info: VideoInfo) -> str | None:
    """Return which HDR a video is: HDR10, HLG or PQ; None for a usual one."""
    name = HDR_TRANSFERS.get(info.colour.transfer)
    if name == "PQ" and (info.hdr.mastering_display or info.hdr.content_light):
        return "HDR10"
    return name


def _of_time(looked: Looked) -> Iterator[Trait]:
    info = looked.info
    if info.part_there < LEAST_PART:
        yield Trait(
            "damaged", "warning",
            f"The file breaks off: about {max(0.0, info.part_there):.0%} of the video is there. "
            "A job needs your leave to work on a part.",
        )  # fmt: skip
    if info.variable_rate:
        yield Trait(
            "variable_rate",
            "info",
            "The frame rate varies; every frame keeps its own time, so sound stays in step.",
        )
    if looked.hidden_frames:
        yield Trait(
            "edit_list", "info",
            f"It was trimmed without being rewritten: {_counted(looked.hidden_frames, 'hidden frame')} that players "
            "do not show will not be in the result either.",
        )  # fmt: skip
    if looked.late_seconds > _LATE_SECONDS:
        yield Trait(
            "late_start", "info",
            f"The picture begins {looked.late_seconds:.2f} s after the file does; the result begins just as late.",
        )  # fmt: skip
    if not info.timed:
        yield Trait(
            "no_times", "warning",
            f"This is a bare stream without times; it is played at {float(info.average_rate):.5g} frames a second.",
        )  # fmt: skip


def _of_picture(info: VideoInfo) -> Iterator[Trait]:
    for code, _ in info.warnings:
        if code in _SAID:
            level, named, text = _SAID[code]
            yield Trait(named, level, text)
    if info.may_interlace and not info.interlaced:
        yield Trait("may_interlace", "info", "Parts of it may be interlaced; such frames are made whole as they come.")
    yield from _of_depth(info)
    aspect = info.sample_aspect_ratio
    if aspect is not None and aspect != 1:
        ratio = f"{aspect.numerator}:{aspect.denominator}"
        text = f"Its pixels are not square ({ratio}); the result is shown in the same shape."
        yield Trait("non_square", "info", text)
    if info.rotation:
        yield Trait("rotation", "info", "It was filmed turned and is turned by the player; the result is, too.")
    if _fills(info.size, _HUGE):
        yield Trait("already_large", "warning", f"It is {info.size} already, as large as 8K; little can be gained.")
    elif _fills(info.size, _LARGE):
        yield Trait("already_large", "info", f"It is {info.size} already, as large as 4K; going on takes long.")


def _of_depth(info: VideoInfo) -> Iterator[Trait]:
    name = hdr_name(info)
    if name is not None:
        yield Trait("hdr", "info", f"This is HDR video ({name}). HEVC keeps it; H.264 cannot.")
    if any(code == "bit_depth_reduced" for code, _ in info.warnings):
        yield Trait("deep_colour", "warning", "It has more than 10 bits a colour; the result has 10.")
    elif info.bits == 10 and name is None:
        yield Trait("ten_bit", "info", "It has 10 bits a colour, for finer shades. HEVC and AV1 keep them.")


def _of_tracks(info: VideoInfo) -> Iterator[Trait]:
    kinds = [stream.kind for stream in info.streams if not stream.attached_picture]
    if "audio" not in kinds:
        yield Trait("no_audio", "info", "There is no sound in it.")
    if "video" in kinds:
        yield Trait("several_videos", "info", "It has more than one video track; the largest is enlarged.")
    if any(stream.attached_picture for stream in info.streams):
        yield Trait("cover_art", "info", "It carries a cover picture, which is not enlarged.")


def _fills(size: Size, box: Size) -> bool:
    """Tell whether a picture, lying or standing, reaches a side of a box: films are wider than their box."""
    long, short = max(size.width, size.height), min(size.width, size.height)
    return long >= box.width or short >= box.height


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
