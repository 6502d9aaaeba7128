"""A few seconds of a video through several models beside the source as it is, so that people choose with their eyes.

It makes files and numbers; showing them belongs to `cli` and `web`, and where segments run is the studio's business.
"""

from upscale_server.preview.making import make_preview
from upscale_server.preview.side import named
from upscale_server.preview.studio import LocalStudio, Studio
from upscale_server.preview.values import (
    BEFORE,
    Asked,
    Candidate,
    Crop,
    Preview,
    Ranking,
    SelfTest,
    Shown,
)

__all__ = [
    "BEFORE",
    "Asked",
    "Candidate",
    "Crop",
    "LocalStudio",
    "Preview",
    "Ranking",
    "SelfTest",
    "Shown",
    "Studio",
    "make_preview",
    "named",
]
