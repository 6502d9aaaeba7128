"""Give a made picture the colours of its source: the low frequencies of a wavelet, or mean and spread (AdaIN).

Values are `(1, 3, H, W)` float32 in 0..1, on whatever device they are; results are clamped to that range.
"""

from __future__ import annotations

import torch
from torch.nn import functional

_RADII = (1, 2, 4, 8, 16)
_TAPS = (0.25, 0.5, 0.25)
_EPSILON = 1e-5


def wavelet(picture: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
    """Replace the low frequencies of a picture by those of its source, which has the same size."""
    return (picture - low(picture) + low(source)).clamp(0, 1)


def adain(picture: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
    """Give each channel of a picture the mean and the spread of the source's; sizes may differ."""
    mean, spread = _moments(picture)
    wanted_mean, wanted_spread = _moments(source)
    return ((picture - mean) / spread * wanted_spread + wanted_mean).clamp(0, 1)


def low(values: torch.Tensor) -> torch.Tensor:
    """Return the low frequencies: five blurs of (1 2 1), each twice as far apart, borders repeated."""
    for radius in _RADII:
        values = _blurred(_blurred(values, radius, 0), 0, radius)
    return values


def _blurred(values: torch.Tensor, down: int, across: int) -> torch.Tensor:
    height, width = values.shape[2:]
    wide = functional.pad(values, (across, across, down, down), mode="replicate")
    parts = (
        tap * wide[:, :, index * down : index * down + height, index * across : index * across + width]
        for index, tap in enumerate(_TAPS)
    )
    return sum(parts, start=torch.zeros_like(values))


def _moments(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and spread of each channel; the variance is the unbiased one."""
    variance, mean = torch.var_mean(values, dim=(2, 3), keepdim=True, correction=1)
    return mean, (variance + _EPSILON).sqrt()
