"""What is too large or too long to be worked on, whatever is wished for.

It compares what a probe found with the limits; what may be known before a source is there is refused by who is asked.
"""

from __future__ import annotations

from upscale_server.errors import SourceTooLarge, TooManyPixels
from upscale_server.media.types import Size, VideoInfo
from upscale_server.settings import Settings
from upscale_server.wish import Limits


def limits_of(settings: Settings) -> Limits:
    """Return the settings' limits as the plan takes them."""
    given = settings.limits
    return Limits(given.max_source_side, given.max_pixels, given.max_output_side, given.max_seconds, given.max_frames)


def check_job(info: VideoInfo, output: Size, limits: Limits) -> None:
    """Refuse a source that is too long, and pictures that are too large.

    Raises:
        TooManyPixels, SourceTooLarge: with the limit and its setting.
    """
    check_length(info, limits)
    sides = ("source", info.size, limits.max_source_side), ("output", output, limits.max_output_side)
    for what, size, longest in sides:
        if max(size.width, size.height) > longest:
            name = f"MAX_{what.upper()}_SIDE"
            raise TooManyPixels(f"{what} is {size}; the longest side allowed is {longest}, see UPSCALE_LIMITS__{name}")
        if size.pixels > limits.max_pixels * (1 if what == "source" else 4):
            raise TooManyPixels(
                f"{what} is {size} ({size.pixels / 1e6:.1f} MP); the limit is {limits.max_pixels / 1e6:.1f} MP for a "
                "source and four times that for an output, see UPSCALE_LIMITS__MAX_PIXELS"
            )


def check_length(info: VideoInfo, limits: Limits) -> None:
    """Refuse a source that lasts too long or has too many frames, by its time table and not by its header.

    Raises:
        SourceTooLarge: with the limit and its setting.
    """
    # A bare stream without times is played at its rate.
    seconds = info.duration_seconds if info.timed else float(info.frame_count / info.average_rate)
    if 0 < limits.max_seconds < seconds:
        raise SourceTooLarge(
            f"source lasts {seconds:.1f} s; the limit is {limits.max_seconds:g} s, see UPSCALE_LIMITS__MAX_SECONDS"
        )
    if 0 < limits.max_frames < info.frame_count:
        raise SourceTooLarge(
            f"source has {info.frame_count} frames; the limit is {limits.max_frames}, see UPSCALE_LIMITS__MAX_FRAMES"
        )
