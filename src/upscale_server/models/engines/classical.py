"""The engines without weights: Lanczos-3 and bicubic, for comparison and for when a network is not wanted.

They resample single planes through `media.fit`; RGB is three planes.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self, cast

import numpy as np

from upscale_server.media.fit import resample, resample_bicubic
from upscale_server.media.types import Size
from upscale_server.models.base import Pixels, Upscaled, Working
from upscale_server.models.card import ModelCard

_KERNELS = {"lanczos": resample, "bicubic": resample_bicubic}


class ClassicalUpscaler:
    """An `Upscaler` of any whole scale; it holds nothing, so any number of threads may share it."""

    def __init__(self, card: ModelCard) -> None:
        self._card = card
        self._resample = _KERNELS[card.name]

    @property
    def card(self) -> ModelCard:
        """Return the card this was made from."""
        return self._card

    @property
    def working(self) -> Working:
        """Return what runs; the integer sums of the resampler have no other precision to be compared with."""
        return Working(engine=self._card.name, device="CPU", precision="integer", self_test_psnr=120.0)

    def upscale(self, lr: Pixels, *, bits: int = 8, exact: bool = False) -> Upscaled:  # noqa: ARG002 - always exact
        """Upscale a batch of luma `(N, H, W)` or RGB `(N, H, W, 3)`; see `Upscaler`."""
        size = Size(lr.shape[2], lr.shape[1]).times(self._card.scale)
        hr = np.empty((lr.shape[0], size.height, size.width, *lr.shape[3:]), lr.dtype)
        for frame, upscaled in zip(lr, hr, strict=True):
            if frame.ndim == 2:  # a luma plane
                upscaled[:] = self._resample(frame, size, bits=bits)
                continue
            for channel in range(frame.shape[2]):
                upscaled[..., channel] = self._resample(frame[..., channel], size, bits=bits)
        return Upscaled(cast("Pixels", hr), np.ones(lr.shape[0], np.bool_))

    def close(self) -> None:
        """Release nothing: there is nothing to hold."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
