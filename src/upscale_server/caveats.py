"""What the user should know about an output before any work: what is left out, rounded, delayed or converted.

It tells of decisions and makes none.
"""

from __future__ import annotations

from fractions import Fraction

from upscale_server.geometry import LEFTOVER, Fitted
from upscale_server.keeping import NO_NEGATIVE_TIME
from upscale_server.media.tracks import Refused, Window
from upscale_server.media.types import FULL, Size, VideoInfo
from upscale_server.models.catalogue import BICUBIC
from upscale_server.profiles import Profile, profile_named
from upscale_server.wish import Wish


def caveats_of(
    info: VideoInfo, wish: Wish, fitted: Fitted, reached: Size, kept: tuple[Window, tuple[Refused, ...]]
) -> tuple[tuple[str, str], ...]:
    """Return a plan's warnings, each a code and a sentence.

    Args:
        info: the source.
        wish: what was asked for.
        fitted: the sizes of picture and canvas.
        reached: what the networks make of the source.
        kept: the time that is kept, and the tracks that are not.
    """
    window, refused = kept
    return (
        *info.warnings,
        *_left_out(refused, wish),
        *_size_warnings(info, fitted, fitted.picture if wish.model == BICUBIC else reached),
        *_time_warnings(info, window, wish),
        *_profile_warnings(info, profile_named(wish.profile)),
    )


def _left_out(refused: tuple[Refused, ...], wish: Wish) -> list[tuple[str, str]]:
    other = "" if wish.container == "matroska" or not refused else "; .mkv may hold it"
    return [("stream_left_out", f"{one.kind} stream {one.index} ({one.codec}) {one.why}{other}") for one in refused]


def _size_warnings(info: VideoInfo, fitted: Fitted, reached: Size) -> list[tuple[str, str]]:
    found = []
    leftover = fitted.picture.width / reached.width
    if leftover > LEFTOVER:
        found.append(("lanczos_finish", f"the network reaches {reached}; Lanczos enlarges the rest by {leftover:.2f}"))
    aspect = Fraction(fitted.picture.width * info.size.height, fitted.picture.height * info.size.width)
    if abs(aspect - 1) > Fraction(1, 200):
        found.append(("aspect_rounded", f"even sides change the aspect ratio by {abs(float(aspect) - 1):.1%}"))
    return found


def _profile_warnings(info: VideoInfo, profile: Profile) -> list[tuple[str, str]]:
    found = []
    if profile.limited_range and info.colour.range == FULL:
        found.append(("range_converted", f"full-range samples become limited range, as {profile.name} takes them"))
    if profile.pixel_format not in (None, info.pixel_format):
        found.append(("format_converted", f"{info.pixel_format} becomes {profile.pixel_format} for {profile.name}"))
    return found


def _time_warnings(info: VideoInfo, window: Window, wish: Wish) -> list[tuple[str, str]]:
    found = []
    if wish.container in NO_NEGATIVE_TIME and 1000 % info.time_base.denominator:
        found.append(("times_rounded", "Matroska counts milliseconds; frame times are rounded to the nearest"))
    if window.delay:
        late = f"{float(window.delay):.3f} s"
        found.append(("times_delayed", f"{wish.container} shows no time before zero; everything starts {late} later"))
    return found
