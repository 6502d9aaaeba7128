"""What is measured: the baselines and every shipped model, behind one function type.

It does not measure: see `training.evaluate`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from training.pictures import Luma
from training.resize import bicubic, lanczos, to_bytes

Upscale = Callable[[Luma], Luma]
"""LR luma (H, W) to HR luma (s*H, s*W), rounded and clipped to 0..255."""


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to upscale, and what it costs."""

    name: str
    scale: int
    macs_per_pixel: int
    upscale: Upscale


def baselines(scale: int) -> list[Contender]:
    """Bicubic (a = -0.5) and Lanczos-3."""

    def by(resize: Callable[[npt.NDArray[np.generic], int, int], npt.NDArray[np.float64]]) -> Upscale:
        return lambda lr: to_bytes(resize(lr, lr.shape[0] * scale, lr.shape[1] * scale))

    return [Contender("bicubic", scale, 0, by(bicubic)), Contender("lanczos", scale, 0, by(lanczos))]


def onnx_contender(card_path: Path, precision: str = "f32") -> Contender:
    """Load a shipped model through OpenVINO at a stated precision (`f32` or `bf16`)."""
    import openvino as ov  # noqa: PLC0415  a training run does not need it

    card = json.loads(card_path.read_text(encoding="utf-8"))
    options = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": 1}
    compiled = ov.Core().compile_model(card_path.with_name(card["file"]), "CPU", options)

    def upscale(lr: Luma) -> Luma:
        planes = lr.astype(np.float32)[None, None] / 255.0
        return to_bytes(compiled(planes)[0][0, 0] * 255.0)

    return Contender(card["name"], card["scale"], card["macs_per_pixel"], upscale)


def shipped(models: Path, scale: int, precision: str = "f32") -> list[Contender]:
    """Every model of a folder for one scale, cheapest first, then by name."""
    found = [onnx_contender(card, precision) for card in sorted(models.glob(f"*-x{scale}.json"))]
    return sorted(found, key=lambda contender: (contender.macs_per_pixel, contender.name))


def twice(contender: Contender) -> Contender:
    """Apply an x2 model to its own output: what a direct x4 model has to beat."""

    def upscale(lr: Luma) -> Luma:
        return contender.upscale(contender.upscale(lr))

    scale, macs = contender.scale**2, contender.macs_per_pixel * (1 + contender.scale**2)
    return Contender(f"{contender.name} twice", scale, macs, upscale)
