"""Run contenders over the material and average the measures.

It does not print or draw: see `training.report`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from training.material import STANDARD_SETS, Clip, standard_pairs
from training.metrics import psnr, ssim
from training.shards import Pairs
from training.upscalers import Contender
from training.vmaf import vmaf

Scores = dict[str, float]
"""Measure -> mean, for one contender on one set."""

Table = dict[str, dict[str, Scores]]
"""Set or clip -> contender -> scores."""


def measure_pictures(data: Path, scale: int, contenders: list[Contender]) -> Table:
    """PSNR-Y and SSIM-Y per standard set, `scale` samples cut from each border."""
    table: Table = {}
    for name in STANDARD_SETS:
        pairs = list(standard_pairs(data, name, scale))
        table[name] = {}
        for contender in contenders:
            found = [contender.upscale(lr) for lr, _ in pairs]
            scores = [(psnr(sr, hr, scale), ssim(sr, hr, scale)) for sr, (_, hr) in zip(found, pairs, strict=True)]
            psnr_y, ssim_y = np.mean(scores, axis=0)
            table[name][contender.name] = {"psnr_y": round(float(psnr_y), 3), "ssim_y": round(float(ssim_y), 4)}
    return table


def measure_clip(pairs: Pairs, contender: Contender, *, with_vmaf: bool) -> Scores:
    """PSNR-Y per frame, averaged, and VMAF if asked for."""
    found = np.stack([contender.upscale(lr) for lr in pairs.lr])
    border = pairs.scale
    scores = {"psnr_y": float(np.mean([psnr(sr, hr, border) for sr, hr in zip(found, pairs.hr, strict=True)]))}
    if with_vmaf:
        scores |= vmaf(found, np.asarray(pairs.hr))
    return {name: round(value, 3) for name, value in scores.items()}


def measure_clips(clips: list[Clip], contenders: list[Contender], *, with_vmaf: bool) -> Table:
    """Measure every clip, and their mean under the name `mean`."""
    table: Table = {
        clip.name: {
            contender.name: measure_clip(clip.pairs, contender, with_vmaf=with_vmaf) for contender in contenders
        }
        for clip in clips
    }
    table["mean"] = {
        contender.name: _mean([scores[contender.name] for scores in table.values()]) for contender in contenders
    }
    return table


def _mean(scores: list[Scores]) -> Scores:
    return {name: round(float(np.mean([row[name] for row in scores])), 3) for name in scores[0]}
