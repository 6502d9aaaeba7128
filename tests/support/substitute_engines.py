"""Engines in TensorRT's place: real sessions of ONNX Runtime on the CPU that leave a file as TensorRT does.

At module level, because they are called in other processes.
"""

from __future__ import annotations

import os
from pathlib import Path

from upscale_server.errors import DeviceUnused
from upscale_server.models.base import EngineOptions, Upscaler
from upscale_server.models.card import ModelCard

CONTENT = b"what a library made of a network"


def open_on_cpu(card: ModelCard, options: EngineOptions, folder: Path) -> Upscaler:
    """Load the network for real; write the engine where it is missing, refuse one that is not the one written."""
    from upscale_server.models.engines.onnxruntime import OnnxRuntimeUpscaler  # noqa: PLC0415 - an extra

    engine = folder / "network.engine"
    if not engine.exists():
        engine.write_bytes(CONTENT)
    if engine.read_bytes() != CONTENT:
        raise DeviceUnused("the engine is for another driver")
    return OnnxRuntimeUpscaler(card, options, "onnxruntime")


def refuse(card: ModelCard, options: EngineOptions, folder: Path) -> Upscaler:
    """Refuse with a reason."""
    raise DeviceUnused(f"no kernel for {card.name} in {folder.name[:1]} {options.precision}")


def build_for_ever(card: ModelCard, options: EngineOptions, folder: Path) -> Upscaler:
    """Say who is at work, then work for years without letting another thread run, as a library may."""
    (folder / "building.pid").write_text(str(os.getpid()), encoding="ascii")
    sum(range(1 << 60))
    return open_on_cpu(card, options, folder)


def crash(card: ModelCard, options: EngineOptions, folder: Path) -> Upscaler:
    """End the process as a library does that was handed nonsense."""
    del card, options, folder
    os._exit(9)
