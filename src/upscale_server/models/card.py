"""A model as a value with facts, so that a plan can be made before any weights are loaded.

It holds what is known about weights, not the weights; reading files belongs to `catalogue`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Domain = Literal["luma", "rgb"]
Layout = Literal["NCHW", "NHWC"]


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What a super-resolution model is and needs.

    `receptive_field` is the radius in LR pixels that can influence an output pixel: tiles overlap by at least that.
    `value_range` is what white (255 of 8 bits) is in the model's own input: 1.0 or 255.0.
    `tiling` is empty where cutting a picture does no harm, else it says why it is discouraged.
    `path` is empty for models without weights (`lanczos`, `bicubic`).
    `generative` is a model that invents detail: its result need not look like its input, averaged down.
    """

    name: str
    scale: int
    domain: Domain
    path: str = ""
    sha256: str = ""
    value_range: float = 1.0
    layout: Layout = "NCHW"
    receptive_field: int = 16
    size_multiple: int = 1
    fixed_size: tuple[int, int] | None = None
    context_frames: int = 0
    precisions: tuple[str, ...] = ("f32",)
    architecture: str = ""
    tiling: str = ""
    parameters: int = 0
    macs_per_pixel: int = 0
    for_sources: str = "any"
    summary: str = ""
    limits: str = ""
    trained_on: tuple[str, ...] = ()
    trained_minutes: float = 0.0
    measured: str = ""
    licence: str = "unknown"
    trained_device: str = ""
    byte_count: int = 0
    generative: bool = False
