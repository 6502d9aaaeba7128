"""How many frames an output must have at least, where half a file is not to pass for a video.

It counts what a probe found; telling who asked is `pipeline`'s and the plan's.
"""

from __future__ import annotations

import math

from upscale_server.errors import SourceTruncated
from upscale_server.media.probe import Probed
from upscale_server.wish import Wish

LEAST_PART = 0.98
"""Of the frames declared: headers of most containers are estimates, and a lost packet at the end is no half file."""
HINT = "send the whole file; a job of /v1/jobs may ask for what is there with allow_partial"


def least_frames(probed: Probed, wish: Wish, frame_count: int) -> int:
    """Return how many of the frames that are there must decode; 0 where any number will do.

    Raises:
        SourceTruncated: the file ends so early that even all of them are too few.
    """
    if wish.allow_partial:
        return 0
    part = probed.info.part_there
    if part < LEAST_PART:
        said = [detail for code, detail in probed.info.warnings if code == "source_truncated"]
        raise SourceTruncated(said[0] if said else f"{part:.0%} of the source is there", hint=HINT)
    # Packets are no frames where their times cannot be trusted: two fields, or a frame packed behind another.
    return math.ceil(LEAST_PART * frame_count) if probed.index.reliable else 0


def check_enough(frame_count: int, least: int) -> None:
    """Refuse to make a video of too few frames.

    Raises:
        SourceTruncated: with both numbers.
    """
    if frame_count < least:
        raise SourceTruncated(
            f"{frame_count} frames of the source decode; {least} are needed for {LEAST_PART:.0%} of it", hint=HINT
        )
