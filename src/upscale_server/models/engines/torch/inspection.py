"""Find out what an unknown checkpoint is: by its architecture, and by trying it on small pictures.

Everything a card holds about shapes, reach and precisions comes from here; what the card beside the file says wins.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from upscale_server.errors import ModelInvalid
from upscale_server.models.card import ModelCard
from upscale_server.models.engines.torch.architectures import Descriptor, described, tiling_advice
from upscale_server.models.engines.torch.checkpoint import weights_of
from upscale_server.models.engines.torch.costs import enlarged, macs_per_pixel
from upscale_server.models.engines.torch.devices import faults_are_named
from upscale_server.models.engines.torch.network import CheckpointNetwork, Copy
from upscale_server.models.engines.torch.reach import FARTHEST, reach_of
from upscale_server.models.trial import SCALES, Picture, judge, textured_picture

_RANGE = 1.0
"""spandrel's networks take and give 0 to 1, whatever they were trained with."""

_SIDES = (24, 48)
"""A picture whose structure is still seen; a network of 16 million multiplications a pixel takes a second for it."""


def inspect(card: ModelCard, given: frozenset[str] = frozenset()) -> ModelCard:
    """Return the card of a checkpoint with what its architecture says and trying shows.

    Args:
        card: at least `path`; `scale` is ignored.
        given: names of the card's fields that are not to be found out but believed.

    Raises:
        ModelMissing: there is no such file.
        ModelInvalid: it is no super-resolution model, and why.
    """
    descriptor = described(weights_of(card.path), card.path)
    facts = _facts(descriptor)
    copy = CheckpointNetwork(descriptor).copy_to(torch.device("cpu"), "f32")
    with faults_are_named():
        _try(copy, card.path, facts)
        channels, multiple = descriptor.input_channels, descriptor.size_requirements.multiple_of
        facts["macs_per_pixel"] = macs_per_pixel(copy, channels, multiple)
        if "receptive_field" not in given:
            facts["receptive_field"] = reach_of(copy, channels, multiple)
            facts["tiling"] = facts["tiling"] or _advice(facts["receptive_field"])
    return replace(card, **{name: value for name, value in facts.items() if name not in given or name == "scale"})


def _facts(descriptor: Descriptor) -> dict[str, Any]:
    """Return what the architecture says; the precisions best first, the self-test at load decides."""
    offered = {"f16": descriptor.supports_half, "bf16": descriptor.supports_bfloat16, "f32": True}
    return {
        "scale": descriptor.scale,
        "domain": "luma" if descriptor.input_channels == 1 else "rgb",
        "layout": "NCHW",
        "value_range": _RANGE,
        "size_multiple": descriptor.size_requirements.multiple_of,
        "fixed_size": None,
        "architecture": " ".join((descriptor.architecture.name, *descriptor.tags)),
        "tiling": tiling_advice(descriptor),
        "precisions": tuple(name for name, works in offered.items() if works),
        "parameters": sum(one.numel() for one in descriptor.model.parameters()),
    }


def _try(copy: Copy, path: str, facts: dict[str, Any]) -> None:
    """Hold the network against its own card, on a picture.

    Raises:
        ModelInvalid: it is no super-resolution, of another scale than it says, or different in each run.
    """
    multiple = facts["size_multiple"]
    height, width = (max(1, side // multiple) * multiple for side in _SIDES)
    picture = textured_picture(height, width, 1 if facts["domain"] == "luma" else 3)
    run = plain_run(copy)
    first = run(picture, _RANGE)
    try:
        verdict = judge(lambda *_: first, picture, (_RANGE,), range(1, SCALES.stop))
    except ModelInvalid as err:
        raise ModelInvalid(f"{path} is no super-resolution model: {err.detail}", hint=err.hint) from err
    if verdict.scale != facts["scale"]:
        raise ModelInvalid(f"{path} enlarges {verdict.scale} times; its architecture says {facts['scale']}")
    if not np.array_equal(first, run(picture, _RANGE)):
        raise ModelInvalid(f"{path} gives another result each time; frames could not be made again")


def plain_run(copy: Copy) -> Callable[[Picture, float], Picture]:
    """Return a function that runs one picture as the network has it, in f32."""

    def run(picture: Picture, value_range: float) -> Picture:
        hr = enlarged(copy, picture * np.float32(value_range)).cpu().numpy() / np.float32(value_range)
        upscaled: Picture = hr[0].transpose(1, 2, 0)
        return upscaled

    return run


def _advice(reach: int) -> str:
    return "discouraged: it looks at more than any overlap holds, seams may show" if reach >= FARTHEST else ""
