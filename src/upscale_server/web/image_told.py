"""What the image server's processes tell their parent: small words, so that the parent loads no library for them.

Who sends and who hears stands in `image_child` and `image_parent`.
"""

from __future__ import annotations

from dataclasses import dataclass

from upscale_server.errors import UpscaleError


@dataclass(frozen=True, slots=True)
class Told:
    """What runs in a process when its models are loaded, or why they could not be."""

    model: str = ""
    engine: str = ""
    device: str = ""
    fault: UpscaleError | None = None
