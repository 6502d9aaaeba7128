"""The model of one pass of a plan, loaded as the plan says.

Models that a user names are found and held by `models.at_hand`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from upscale_server.models.base import Upscaler
    from upscale_server.plan import Pass, Plan


def load_pass(plan: Plan, one: Pass, engines: str = "") -> Upscaler:
    """Load the model of a plan's pass, with what is built for its size in the folder `engines`; the caller closes it.

    Raises:
        ModelMissing, ModelInvalid: its file is gone, damaged or fails its self-test.
    """
    from upscale_server.models.base import EngineOptions
    from upscale_server.models.load import load_with
    from upscale_server.models.select import precision_named

    size = (one.size_in.height, one.size_in.width)
    precision = precision_named(plan.precision if one.card.path else "auto")
    return load_with(one.card, plan.engine, EngineOptions(precision, plan.lanes, frame_size=size, engines=engines))
