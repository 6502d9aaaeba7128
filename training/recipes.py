"""The networks we train: shape, what they see, where they start, and what their cards say.

It holds facts only; `training.train` acts on them.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from training.layers import Shape

CLEAN_MIX = {"clean": 1.0}
# A third on uncompressed input: with 15 % clean Set5 stayed at 36.66 whatever the minutes, while coded clips had
# dB to spare (training/LOG.md). Of the rest, most on the most common fast encode.
CODED_MIX = {"clean": 0.35, "ultrafast": 0.40, "spread": 0.25}
# A larger network holds both; with a third clean it gained on clean pictures only (training/LOG.md).
BALANCED_MIX = {"clean": 0.20, "ultrafast": 0.50, "spread": 0.30}


@dataclass(frozen=True, slots=True)
class Recipe:
    """One model of the family."""

    name: str
    shape: Shape
    mix: dict[str, float]
    learning_rate: float
    starts_from: str | None
    for_sources: str
    summary: str
    limits: str

    @property
    def stem(self) -> str:
        """The file name without suffix: `fast-clean-x2`."""
        return f"{self.name}-x{self.shape.scale}"


_CLEAN_LIMITS = (
    "made for uncompressed or near-lossless sources: on strongly compressed video it sharpens block noise "
    "and can fall below Lanczos; invents no texture"
)
_CODED_LIMITS = (
    "smooths codec noise, so fine grain and very fine texture are partly removed; on uncompressed sources "
    "the -clean model keeps more; invents no texture; one frame at a time, so it does not use motion"
)

RECIPES = {
    recipe.stem: recipe
    for recipe in (
        Recipe(
            "fast-clean", Shape(32, 4, 2), CLEAN_MIX, 1e-3, None, "clean",
            "for uncompressed pictures and nearly lossless video: as quick as fast", _CLEAN_LIMITS,
        ),
        Recipe(
            "fast", Shape(32, 4, 2), CODED_MIX, 7e-4, "fast-clean-x2", "compressed",
            "for compressed video: the quickest, and the default on a CPU", _CODED_LIMITS,
        ),
        Recipe(
            "fast-clean", Shape(32, 6, 4), CLEAN_MIX, 1e-3, "fast-clean-x2", "clean",
            "for uncompressed pictures and nearly lossless video: x4 at once", _CLEAN_LIMITS,
        ),
        Recipe(
            "fast", Shape(32, 6, 4), CODED_MIX, 7e-4, "fast-clean-x4", "compressed",
            "for compressed video: x4 at once", _CODED_LIMITS,
        ),
        Recipe(
            "balanced", Shape(48, 8, 2), BALANCED_MIX, 7e-4, "fast-x2", "compressed",
            "for compressed video, on strong CPUs and GPUs: 4.4 times the work of fast",
            _CODED_LIMITS,
        ),
        Recipe(
            "lite-clean", Shape(16, 4, 2), CLEAN_MIX, 1e-3, None, "clean",
            "for uncompressed pictures on weak machines: a quarter of the work of fast", _CLEAN_LIMITS,
        ),
        Recipe(
            "lite", Shape(16, 4, 2), CODED_MIX, 7e-4, "lite-clean-x2", "compressed",
            "for compressed video on weak machines: a quarter of the work of fast", _CODED_LIMITS,
        ),
        Recipe(
            "quality-clean", Shape(64, 8, 2, skips=True), CLEAN_MIX, 5e-4, None, "clean",
            "for uncompressed pictures and nearly lossless video, on GPUs or with patience: 16 times the work of fast",
            _CLEAN_LIMITS,
        ),
        Recipe(
            "quality", Shape(64, 8, 2, skips=True), BALANCED_MIX, 5e-4, "quality-clean-x2", "compressed",
            "for compressed video, on GPUs or with patience: 16 times the work of fast",
            _CODED_LIMITS,
        ),
        Recipe(
            "quality-clean", Shape(64, 8, 4, skips=True), CLEAN_MIX, 5e-4, "quality-clean-x2", "clean",
            "for uncompressed pictures and nearly lossless video, on GPUs or with patience: x4 at once", _CLEAN_LIMITS,
        ),
        Recipe(
            "quality", Shape(64, 8, 4, skips=True), BALANCED_MIX, 5e-4, "quality-clean-x4", "compressed",
            "for compressed video, on GPUs or with patience: x4 at once", _CODED_LIMITS,
        ),
    )
}  # fmt: skip
"""Every recipe by stem."""


def recipe_named(name: str) -> Recipe:
    """Find a recipe by stem; a bare name means its x2.

    Raises:
        argparse.ArgumentTypeError: there is none.
    """
    found = RECIPES.get(name) or RECIPES.get(f"{name}-x2")
    if found is None:
        raise argparse.ArgumentTypeError(f"no recipe {name}; there are {', '.join(RECIPES)}")
    return found
