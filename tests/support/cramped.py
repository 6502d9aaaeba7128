"""An upscaler of exact integer arithmetic on a device with too little memory."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import cast

import numpy as np

from upscale_server.errors import OutOfMemory
from upscale_server.models.base import Pixels, Upscaled, Working
from upscale_server.models.card import ModelCard
from upscale_server.models.catalogue import LANCZOS, classical_card


class Cramped:
    """Repeats each pixel, with a little of its eight neighbours; refuses calls that are too large or too many at once.

    `meet` is a barrier at which the first calls wait for each other, so that they really are at work together.
    """

    def __init__(
        self, *, most_pixels: int = 1 << 40, most_calls: int = 1 << 40, precision: str = "f32", meet: int = 0
    ) -> None:
        self.most_pixels, self.most_calls = most_pixels, most_calls
        self.most_seen, self.closed = 0, False
        self._precision = precision
        self._busy, self._to_meet = 0, meet
        self._lock = threading.Lock()
        self._barrier = threading.Barrier(max(1, meet))

    @property
    def card(self) -> ModelCard:
        """Return a card whose receptive field is the neighbourhood."""
        return replace(classical_card(LANCZOS, 2), name="cramped", receptive_field=1)

    @property
    def working(self) -> Working:
        """Return made-up facts."""
        return Working("cramped", "a small device", self._precision, 100.0)

    def upscale(self, lr: Pixels, *, bits: int = 8, exact: bool = False) -> Upscaled:
        """Upscale, or refuse."""
        del bits, exact
        with self._lock:
            self._busy += 1
            wait, self._to_meet = self._to_meet > 0, self._to_meet - 1
        try:
            if wait:
                self._barrier.wait()
                busy = self._barrier.parties
            else:
                busy = self._busy
                self.most_seen = max(self.most_seen, busy)
            if lr.size > self.most_pixels or busy > self.most_calls:
                raise OutOfMemory(f"{lr.size} pixels in {busy} calls do not fit into memory")
            return Upscaled(_blurred(lr), np.ones(len(lr), np.bool_))
        finally:
            with self._lock:
                self._busy -= 1

    def close(self) -> None:
        """Remember that it was closed."""
        self.closed = True


def _blurred(lr: Pixels) -> Pixels:
    wide = np.pad(lr.astype(np.uint32), ((0, 0), (1, 1), (1, 1)), mode="edge")
    height, width = lr.shape[1:]
    total = sum(wide[:, y : y + height, x : x + width] for y in range(3) for x in range(3))
    return cast(
        "Pixels", ((63 * lr.astype(np.uint32) + total) // 72).astype(lr.dtype).repeat(2, axis=1).repeat(2, axis=2)
    )
