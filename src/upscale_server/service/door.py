"""What can be refused from the request alone: an output that would be too large whatever the source is.

The source's own size is the plan's to judge.
"""

from __future__ import annotations

from upscale_server.errors import TooManyPixels
from upscale_server.geometry import target_of
from upscale_server.jobs.job import Asked
from upscale_server.settings import Limits


def check_target(asked: Asked, limits: Limits) -> None:
    """Refuse a box that no source can be fitted into within the limits.

    Raises:
        TooManyPixels: with the limit and its setting.
    """
    target = target_of(asked.task, asked.to, asked.scale, asked.fit)
    box = target.box
    if box is None:
        return
    # A picture that is fitted in reaches one side of its box, who knows which; bars fill the other one, too.
    side = max(box.width, box.height) if target.fit == "exact" else min(box.width, box.height)
    if side > limits.max_output_side:
        raise TooManyPixels(
            f"output is to fill {box}; the longest side allowed is {limits.max_output_side}, "
            "see UPSCALE_LIMITS__MAX_OUTPUT_SIDE"
        )
    if target.fit == "exact" and box.pixels > 4 * limits.max_pixels:
        raise TooManyPixels(
            f"output is to be {box} ({box.pixels / 1e6:.1f} MP); the limit is {4 * limits.max_pixels / 1e6:.1f} MP, "
            "see UPSCALE_LIMITS__MAX_PIXELS"
        )
