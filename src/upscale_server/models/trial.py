"""Judge a network by what it does to a known picture: is it super-resolution, of which scale and value range.

Pure arrays: it does not know how a network is run. The rule for the value range of a float model: the trial picture
goes through once with white as 1 and once as 255, and the results are averaged down. The range is 1, unless the result
for 255 is four times as near to the picture and that for 1 is not near at all: a network that mostly adds detail to its
input looks right in both ranges, and 1 is the usual one. A uint8 input means 255.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from upscale_server.errors import ModelInvalid

Picture = NDArray[np.float32]
"""`(H, W, C)`, 0 to 1."""

Run = Callable[[Picture, float], Picture]
"""Run a network on a picture whose white is the given number; the result is divided by it again."""

# The mean of a network's result over a block is the block's mean within a few hundredths, for any kind of training;
# a picture of something else is 0.2 to 0.3 away.
_FARTHEST = 0.12
SCALES = range(2, 9)
"""What counts as super-resolution where nothing else is known: a network of one size does many other things, too."""
# A network of range 255 that is fed with 1 gives its biases, which are large there; one of range 1 keeps its picture
# within 0.01 to 0.02 of white.
_NEAR = 0.02
_CLEARLY_NEARER = 4.0
_HIGHEST_PSNR = 120.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a trial run showed."""

    scale: int
    value_range: float


def textured_picture(height: int, width: int, channels: int) -> Picture:
    """Return a picture with slopes, waves, hard edges and some noise, always the same; neither black nor white."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    rng = np.random.default_rng(0)
    slopes = 0.2 + 0.4 * (0.6 * x / width + 0.4 * y / height)
    waves = 0.12 * np.sin(0.35 * x + 0.11 * y) * np.cos(0.23 * y)
    edges = 0.15 * (((x // 9) + (y // 7)) % 2 > 0)
    noise = 0.02 * rng.standard_normal((height, width))
    gains = (1.0, 0.85, 0.7)[:channels]
    picture = np.stack([(slopes + waves + edges + noise) * gain for gain in gains], axis=-1)
    clipped: Picture = np.clip(picture, 0.02, 0.98).astype(np.float32)
    return clipped


def judge(run: Run, picture: Picture, ranges: tuple[float, ...], scales: range = SCALES) -> Verdict:
    """Find scale and value range of a network.

    Args:
        run: the network.
        picture: what it is tried on.
        ranges: what white may be.
        scales: what it may enlarge by; 1 for one that is known to restore pictures.

    Raises:
        ModelInvalid: what the network does to the picture is no super-resolution.
    """
    results = {value_range: run(picture, value_range) for value_range in ranges}
    first = results[ranges[0]]
    scale = _scale(picture, first, scales)
    distances = {value_range: _distance(picture, hr, scale) for value_range, hr in results.items()}
    best = _best(distances)
    if not math.isfinite(distances[best]):
        raise ModelInvalid("the model's values are not finite on a plain test picture")
    if distances[best] > _FARTHEST:
        raise ModelInvalid(
            f"the model's output differs from its input by {distances[best]:.2f} of white after averaging down; "
            f"a super-resolution model stays under {_FARTHEST}",
            hint="a value range other than 1 or 255 can be given in the card beside the model (NAME.json)",
        )
    return Verdict(scale, best)


def _best(distances: dict[float, float]) -> float:
    """Return the value range that the rule of this module chooses; the first is the usual one."""
    usual, *others = distances
    if distances[usual] <= _NEAR or not others:
        return usual
    nearest = min(others, key=lambda value_range: distances[value_range])
    return nearest if distances[nearest] * _CLEARLY_NEARER < distances[usual] else usual


def psnr(found: NDArray[np.generic], expected: NDArray[np.generic], white: float) -> float:
    """Return the peak signal-to-noise ratio in dB, at most 120 (equal)."""
    error = float(np.mean((found.astype(np.float64) - expected.astype(np.float64)) ** 2))
    if error == 0.0:
        return _HIGHEST_PSNR
    return min(_HIGHEST_PSNR, 10.0 * math.log10(white**2 / error))


def _scale(lr: Picture, hr: Picture, scales: range) -> int:
    """Return how many times the result is the picture."""
    if hr.ndim != lr.ndim or hr.shape[2] != lr.shape[2]:
        raise ModelInvalid(f"the model makes {hr.shape} of a picture {lr.shape}; expected as many colour channels")
    down, across = hr.shape[0] // lr.shape[0], hr.shape[1] // lr.shape[1]
    whole = hr.shape[:2] == (down * lr.shape[0], across * lr.shape[1])
    if not whole or down != across or down not in scales:
        raise ModelInvalid(
            f"the model makes {hr.shape[1]}x{hr.shape[0]} of {lr.shape[1]}x{lr.shape[0]}; "
            f"expected the same whole factor, {scales.start} to {scales.stop - 1}, on both sides"
        )
    return int(down)


def _distance(lr: Picture, hr: Picture, scale: int) -> float:
    """Return the mean absolute difference between the picture and the averaged-down result, without the border."""
    height, width, channels = lr.shape
    low = hr.reshape(height, scale, width, scale, channels).mean(axis=(1, 3), dtype=np.float64)
    difference = float(np.abs(low - lr)[2:-2, 2:-2].mean())
    return difference if math.isfinite(difference) else math.inf
